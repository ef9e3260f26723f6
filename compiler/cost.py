"""Cycle budgets of the units, instruction by instruction, as functions for schedulers and estimates.

The figures are those that the docstrings of the components in `hw/` state; they are written here as plain
numbers, because importing a component means importing Amaranth, and `tests/compiler/test_cost.py` holds each
against the attribute of the component that has it. Nothing here knows of waiting: a cost is what a unit takes
with all operands there and enough tape.

All times are clock cycles, all sizes bytes; ``tokens`` is the number of live tokens of the tile that an
instruction acts for (1 where it is not ``tiled``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hw.integer_shape import IntegerShape
from hw.isa import Function, Pass, Source
from hw.machine import MachineConfig
from hw.trits import TRITS_PER_BYTE

__all__ = [
    "AttendCost", "LinearCost", "MatmulCost", "VectorCost", "attend", "function", "linear", "map_", "matmul",
    "norm", "output_scale", "quantise", "store_beats",
]  # fmt: skip

#: Fields of an instruction, as `hw.isa.decode` gives them.
Fields = Mapping[str, int]

#: `hw.front_end`: an instruction; a FETCH beside that, of its first run, and of each further one.
FRONT_END, FETCH_RUN = 3, 3
#: `hw.sequencer`: from an entry of the issue queue, and of one beside a unit, to its exit, and commands that
#: wait beside a unit; unfinished ones are two more at most.
QUEUE_LATENCY, UNIT_LATENCY, UNIT_QUEUE = 2, 1, 4
#: `hw.fetch` and `hw.tape`: run to address, one address to the next, beat to its bytes.
RUN_TO_ADDRESS, ADDRESS_INTERVAL, BEAT_TO_TAKE = 3, 2, 4

#: `VectorMemory.LATENCY`; `VectorStatistics.MAXIMUM_LATENCY`.
OPERAND, MAXIMUM = 2, 3
#: `Fp32DivPipelined.LATENCY`, `Fp32FromInt.LATENCY`, `Fp32ToInt.LATENCY`.
DIVIDE, FROM_INT, TO_INT = 15, 3, 3
#: `LaneTiming.function`: cycles, and multiplications beside them; a sigmoid is like one.
FUNCTION = {
    Function.COPY: (0, 0), Function.ADD: (4, 0), Function.MULTIPLY: (0, 1), Function.ROPE: (4, 1),
    Function.SILU_MULTIPLY: (6, 3), Function.RELU2_MULTIPLY: (6, 3),
}  # fmt: skip
#: `PackedMultiplier.LATENCY`, and from the sums of a group to those of the pair in `hw.integer_engine`.
PRODUCT, GROUP = 3, 4
#: `Norm.latency` but for its two multiplications, and `Norm.INTERVAL`.
NORM, NORM_INTERVAL = 50, 27
#: `AttentionScore.latency` and `OutputScale.latency` but for two multiplications; `AttentionWeight.LATENCY`.
SCORE, OUTPUT_SCALE, WEIGHT = 7, 19, 12
#: `SplitTables.build_cycles` and `ByteTables.build_cycles`.
BUILD = {"split": 27, "byte": 248}
#: Values of the last three and of the first two trits of a byte: `hw.solo_walk`.
_BLOCKS, _SWEEP = 27, 9


def tree(terms: int) -> int:
    """`AdderTree.latency`: a register after every second level."""
    return -(-(terms - 1).bit_length() // 2)


def dots(machine: MachineConfig) -> int:
    """`hw.integer_dots`: products and their sums, in cascades of 8 blocks where those of 8 bits are."""
    lanes = machine.head_lanes
    if machine.family != "xcup" or machine.activation_bits > 8:
        return PRODUCT + tree(lanes)
    cascades, levels = max(1, lanes // 8), 0
    terms = cascades
    while terms > 1:
        terms, levels = -(-terms // 3), levels + 1
    return 4 + lanes // cascades - 1 + levels


def entry_tree(terms: int, family: str) -> int:
    """`EntrySum.latency`: on ecp5 exact; on xcup, three operands an adder, it may be one more."""
    if family == "ecp5":
        return sum(terms >= least for least in (2, 3, 5, 7, 13, 19, 37, 55, 109))
    levels = 0
    while terms > 1:
        terms, levels = -(-terms // 3), levels + 1
    return levels


@dataclass(frozen=True)
class MatmulCost:
    """A MATMUL: ``chunks`` are the bytes of a row in each chunk; a row takes a cycle.

    build: from a chunk's last group to its tables' last entry. tail: from the last row to ``done``. loaded:
    groups that are loaded in a cycle.
    """

    rows: int
    chunks: tuple[int, ...]
    build: int
    tail: int
    loaded: int

    @property
    def bytes(self) -> int:
        return self.rows * sum(self.chunks)

    def load(self, groups: int) -> int:
        """Cycles in which the groups of a chunk come."""
        return -(-groups // self.loaded)


def build_cycles(machine: MachineConfig, tokens: int, groups: int) -> int:
    """From the last group of a chunk to its tables' last entry, for so many live tokens and groups in all."""
    if machine.table_form == "byte" and machine.tile > 1 and tokens == 1:
        # Of few groups two tables build the entries of each.
        lanes = machine.tile * (2 if machine.family == "xcup" and groups <= machine.tables // 4 * 2 else 1)
        return 5 + _SWEEP * -(-_BLOCKS // lanes)
    return BUILD[machine.table_form]


def matmul(machine: MachineConfig, f: Fields, tokens: int) -> MatmulCost:
    """`hw.ternary_engine.TernaryEngine`, `hw.matmul.Matmul`."""
    groups = -(-f["k"] // TRITS_PER_BYTE)
    whole, rest = divmod(groups, machine.tables)
    chunks = (machine.tables,) * whole + ((rest,) if rest else ())
    split = machine.table_form == "split"
    look_up = 3 + tree(machine.tables) if split else 3 + entry_tree(machine.tables, machine.family)
    built = build_cycles(machine, tokens, groups)
    return MatmulCost(f["rows"], chunks, built, look_up + 1, 1 if split else 2)


@dataclass(frozen=True)
class LinearCost:
    """A LINEAR or HEAD. head: from the command to the first codes. pair: cycles of a pair of rows.

    tail: from the last pair's row scales to ``done``.
    """

    head: int
    pairs: int
    pair: int
    pair_bytes: int
    tail: int


def linear(machine: MachineConfig, name: str, f: Fields, tokens: int) -> LinearCost:
    """`hw.integer_linear.IntegerLinear`."""
    shape = IntegerShape.of(machine, f)
    engine = dots(machine) + GROUP + machine.multiply_cycles - 3
    latency = engine + FROM_INT + 2 * machine.multiply_cycles
    odd = 1 if f["rows"] % 2 else 2
    tail = latency + (2 if name == "HEAD" else 0) + tokens * odd - 1
    return LinearCost(1 + tokens, shape.pairs, shape.cycles(tokens) // shape.pairs, shape.pair_bytes, tail)


@dataclass(frozen=True)
class VectorCost:
    """A MAP, QUANTISE or NORM. start: from the command to the first word. cycles: in which words begin, gaps
    included, of all tokens. tail: from the last word to ``done``. bytes: from the tape."""

    start: int
    cycles: int
    tail: int
    bytes: int = 0


def function(machine: MachineConfig, kind: Function) -> int:
    """`LaneTiming.function`."""
    cycles, multiplications = FUNCTION[kind]
    return cycles + multiplications * machine.multiply_cycles


def map_(machine: MachineConfig, f: Fields, tokens: int) -> VectorCost:
    """`hw.vector.Vector`, `hw.vector_decode.VectorDecode`."""
    words = f["n"] // machine.lanes
    if not words:
        return VectorCost(1, 0, 0)
    attention = f["source"] == Source.ATTENTION
    integer = attention or f["source"] == Source.ACCUMULATOR
    wait, multiply = 0, machine.multiply_cycles
    if f["scaled"]:
        wait = max(0, multiply - OPERAND - (FROM_INT if integer else 0))
    at = OPERAND + integer * FROM_INT + (attention + f["scaled"]) * multiply
    at += function(machine, Function(f["function"]))
    if f["statistics"]:
        at += multiply + MAXIMUM if f["gain"] else max(multiply, MAXIMUM)
    each = words * (2 if attention and f["scaled"] else 1) + wait
    taken = tokens * words * 4 * machine.lanes if f["source"] == Source.TAPE else 0
    return VectorCost(1, tokens * each, at - 1, taken)


def quantise(machine: MachineConfig, f: Fields, tokens: int) -> VectorCost:
    """`hw.quantise_segments`: a mark before each segment, the first one ahead of its quotient."""
    words = f["n"] // machine.lanes
    if not words:
        return VectorCost(1, 0, 0)
    segment = (f["segment"] or f["n"]) // machine.lanes
    multiplied = OPERAND + (machine.multiply_cycles if f["gain"] else 0)
    cycles = tokens * (words + -(-words // segment))
    return VectorCost(1 + DIVIDE - multiplied, cycles, multiplied + machine.multiply_cycles + TO_INT - 1)


def norm(machine: MachineConfig, f: Fields, tokens: int) -> VectorCost:
    """`hw.vector_norm.VectorNorm`."""
    if f["normalise"]:
        return VectorCost(1, (tokens - 1) * NORM_INTERVAL, NORM + 2 * machine.multiply_cycles)
    return VectorCost(1, tokens - 1, 1)


@dataclass(frozen=True)
class AttendCost:
    """An ATTEND. row: cycles of a row; row_bytes: of it on the tape, padding included. tail: from the last
    row of the last ATTEND of a pass to ``done``."""

    row: int
    row_bytes: int
    tail: int


def attend(machine: MachineConfig, f: Fields, padded: bool, seen: int = 1) -> AttendCost:
    """`hw.attention.Attention`; padded: from the tape, whose rows begin on bus words; seen: tokens that see a
    row, which lie in turn on the cores."""
    heads, key = f["kv_heads"], f["half"] == Pass.KEY
    parts = heads * -(-f["head_size"] // machine.attention_bytes)
    size = heads * f["head_size"] + (8 * heads if key else 0)
    padding = -size % machine.bus_bytes if padded else 0
    steps = -(-seen * machine.core_tokens // machine.tile) * f["group"]
    between = key * -(-heads // machine.scale_pairs) + -(-padding // machine.unit_bytes)
    row = (parts - 1) * steps + max(steps, 1 + between)
    if not padded and machine.stage_word < machine.attention_bytes:  # a narrow stage: `hw.narrow_feed`
        row = max(row, -(-size // machine.stage_word) + (steps if parts else 0))
    # The steps of the last part begin after it was taken; a row counts them, or the pairs of the next one.
    score = SCORE + 2 * machine.multiply_cycles
    tail = steps - max(steps - between, 1) + tree(machine.attention_bytes) + score + 4 if key else 4
    return AttendCost(row if key else max(2, row), size + padding, tail)


def output_scale(machine: MachineConfig) -> int:
    """`OutputScale.latency`: from the last row to the first head's scale."""
    return OUTPUT_SCALE + 2 * machine.multiply_cycles


def store_beats(machine: MachineConfig, size: int) -> int:
    """Write beats of a run."""
    return -(-size // machine.bus_bytes)
