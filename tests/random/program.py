"""Random programs over the instruction table, legal by construction: `random_program`.

Everything that a program reads it has written before, in its prologue or later. It ends with an epilogue
that carries what lies in the on-chip memories out to DRAM, so that memory, the tokens found, ERROR and the
exact counters show a wrong bit almost anywhere.
"""

import random

import numpy as np

from compiler.hazards import wait_bounds
from hw import isa
from hw.isa import (
    BY_NAME,
    FETCH_AHEAD,
    INSTRUCTION_BITS,
    MANY_TILES,
    NO_WAIT,
    PREDICATES,
    SCALARS,
    STATISTICS,
    Dest,
    Feed,
    Function,
    Loop,
    Payload,
    Source,
    Target,
    Unit,
)
from hw.machine import MachineConfig
from sim.random_check import MEMORY_BYTES, RandomCase

from .attention import AttentionBlocks
from .blocks import Q_STEP, Blocks, Zone, Zones
from .plan import Plan, draw_plan
from .rows import Row, Rows
from .values import Values

_RESERVE = 20  #: instructions of a long block
#: An opcode that is not in the table.
_UNKNOWN = (1 << isa.HEADER[0].bits) - 1


def random_program(seed: int, machine: MachineConfig) -> RandomCase:
    """The program of a seed; the same seed and machine always give the same one."""
    for attempt in range(100):
        try:
            return _drawn(seed, attempt, machine)
        except MemoryError:  # too long for the program memory, or too large for the other: drawn again
            continue
    raise MemoryError(f"wanted a program that fits {machine.name!r}, found none for seed {seed}")


def _drawn(seed: int, attempt: int, machine: MachineConfig) -> RandomCase:
    rng, generator = random.Random(f"{seed} {attempt}"), np.random.default_rng((seed, attempt))
    size = rng.choices(("tiny", "middle", "maximal"), (0.9, 0.085, 0.015))[0]
    plan = draw_plan(rng, machine, size)
    values = Values(generator, rng.choice((0, 0, 0.01, 0.1)))
    memory = generator.integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
    rows = Rows(rng, values, machine, memory, plan)
    most_rows = {"tiny": 24, "middle": 100, "maximal": 1000}[size]
    blocks = AttentionBlocks(rows, _zones(rng, machine, size), most_rows)
    bits = _Bits(rng, plan)
    _prologue(blocks)
    _body(blocks, 3 if plan.light else {"tiny": 10, "middle": 14, "maximal": 8}[size], bits)
    found = _epilogue(blocks, 3 if size == "tiny" else 6, bits)
    rows.emit("END")
    if len(rows.rows) > machine.program_words:
        raise MemoryError(f"wanted {machine.program_words} instructions at most, found {len(rows.rows)}")
    program = _hoisted(rows.rows, rng)
    code = b"".join(word.to_bytes(INSTRUCTION_BITS // 8, "little") for word in _encoded(program, rng, plan))
    return RandomCase(
        seed, code, tuple(program), memory, plan.memory_base, plan.entries, plan.tile, plan.steps,
        plan.batch, plan.stops, plan.predicates, found,
    )  # fmt: skip


class _Bits:
    """The few predicates of a program: one that is on, one that is off, MANY_TILES."""

    def __init__(self, rng: random.Random, plan: Plan):
        bits = [bit for bit in range(1, PREDICATES) if bit != MANY_TILES]
        rng.shuffle(bits)
        self.on = next((bit for bit in bits if all(plan.truth(bit))), 0)
        self.off = next((bit for bit in bits if not any(plan.truth(bit))), MANY_TILES)
        self._rng = rng

    def draw(self) -> int:
        """One for a block, 0 mostly."""
        return self._rng.choice((0, 0, 0, 0, self.on, self.off, MANY_TILES, MANY_TILES))


def _encoded(program: list[Row], rng: random.Random, plan: Plan) -> list[int]:
    """Words with the least waits that are needed, or now and then more."""
    known = [row if row[0] in BY_NAME else ("END", {}) for row in program]
    bounds = wait_bounds(known, min(plan.tile, len(plan.entries)))
    strict = rng.choice((0.0, 0.0, 0.1, 0.5))
    words = []
    for (name, fields), found in zip(program, bounds, strict=True):
        waits = dict(found)
        free = name not in BY_NAME or BY_NAME[name].unit == Unit.CONTROL
        for field, least in found.items():
            if rng.random() < strict and not (name == "STORE" and fields["payload"] == Payload.LOGITS):
                waits[field] = rng.randint(0, NO_WAIT if free else least)
        if name == "unknown":
            words.append(_UNKNOWN | fields.get("predicate", 0) << 6 | rng.getrandbits(100) << 32)
        else:
            words.append(isa.encode(name, **(fields | waits)))
    return words


def _zones(rng: random.Random, machine: MachineConfig, size: str) -> Zones:
    """What the program uses of each memory, anywhere in it."""

    def zone(memory: int, tiny: int, middle: int, step: int, whole: float = 0.03) -> Zone:
        n = {"tiny": tiny, "middle": middle, "maximal": memory}[size]
        n = min(memory, -(-rng.randint(n // 2 + 1, n) // step) * step if size != "maximal" else n)
        if rng.random() < whole:
            n = memory // step * step
        last = (memory - n) // step
        return Zone(rng.choice((0, last, rng.randint(0, last))) * step, n)

    lanes = machine.lanes
    dumped = _slots(machine) * lanes
    mask = Zone(rng.choice((0, machine.constant_words - dumped)), dumped)
    const = zone(machine.constant_words - dumped, 80, 300, lanes)
    if mask.low == 0:
        const = Zone(const.low + dumped, const.size)
    stat = zone(STATISTICS, 24, STATISTICS, 1, 0.3)
    act = zone(machine.activation_words, 120, 600, lanes, 0.01)
    acc = zone(machine.accumulator_rows, 48, 300, lanes)
    q = zone(machine.quantised_words, rng.choice((48, 112)), 512, Q_STEP)
    codes = q.size
    if machine.activation_bits == 12 and rng.random() < 0.7:
        codes = Q_STEP * rng.randint(1, q.size // Q_STEP - 1)
    parts = Zone(q.low, codes), Zone(q.low + codes, q.size - codes)
    return Zones(act, const, acc, q, stat, mask, *parts)


def _slots(machine: MachineConfig) -> int:
    """Words of `lanes` elements whose codes and absmax fit one staged K row."""
    step = max(1, machine.lanes // 8)
    return min(12, machine.stage_bytes // (8 + machine.lanes)) // step * step


def _prologue(blocks: Blocks) -> None:
    """Write everything in the zones, for all tokens, the scalars, and what `_dump` needs."""
    zones, rows, values, lanes = blocks.zones, blocks.rows, blocks.values, blocks.lanes

    def load(data: np.ndarray, dest: Dest, d: int) -> None:
        blocks.load_values(lambda _: data.view(np.uint8), len(data), dest, d)

    load(values.floats(SCALARS, -3, 3), Dest.SCALAR, 0)
    load(_mask(values, zones.mask.size, lanes), Dest.CONSTANT, zones.mask.low)
    load(values.floats(zones.const.size, -2, 2), Dest.CONSTANT, zones.const.low)
    blocks.load_values(values.float_bytes, zones.act.size, Dest.ACTIVATION, zones.act.low, 1)
    for low in range(0, zones.stat.size, zones.act.size // lanes):
        n = min(zones.stat.size - low, zones.act.size // lanes) * lanes
        rows.emit(
            "MAP",
            n=n,
            a=zones.act.low,
            d=zones.act.low,
            statistics=1,
            stat=zones.stat.low + low,
            segment=lanes,
            grid=10,
            tiled=1,
        )
    for low in range(0, zones.q.size, zones.act.size // Q_STEP * Q_STEP):
        n = min(zones.q.size - low, zones.act.size // Q_STEP * Q_STEP)
        rows.emit("QUANTISE", n=n, d=zones.q.low + low, a=zones.act.low, stat=zones.stat.low, tiled=1)
    k = blocks.rng.randint(1, min(12, zones.q.size))
    rows.feed(zones.acc.size * -(-k // 5), values.trits)
    rows.emit("MATMUL", rows=zones.acc.size, k=k, q=zones.q.low, acc=zones.acc.low, tiled=1)
    slots = min(_slots(rows.machine), zones.stat.size, zones.act.size // lanes)
    common = {"n": slots * lanes, "a": zones.act.low, "stat": zones.stat.low, "segment": lanes, "tiled": 1}
    rows.emit("QUANTISE", **common, target=Target.VALUE)
    rows.emit("QUANTISE", **common, target=Target.KEY, d=8 * slots)


def _mask(values: Values, n: int, lanes: int) -> np.ndarray:
    """In each word of `lanes`, all elements or one of them: whose absmax a dump shows bit for bit."""
    mask = np.zeros((n // lanes, lanes), np.float32)
    mask[np.arange(n // lanes), values.rng.integers(0, lanes, n // lanes)] = 1
    mask[values.rng.random(n // lanes) < 0.3] = 1
    return mask.reshape(-1)


def _body(blocks: AttentionBlocks, most: int, bits: _Bits) -> None:
    """Blocks one after another, in loops over layers, over tiles, or over both."""
    rng, rows, plan = blocks.rng, blocks.rows, blocks.rows.plan

    def some(most: int) -> None:
        for _ in range(rng.randint(1, max(1, most))):
            if len(rows.rows) > rows.machine.program_words - 4 * _RESERVE:
                return
            with rows.under(bits.draw()):
                _block(blocks)

    for _ in range(rng.choice((1, 1, 2, 3))):
        count = rng.choice((1, 2, 2, 3, 3, rng.randint(1, 9)))
        within = most // 2 if plan.tiles * plan.steps < 4 else 2
        match rng.randrange(6):
            case 0 | 1:
                some(most // 2 + 1)
            case 2:
                with rows.loop(Loop.LAYER, count):
                    some(most // 2)
            case 3:
                with rows.loop(Loop.TILE):
                    some(within)
            case 4:
                with rows.loop(Loop.LAYER, min(count, 3), (Loop.TILE, 1)):
                    some(1)
                    with rows.loop(Loop.TILE):
                        some(within)
                    some(1)
            case _:
                with rows.loop(Loop.TILE, 1, (Loop.LAYER, min(count, 3))):
                    some(1)
                    with rows.loop(Loop.LAYER, min(count, 3)):
                        some(within)
        if rng.random() < 0.02:
            rows.emit("unknown", predicate=rng.choice((bits.off, bits.off, bits.on)))
        if rng.random() < 0.05:
            _early_end(blocks, bits)
    if rng.random() < 0.004:
        with rows.loop(Loop.LAYER, (1 << 16) - 1):
            pass


def _early_end(blocks: Blocks, bits: _Bits) -> None:
    """END under a predicate, after a HEAD for the last tile under the same."""
    if not blocks.rows.scope.at_last:
        return
    with blocks.rows.under(blocks.rng.choice((bits.off, MANY_TILES, bits.on))):
        blocks.head(count=blocks.rows.plan.head_rows, tiled=1)
        blocks.rows.emit("END")


def _simple(blocks: Blocks) -> None:
    """A block that may stand between the passes of attention."""
    choice = blocks.rng.choices(
        (
            blocks.load,
            lambda: blocks.map(Source.ACTIVATION),
            lambda: blocks.map(Source.ACCUMULATOR),
            lambda: blocks.map(Source.LINEAR),
            blocks.quantise_q,
            blocks.norm,
            blocks.matmul,
            blocks.linear,
            blocks.head,
            blocks.spill,
            blocks.rows.empty_fetch,
            blocks.nothing,
        ),
        (4, 8, 5, 5, 6, 4, 6, 8, 3, 5, 2, 1),
    )
    choice[0]()


def _block(blocks: AttentionBlocks) -> None:
    kind = blocks.rng.random()
    if kind < 0.1:
        blocks.stage()
    elif kind < 0.35:
        blocks.attend(lambda: _simple(blocks))
    else:
        _simple(blocks)


def _epilogue(blocks: Blocks, most: int, bits: _Bits) -> bool:
    """What is on chip to memory: for the last tile, or all; int8 by a HEAD. Whether that is executed."""
    rng, rows, plan = blocks.rng, blocks.rows, blocks.rows.plan
    if 1 < plan.tiles < 5 and rng.random() < 0.6:
        with rows.loop(Loop.TILE):
            _activations(blocks, most)
    else:
        _activations(blocks, most)
    _constants(blocks, most)
    if not rows.scope.at_last:  # END is about the last tile's tokens
        with rows.loop(Loop.TILE):
            pass
    predicate = bits.off if plan.steps == 1 and rng.random() < 0.1 else bits.on
    predicate = rng.choice((0, predicate)) if predicate == bits.on else predicate
    with rows.under(predicate):
        blocks.head(blocks.zones.q.size, plan.head_rows, 1)
    return all(plan.truth(predicate))


def _activations(blocks: Blocks, most: int) -> None:
    """Activations, and partial sums through them."""
    zones, rows = blocks.zones, blocks.rows
    _dump(blocks, zones.act.size, most, 1)
    n = min(zones.act.size, zones.acc.size)
    source = blocks.rng.choice((Source.ACCUMULATOR, Source.LINEAR))
    rows.emit("MAP", source=source, n=n, a=blocks.at(zones.acc, n), d=zones.act.low, tiled=1)
    _dump(blocks, n, most, 1)


def _constants(blocks: Blocks, most: int) -> None:
    """Constants and scalars, through activations."""
    zones, rows, rng, lanes = blocks.zones, blocks.rows, blocks.rng, blocks.lanes
    n = min(zones.act.size, zones.const.size)
    unit = np.tile(np.array([1, 0], np.float32), n // 2)
    blocks.load_values(
        lambda _: unit.view(np.uint8), n, Dest.ACTIVATION, zones.act.low,
        function=Function.ROPE, c=blocks.at(zones.const, n),
    )  # fmt: skip
    _dump(blocks, n, most, 0)
    shown = min(6, zones.act.size // lanes)
    written = [f["d"] for name, f in rows.rows if name == "NORM"] or [0]
    for i in range(shown):
        if len(rows.rows) < rows.machine.program_words - _RESERVE:
            blocks.load_values(
                lambda _: np.ones(lanes, np.float32).view(np.uint8),
                lanes,
                Dest.ACTIVATION,
                zones.act.low + i * lanes,
                scaled=1,
                s1=(rng.choice(written) + rng.randrange(rows.plan.tile)) % SCALARS,
                s2=rng.randrange(SCALARS),
            )
    _dump(blocks, shown * lanes, 1, 0)


def _dump(blocks: Blocks, n: int, most: int, tiled: int) -> None:
    """The first n activations of the zone: as they are, or to rows of their positions.

    In K rows, at most `most`: int8 codes, and absmaxes exactly.
    """
    zones, rows, lanes, rng = blocks.zones, blocks.rows, blocks.lanes, blocks.rng
    if rows.plan.steps == 1 or rng.random() < 0.5:
        rows.store(Payload.ACTIVATION, 4 * n, tiled, a=zones.act.low)
        return
    step = max(1, lanes // 8)
    slots = min(_slots(rows.machine), zones.stat.size) // step * step
    parts = list(range(0, n, slots * lanes))
    for low in sorted(rng.sample(parts, min(most, len(parts)))):
        heads = min(slots, (n - low) // lanes) // step * step
        at = zones.act.low + low
        common = {"n": heads * lanes, "a": at, "segment": lanes, "stat": zones.stat.low, "tiled": tiled}
        if heads and len(rows.rows) < rows.machine.program_words - _RESERVE:
            rows.emit("MAP", **common, d=at, statistics=1, gain=1, c=zones.mask.low, grid=10)
            rows.emit("QUANTISE", **common, target=Target.KEY, d=8 * heads)
            rows.store(Payload.KEY, heads * (8 + lanes), tiled)


def _hoisted(rows: list[Row], rng: random.Random) -> list[Row]:
    """FETCH instructions at times earlier than needed, in their order.

    Not across the ends of loops, nor a STORE whose bytes they read, nor to between a HEAD and its STORE.
    """
    rows, fences = list(rows), ("FETCH", "LOOP", "NEXT", "END", "unknown")
    eager, ahead, own = rng.choice((0.0, 0.3, 0.9)), {}, 0
    for i, row in enumerate(rows):
        if row[0] != "FETCH":
            ahead[id(row)], own = own, own if not _takes(row) else 0
            continue
        own += 1
        while i and rows[i - 1][0] not in fences and rng.random() < eager:
            past = 2 if _is_logits(rows[i - 1]) else 1
            over = rows[i - past : i]
            if any(_takes(one) and ahead[id(one)] >= FETCH_AHEAD for one in over):
                break
            if any(one[0] == "STORE" and one[1]["base"] == row[1]["base"] for one in over):
                break
            for one in over:
                ahead[id(one)] += 1
            rows[i - past : i + 1] = [row, *over]
            i -= past
    return rows


def _is_logits(row: Row) -> bool:
    return row[0] == "STORE" and row[1]["payload"] == Payload.LOGITS


def _takes(row: Row) -> bool:
    """Whether an instruction takes from the tape."""
    name, f = row
    return (
        name in ("MATMUL", "LINEAR", "HEAD")
        or (name == "MAP" and f.get("source", 0) == Source.TAPE)
        or (name == "ATTEND" and f["feed"] == Feed.TAPE)
    )
