"""Vector against the interpreter: QUANTISE, NORM, and how long each instruction takes."""

import pytest

from hw.isa import Dest, Function, Source, Target
from hw.machine import CI
from hw.norm import Norm
from hw.quantise_scale import ONE, QuantiseScale
from models import numerics

from .vector_bench import Bench, Program, number

PLAIN = {"source": Source.ACTIVATION, "function": Function.COPY, "dest": Dest.ACTIVATION, "scaled": 0,
         "statistics": 0, "gain": 0, "segment": 0}  # fmt: skip
THRESHOLD = 27 << 23  # 2^-100
INFINITY, NAN = 0x7F800000, 0x7FC00000


def load(program: Program, numbers: list[int], **fields: int) -> dict[str, int]:
    """MAP numbers from the tape with statistics; returns the fields of a QUANTISE of them."""
    program.map(numbers, **{**PLAIN, "source": Source.TAPE, "statistics": 1, "n": len(numbers), **fields})
    written = program.steps[-1].fields
    return {"a": written["d"], **{name: written[name] for name in ("n", "c", "gain", "stat", "segment")}}


def test_quantise():
    program = Program(CI, seed=140)
    rng, lanes = program.rng, CI.lanes
    for target in Target:
        for gain in (0, 1):
            for words in (0, 1, 2, 5):
                heads = rng.randrange(1, 4)
                n = (words * heads or rng.randrange(1, 12)) * lanes
                size = rng.choice((0, -60, 60)) << 23
                numbers = [number(rng, tame=rng.random() < 0.9) + size & 0xFFFFFFFF for _ in range(n)]
                quantise = load(program, numbers, gain=gain, segment=words * lanes)
                program.quantise(target=target, **quantise)
    quantise = load(program, [number(rng) for _ in range(36)], segment=16)  # the last segment is short
    program.quantise(target=Target.MATMUL, **quantise)
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
    (0x44000000, 0, 0, 0),  # 512: the highest bit of a sum that is not saturated, on the grid 2^-44
)


def test_quantise_edges():
    program = Program(CI, seed=150)
    quantise = load(program, [bits for edge in EDGES for bits in edge], segment=4)
    for target in Target:
        program.quantise(target=target, **quantise)
    # Ties: with an absmax of 127 or 32767 the factor is 1.
    for levels, target in ((127, Target.MATMUL), (32767, Target.QUERY)):
        values = [levels, *(half + 0.5 for half in (0, 1, 2, 63, 125, levels - 2, levels - 1))]
        values += [-value for value in values]
        bits = [int(numerics.float_bits(numerics.constant(value))) for value in values]
        program.quantise(target=target, **load(program, bits))
        codes = program.steps[-1].after["query 0" if levels > 127 else f"q {program.steps[-1].fields['d']}"]
        assert codes[:4] == [levels, 0, 2, 2]
    Bench(program).run()


def test_norm():
    program = Program(CI, seed=160)
    rng = program.rng
    for normalise in (0, 1, 1):
        for numbers in (*EDGES, *([number(rng, tame=True) for _ in range(16)] for _ in range(3))):
            stat = load(program, list(numbers), grid=-44)["stat"]
            program.norm(normalise=normalise, stat=stat)
    errors = [step.error for step in program.steps]
    assert any(errors)
    assert not all(errors[1::2])
    Bench(program).run()


SILU = {"function": Function.SILU_MULTIPLY}
ROPE = {"function": Function.ROPE}
ADD = {"function": Function.ADD}
ACC = {"source": Source.ACCUMULATOR, "scaled": 1}
#: Cycles from taking a MAP to its `done`, beyond one for each word.
OVERHEADS = (
    ({}, 2),
    ({"scaled": 1}, 6),
    ({"source": Source.TAPE}, 2),
    ({"source": Source.TAPE, "statistics": 1}, 5),
    ({"source": Source.TAPE, "statistics": 1, "gain": 1}, 6),
    ({"source": Source.ATTENTION}, 8),
    ({"source": Source.ATTENTION, "statistics": 1, "gain": 1}, 12),
    (ADD, 6),
    ({"function": Function.MULTIPLY}, 5),
    (ACC, 8),
    ({**ACC, **ADD}, 12),
    ({**ACC, **ADD, "statistics": 1, "gain": 1}, 16),
    ({**ACC, **ROPE}, 15),
    ({**ACC, **ROPE, "statistics": 1}, 18),
    ({**ACC, **SILU}, 23),
    ({**ACC, **SILU, "statistics": 1}, 26),
    ({**ACC, **SILU, "statistics": 1, "gain": 1}, 27),
)


def test_cycles():
    program = Program(CI, seed=170)
    wanted = []
    for fields, overhead in OVERHEADS:
        words = program.rng.randrange(1, 9)
        program.map(**{**PLAIN, **fields, "n": words * CI.lanes})
        wanted.append(words + overhead)
    program.map(**{**PLAIN, "source": Source.ATTENTION, "scaled": 1, "n": 12 * CI.lanes})
    wanted.append(12 + 9 + 11)
    # One division, then for each segment a mark and its words, or the next division.
    for words, heads, gain in ((20, 1, 0), (20, 3, 1), (4, 3, 0)):
        quantise = load(program, [ONE] * (words * heads * CI.lanes), segment=words * CI.lanes, gain=gain)
        program.quantise(target=Target.MATMUL, **quantise)
        period = 1 + max(words, QuantiseScale.LATENCY)
        wanted += [words * heads + (6 if gain else 5)]
        wanted += [1 + QuantiseScale.LATENCY + (heads - 1) * period + words + (11 if gain else 8)]
    program.norm(normalise=1, stat=0)
    program.norm(normalise=0, stat=0)
    wanted += [1 + Norm.LATENCY, 2]
    assert Bench(program, patience=1).run() == wanted


@pytest.mark.parametrize(
    ("name", "fields"), [("map", PLAIN), ("quantise", {"target": Target.MATMUL, "gain": 0})]
)
def test_nothing(name, fields):
    """n = 0 does nothing, and finishes."""
    program = Program(CI, seed=180)
    program.map(**PLAIN, n=8)
    program.nothing(name.upper(), **fields)
    program.map(**PLAIN, n=8)
    assert Bench(program, patience=1).run() == [4, 1, 4]
