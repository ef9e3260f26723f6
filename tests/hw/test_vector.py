"""Vector against the reference: MAP of every kind, back to back, with starving sources, in tiles."""

from itertools import product

import pytest

from hw.isa import SCALARS, Dest, Function, Source
from hw.machine import CI, WIDE, MachineConfig
from hw.vector import Vector

from .test_fp32_format import check_verilog
from .vector_bench import Bench, Program, bits_of, tiles

#: (statistics, gain) that mean something.
GATHER = ((0, 0), (1, 0), (1, 1))
KINDS = [
    {
        "source": source,
        "function": function,
        "dest": dest,
        "scaled": scaled,
        "statistics": statistics,
        "gain": gain,
    }
    for source, function, dest, scaled, (statistics, gain) in product(Source, Function, Dest, (0, 1), GATHER)
    if not (gain and function == Function.ROPE)
]
#: Magnitudes: zero, the ends of subnormal and normal numbers, some between, infinity, NaNs.
CORNERS = (0, 1, 0x7FFFFF, 0x800000, 0x1F000000, 0x20000000, 0x3F800000, 0x40490FDB, 0x5F7FFFFF, 0x5F800000,
           0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000)  # fmt: skip
COPY = {"source": Source.ACTIVATION, "function": Function.COPY, "dest": Dest.ACTIVATION, "scaled": 0,
        "statistics": 0, "gain": 0}  # fmt: skip


def run_maps(machine: MachineConfig, kinds: list[dict[str, int]], seed: int) -> None:
    program = Program(machine, seed)
    rng, lanes = program.rng, machine.lanes
    for kind in kinds:
        live = program.tokens()
        n = program.words(kind["dest"], live)
        program.map(**kind, live=live, n=n, segment=rng.choice((0, 1, 2, 3)) * lanes)
    Bench(program).run()


def sample(seed: int, size: int) -> list[dict[str, int]]:
    """Some kinds, in random order; every function meets every source and every destination."""
    program = Program(CI, seed)
    kinds = program.rng.sample(KINDS, size)
    for one, other, count in (("source", "function", 30), ("function", "dest", 18), ("source", "scaled", 10)):
        assert len({(kind[one], kind[other]) for kind in kinds}) == count
    return kinds


@pytest.mark.parametrize("tile", [1, 4])
def test_some_maps(tile):
    run_maps(tiles(CI, tile), sample(100, 110), seed=101)


@pytest.mark.bench  # in `make bench-proof`; `make test` draws from the same kinds
@pytest.mark.parametrize("function", Function)
def test_every_map(function):
    run_maps(CI, [kind for kind in KINDS if kind["function"] == function], seed=110 + function)


@pytest.mark.slow
def test_eight_lanes():
    run_maps(tiles(WIDE, 2), sample(120, 110), seed=121)


def test_relu2_corners():
    """Every pair of the special numbers: signed zeros, subnormals, limits, infinities, NaN of both signs."""
    signs = [sign | bits for sign in (0, 1 << 31) for bits in CORNERS]
    pairs = [*product(signs, signs)]
    half, n = CI.activation_words // 2, CI.constant_words // 2 // CI.lanes * CI.lanes
    assert 2 * n <= half
    program = Program(CI, seed=136, live=1)
    for at in range(0, len(pairs), n):
        some = pairs[at : at + n]
        same = {"n": -(-len(some) // CI.lanes) * CI.lanes, "segment": 0}
        some += [(0, 0)] * (same["n"] - len(some))
        program.map([x for x, _ in some], **{**COPY, "source": Source.TAPE}, **same, d=half)
        program.map([b for _, b in some], **{**COPY, "source": Source.TAPE}, **same, d=half + n)
        program.map(**{**COPY, "function": Function.RELU2_MULTIPLY, "statistics": 1}, **same,
                    a=half, b=half + n, d=half)  # fmt: skip
    Bench(program).run()


def test_in_place():
    """An element may be written where it, or the second operand, was read."""
    program = Program(CI, seed=130)
    rng, half = program.rng, CI.activation_words // 2
    program.map(**{**COPY, "source": Source.TAPE}, live=CI.tile, n=64, segment=0, d=half)
    for function in Function:
        for a, b, d in ((0, 1, 0), (0, 1, 1), (1, 1, 1)):
            n = rng.randrange(4, 9) * CI.lanes
            program.map(
                source=Source.ACTIVATION,
                function=function,
                dest=Dest.ACTIVATION,
                scaled=rng.getrandbits(1),
                statistics=1,
                gain=0,
                n=n,
                segment=0,
                a=half + 32 * a,
                b=half + 32 * b,
                d=half + 32 * d,
            )
    Bench(program).run()


def test_not_live():
    """The banks of tokens that are not live stay as they are, whatever writes to the others."""
    program = Program(CI, seed=135, live=CI.tile - 1)
    last = {name: getattr(program.state, name)[-1] for name in ("act", "maxima", "totals")}
    start = {name: bits_of(bank) for name, bank in last.items()}
    for kind in sample(141, 80):
        program.map(**kind, n=program.words(kind["dest"], CI.tile - 1), segment=CI.lanes)
    Bench(program).run()
    assert {name: bits_of(bank) for name, bank in last.items()} == start


def test_neighbours():
    """Tokens of one word each, whose factors and rotations still differ; scalars wrap around."""
    program = Program(CI, seed=137)
    for function, source in product((Function.COPY, Function.ADD, Function.ROPE), Source):
        for s1, scaled in ((3, 1), (SCALARS - 2, 1), (0, 0)):
            program.map(source=source, function=function, dest=Dest.ACTIVATION, scaled=scaled, statistics=1,
                        gain=0, live=CI.tile, n=CI.lanes, segment=0, s1=s1)  # fmt: skip
    # A row of each token's own, and a short last segment.
    for source in Source:
        program.map(source=source, function=Function.ROPE, dest=Dest.ACTIVATION, scaled=1, statistics=1,
                    gain=0, live=CI.tile, n=5 * CI.lanes, segment=2 * CI.lanes)  # fmt: skip
    Bench(program).run()


def test_verilog():
    check_verilog(Vector(CI))
