"""ValueWeight against numerics.value_weight, and the exponent against numerics.value_exponent."""

import random

import torch
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.value_weight import ValueWeight, biased_ceiling
from models import numerics

MAX = numerics.PROBABILITY_MAX


def scales(rng: random.Random, count: int) -> list[int]:
    """Bits of live scales: 0, powers of two, neighbours of powers, infinity, NaN, any."""
    picked = [0, 27 << 23, 27 << 23 | 1, 127 << 23, 127 << 23 | 1, 128 << 23 | 0x7FFFFF, 254 << 23 | 0x7FFFFF,
              255 << 23, 0x7FC00000]  # fmt: skip
    return picked + [rng.randrange(27, 255) << 23 | rng.getrandbits(23) for _ in range(count)]


def test_exponents():
    given = scales(random.Random(1), 200)
    wanted = numerics.value_exponent(numerics.bits_float(torch.tensor(given)))
    m = Module()
    bits, exponent = Signal(32), Signal(8)
    m.d.comb += exponent.eq(biased_ceiling(bits))

    async def bench(ctx) -> None:
        for value, e in zip(given, wanted.tolist(), strict=True):
            ctx.set(bits, value)
            await ctx.delay(1e-9)
            assert ctx.get(exponent) - 127 == e, hex(value)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_weights():
    rng = random.Random(2)
    given: list[tuple[int, int, int]] = []
    for scale in scales(rng, 300):
        largest = numerics.bits_float(torch.tensor(scale))
        ceiling = int(numerics.value_exponent(largest)) + 127
        # The least and the greatest shift, those around the last that counts, and any.
        for below in (0, 1, 2, 22, 23, 24, 25, 26, 27, 31, 32, 33, 64, rng.randrange(255)):
            if ceiling + below < 256:
                given += [(p, scale, ceiling + below) for p in (rng.randrange(MAX + 1), MAX)]
    given += [(p, 127 << 23, 127) for p in (0, 1, MAX, 1 << 23)]
    p, s, e = (torch.tensor(column) for column in zip(*given, strict=True))
    wanted = numerics.value_weight(p, numerics.bits_float(s), e - 127).tolist()
    assert {0, 1, MAX} <= set(wanted)
    dut = ValueWeight()
    found: list[int] = []

    async def bench(ctx) -> None:
        sent = 0
        while len(found) < len(given):
            en = rng.random() < 0.9
            ctx.set(dut.en, en)
            _, scale, exponent = given[sent] if en and sent < len(given) else (1, 2, 3)
            # Its probability comes later.
            late = sent - (dut.SCALE_LATENCY - dut.LATENCY)
            probability, _, _ = given[late] if en and 0 <= late < len(given) else (1, 2, 3)
            ctx.set(dut.probability, probability)
            ctx.set(dut.scale, scale)
            ctx.set(dut.exponent, exponent)
            if en and sent >= dut.SCALE_LATENCY:
                found.append(ctx.get(dut.o))
            await ctx.tick()
            sent += en

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == wanted
