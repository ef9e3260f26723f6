"""Argmax against numerics.argmax: signs, zeros, subnormals, infinities, NaNs, ties."""

import random

import torch
from amaranth.sim import Simulator

from hw.argmax import Argmax
from models import numerics

NAN, INF, SIGN = 0x7FC00000, 0x7F800000, 0x80000000
CORNERS = [0, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, INF, INF + 1, NAN]
CORNERS += [magnitude | SIGN for magnitude in CORNERS]


def sequences(rng: random.Random) -> list[list[int]]:
    """All pairs of corners, hand-made ties, random sequences."""
    made = [[a, b] for a in CORNERS for b in CORNERS]
    made += [[NAN], [NAN | SIGN, NAN, SIGN | INF], [SIGN, 0, SIGN], [0, SIGN], [5, 0x3F800000, 0x3F800000]]
    for _ in range(40):
        few = [*(rng.getrandbits(32) for _ in range(4)), rng.choice(CORNERS)]
        made.append(rng.choices(few, k=rng.randint(1, 20)))
    return made


def test_sequences():
    rng = random.Random(1)
    dut = Argmax()

    async def bench(ctx) -> None:
        for bits in sequences(rng):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for i, number in enumerate(bits):
                while rng.random() < 0.2:
                    ctx.set(dut.valid, 0)
                    ctx.set(dut.value, INF)
                    ctx.set(dut.last, rng.getrandbits(1))
                    await ctx.tick()
                    assert not ctx.get(dut.done)
                ctx.set(dut.valid, 1)
                ctx.set(dut.value, number)
                ctx.set(dut.last, i == len(bits) - 1)
                await ctx.tick()
            ctx.set(dut.valid, 0)
            await ctx.tick()
            assert ctx.get(dut.done)
            expected = numerics.argmax(numerics.bits_float(torch.tensor(bits)))
            assert ctx.get(dut.index) == expected, [hex(b) for b in bits]
            await ctx.tick()
            assert not ctx.get(dut.done)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
