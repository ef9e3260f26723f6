"""Vector against the reference: QUANTISE, NORM, and how long each instruction takes."""

import dataclasses

import pytest

from hw.isa import TWO_OPERANDS, Dest, Function, Source, Target
from hw.machine import CI
from hw.norm import Norm
from hw.quantise_scale import ONE, QuantiseScale
from models import numerics

from .vector_bench import Bench, Program, number, tiles

PLAIN = {"source": Source.ACTIVATION, "function": Function.COPY, "dest": Dest.ACTIVATION, "scaled": 0,
         "statistics": 0, "gain": 0, "segment": 0}  # fmt: skip
THRESHOLD = 27 << 23  # 2^-100
INFINITY, NAN = 0x7F800000, 0x7FC00000


def load(program: Program, numbers: list[int], **fields: int) -> dict[str, int]:
    """MAP numbers from the tape with statistics; returns the fields of a QUANTISE of them.

    ``numbers`` are those of the first token; each further one has them turned by a word.
    """
    tokens, lanes = program.machine.tile, program.machine.lanes
    turned = [numbers[(i + t * lanes) % len(numbers)] for t in range(tokens) for i in range(len(numbers))]
    program.map(
        turned, **{**PLAIN, "source": Source.TAPE, "statistics": 1, "n": len(numbers), **fields}, live=tokens
    )
    written = program.steps[-1].fields
    return {"a": written["d"], **{name: written[name] for name in ("n", "c", "gain", "stat", "segment")}}


@pytest.mark.parametrize(("tile", "bits"), [(1, 8), (4, 12)])
def test_quantise(tile, bits):
    """Targets of every kind; mantissas too, which a machine of 8 bits does not have."""
    program = Program(dataclasses.replace(tiles(CI, tile), activation_bits=bits), seed=140)
    rng, lanes = program.rng, CI.lanes
    for target in Target:
        for gain in (0, 1):
            for words in (0, 1, 5):
                heads = rng.randrange(1, 4)
                n = (words * heads or rng.randrange(1, 12)) * lanes
                size = rng.choice((0, -60, 60)) << 23
                numbers = [number(rng, tame=rng.random() < 0.9) + size & 0xFFFFFFFF for _ in range(n)]
                quantise = load(program, numbers, gain=gain, segment=words * lanes)
                program.quantise(target=target, **quantise)
                if target == Target.MATMUL and not words:
                    program.quantise(target=target, mantissa=1, **quantise)
    quantise = load(program, [number(rng) for _ in range(36)], segment=16)  # the last segment is short
    program.quantise(target=Target.MATMUL, live=tile, **quantise)
    Bench(program).run()


#: The absmax of a segment of one word, and the numbers beside it.
EDGES = (
    (0, 0, 0, 1 << 31),
    (1, 0x007FFFFF, 0x807FFFFF, 0),
    (THRESHOLD - 1, THRESHOLD - 1, 1 << 31 | THRESHOLD - 1, 5 << 23),
    (THRESHOLD, THRESHOLD - 1, 1 << 31 | THRESHOLD, 26 << 23),
    (THRESHOLD + 1, THRESHOLD, 26 << 23, 0),
    (INFINITY, 0, ONE, INFINITY | 1 << 31),
    (NAN, ONE, INFINITY, 0),
    (0x7F7FFFFF, 0x7F000000, 0xFF7FFFFF, ONE),
    (0x7EFFFFFF, 0x7E800000, 0xFEFFFFFF, ONE),
    (0x44000000, 0, 0, 0),  # 512: the highest bit of a sum that is not saturated, on the grid 2^-44
)


def test_quantise_edges():
    program = Program(CI, seed=150)
    quantise = load(program, [bits for edge in EDGES for bits in edge], segment=4)
    for target in Target:
        program.quantise(target=target, live=CI.tile, **quantise)
    # A segment of mantissas at a time, each token another one.
    for slot in range(0, len(EDGES), CI.tile):
        one = {
            **quantise,
            "a": quantise["a"] + 4 * slot,
            "stat": quantise["stat"] + slot,
            "n": 4,
            "segment": 0,
        }
        program.quantise(target=Target.MATMUL, live=CI.tile, mantissa=1, **one)
    # Ties: with an absmax of 127 or 32767, or for mantissas from 1024 on, the factor is 1.
    for levels, target in ((127, Target.MATMUL), (32767, Target.QUERY), (2047, Target.MATMUL)):
        mantissa = int(levels == 2047)
        values = [levels, *(half + 0.5 for half in (0, 1, 2, 63, 125, levels - 2, levels - 1))]
        values += [-value for value in values]
        bits = [int(numerics.float_bits(numerics.constant(value))) for value in values]
        program.quantise(target=target, mantissa=mantissa, **load(program, bits))
        codes = (program.state.query if target == Target.QUERY else program.state.q)[
            0, program.steps[-1].fields["d"] :
        ]
        assert codes[:4].tolist() == [levels, 0, 2, 2]
    Bench(program).run()


@pytest.mark.parametrize("tile", [1, 4])
def test_norm(tile):
    program = Program(tiles(CI, tile), seed=160)
    rng = program.rng
    for normalise, mantissa in ((0, 1), (1, 0), (1, 1)):
        for numbers in (*EDGES, *([number(rng, tame=True) for _ in range(16)] for _ in range(3))):
            words = [[*numbers], *([number(rng, tame=True) for _ in numbers] for _ in range(tile - 1))]
            rng.shuffle(words)
            program.map([bits for word in words for bits in word], live=tile, **{**PLAIN, "grid": -44,
                        "source": Source.TAPE, "n": len(numbers), "statistics": 1})  # fmt: skip
            program.norm(normalise=normalise, mantissa=mantissa, stat=program.steps[-1].fields["stat"])
    errors = [step.error for step in program.steps]
    assert any(errors)
    assert not all(errors[1::2])
    Bench(program).run()


SILU = {"function": Function.SILU_MULTIPLY}
ROPE = {"function": Function.ROPE}
ADD = {"function": Function.ADD}
ACC = {"source": Source.ACCUMULATOR, "scaled": 1}
#: Cycles from taking a MAP to its `done`, beyond one for each word, and the multiplications beside them, of
#: which a sigmoid and a sum of squares are one; what waits for the scalars' product does so for all but two
#: cycles of it.
OVERHEADS = (
    ({}, 2, 0),
    ({"scaled": 1}, 0, 2),
    ({"source": Source.TAPE}, 2, 0),
    ({"source": Source.LINEAR}, 2, 0),
    ({"source": Source.LINEAR, "scaled": 1, **ADD}, 4, 2),
    ({"source": Source.TAPE, "statistics": 1}, 2, 1),
    ({"source": Source.TAPE, "statistics": 1, "gain": 1}, 5, 1),
    ({"source": Source.ATTENTION}, 5, 1),
    ({"source": Source.ATTENTION, "statistics": 1, "gain": 1}, 8, 2),
    (ADD, 6, 0),
    ({"function": Function.MULTIPLY}, 2, 1),
    (ACC, 5, 1),
    ({**ACC, **ADD}, 9, 1),
    ({**ACC, **ADD, "statistics": 1, "gain": 1}, 12, 2),
    ({**ACC, **ROPE}, 9, 2),
    ({**ACC, **ROPE, "statistics": 1}, 9, 3),
    ({**ACC, **SILU}, 11, 4),
    ({**ACC, **SILU, "statistics": 1}, 11, 5),
    ({**ACC, **SILU, "statistics": 1, "gain": 1}, 14, 5),
    ({**ACC, "function": Function.RELU2_MULTIPLY}, 11, 4),
)


@pytest.mark.parametrize(("tile", "live"), [(1, 1), (2, 2), (4, 1), (4, 3), (4, 4)])
def test_cycles(tile, live):
    """A word a cycle, whatever token it belongs to: the overhead comes once an instruction."""
    machine = tiles(CI, tile)
    multiply = machine.multiply_cycles
    program = Program(machine, seed=170, live=live)
    wanted = []
    for fields, overhead, multiplications in OVERHEADS:
        words = program.rng.randrange(1, 9)
        program.map(**{**PLAIN, **fields, "n": words * CI.lanes})
        # The product of each token's scalars is late where no conversion precedes it.
        late = fields.get("scaled", 0) and fields.get("source", Source.ACTIVATION) != Source.ACCUMULATOR
        # Activation memory has one port to read: two operands there take two cycles.
        both = (
            fields.get("source", Source.ACTIVATION) == Source.ACTIVATION
            and fields.get("function", 0) in TWO_OPERANDS
        )
        overhead += multiplications * multiply + (live - 1) * (multiply - 2) * bool(late)
        wanted.append(words * live * (1 + both) + overhead)
    program.map(**{**PLAIN, "source": Source.ATTENTION, "scaled": 1, "n": 12 * CI.lanes})
    wanted.append(24 * live + 5 + multiply)
    # One division, then for each segment a mark and its words; operands and gain pass meanwhile.
    for words, heads, gain in ((20, 1, 0), (20, 3, 1), (4, 3, 0), (2, 1, 1), (1, 8, 0), (1, 8, 1)):
        n = words * heads * CI.lanes
        program.map([ONE] * (n * live), **{**PLAIN, "source": Source.TAPE, "statistics": 1, "n": n,
                    "segment": words * CI.lanes, "gain": gain})  # fmt: skip
        written = program.steps[-1].fields
        quantise = {name: written[name] for name in ("n", "c", "gain", "stat", "segment")}
        program.quantise(target=Target.MATMUL, mantissa=int(heads == 1), a=written["d"], **quantise)
        wanted += [words * heads * live + 2 + 3 * gain + multiply]
        wanted += [QuantiseScale.LATENCY + heads * live * (1 + words) + 3 + multiply]
    program.norm(normalise=1, stat=0)
    program.norm(normalise=0, mantissa=1, stat=0)
    wanted += [1 + Norm(multiply=multiply).latency + (live - 1) * Norm.INTERVAL, 1 + live]
    assert Bench(program, patience=1).run() == wanted


@pytest.mark.parametrize(
    ("name", "fields"), [("map", PLAIN), ("quantise", {"target": Target.MATMUL, "gain": 0})]
)
def test_nothing(name, fields):
    """n = 0 does nothing, and finishes."""
    program = Program(CI, seed=180, live=CI.tile)
    program.map(**PLAIN, n=8)
    program.nothing(name.upper(), **fields)
    program.map(**PLAIN, n=8)
    assert Bench(program, patience=1).run() == [2 + 2 * CI.tile, 1, 2 + 2 * CI.tile]
