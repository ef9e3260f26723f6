"""Vector against the interpreter: MAP of every kind, back to back, with starving sources."""

from itertools import product

import pytest

from hw.isa import Dest, Function, Source
from hw.machine import CI, WIDE, MachineConfig
from hw.vector import Vector

from .test_fp32_format import check_verilog
from .vector_bench import Bench, Program

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


def run_maps(machine: MachineConfig, kinds: list[dict[str, int]], seed: int) -> None:
    program = Program(machine, seed)
    rng, lanes = program.rng, machine.lanes
    for kind in kinds:
        program.map(**kind, n=rng.randrange(1, 7) * lanes, segment=rng.choice((0, 1, 2, 3)) * lanes)
    Bench(program).run()


def sample(seed: int, size: int) -> list[dict[str, int]]:
    """Some kinds, in random order; every function meets every source and every destination."""
    program = Program(CI, seed)
    kinds = program.rng.sample(KINDS, size)
    for one, other, count in (("source", "function", 20), ("function", "dest", 15), ("source", "scaled", 8)):
        assert len({(kind[one], kind[other]) for kind in kinds}) == count
    return kinds


def test_some_maps():
    run_maps(CI, sample(100, 110), seed=101)


@pytest.mark.slow
@pytest.mark.parametrize("function", Function)
def test_every_map(function):
    run_maps(CI, [kind for kind in KINDS if kind["function"] == function], seed=110 + function)


@pytest.mark.slow
def test_eight_lanes():
    run_maps(WIDE, sample(120, 110), seed=121)


def test_in_place():
    """An element may be written where it, or the second operand, was read."""
    program = Program(CI, seed=130)
    rng, half = program.rng, CI.activation_words // 2
    program.map(
        source=Source.TAPE,
        function=Function.COPY,
        dest=Dest.ACTIVATION,
        scaled=0,
        statistics=0,
        gain=0,
        n=64,
        segment=0,
        d=half,
    )
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


def test_verilog():
    check_verilog(Vector(CI))
