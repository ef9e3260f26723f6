"""Exp2 against numerics.exp2."""

import random
from itertools import pairwise

import torch
from amaranth.sim import Simulator

from hw.exp2 import Exp2, exp2_knots
from models import numerics


def distances() -> list[int]:
    rng = random.Random(1)
    picked = [octave << 16 | low for octave in (0, 1, 23, 24, 25, 26, 27, 31, 32, 33, 1 << 15, 0xFFFF)
              for low in (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x8000, 0xFFFF)]  # fmt: skip
    picked += [rng.randrange(28 << 16) for _ in range(3000)]
    return picked + [i << 8 | rng.randrange(256) for i in range(256)] + [2**32 - 2, 2**32 - 1]


def test_table():
    knots = exp2_knots()
    assert numerics.exp2_table() == tuple((a, a - b) for a, b in pairwise(knots))


def test_powers():
    dut = Exp2()
    given = distances()
    wanted = numerics.exp2(torch.tensor(given)).tolist()
    assert {0, 1, numerics.PROBABILITY_MAX} <= set(wanted)
    rng = random.Random(2)
    found: list[int] = []

    async def bench(ctx) -> None:
        sent = 0
        while len(found) < len(given):
            en = rng.random() < 0.9
            ctx.set(dut.en, en)
            ctx.set(dut.distance, given[sent] if en and sent < len(given) else 0x1234)
            if en and sent >= dut.LATENCY:
                found.append(ctx.get(dut.o))
            await ctx.tick()
            sent += en

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == wanted
