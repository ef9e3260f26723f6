"""OutputScale against numerics.output_scale, with a reader that pauses."""

import dataclasses
import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.machine import CI
from hw.output_scale import OutputScale
from models import numerics


@pytest.mark.parametrize("multiply", [3, 4])
@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_scales(stall: float, multiply: int):
    dut = OutputScale(dataclasses.replace(CI, attention_cores=1, multiply_cycles=multiply))
    rng = random.Random(1)

    async def bench(ctx) -> None:
        for heads, live in ((16, 1), (1, 1), (6, 3), (5, 4), (1, 2)):
            ctx.set(dut.geometry.heads, heads)
            totals = [rng.getrandbits(44) >> rng.randrange(40) for _ in range(heads * live)]
            totals[0] = 0 if heads == 6 else 2**24 - 1
            exponents = [
                rng.choice((-126, -100, 0, 127, 128, rng.randint(-126, 128))) for _ in range(heads * live)
            ]
            scale = numerics.output_scale(torch.tensor(totals), torch.tensor(exponents))
            wanted = numerics.float_bits(scale).tolist()
            found: list[int] = []
            times: list[int] = []
            ctx.set(dut.start, 1)
            ctx.set(dut.last_slot, live - 1)
            cycle = 0
            while len(found) < len(wanted):
                ready = rng.random() >= stall
                ctx.set(dut.scale.ready, ready)
                place = ctx.get(dut.at.slot) * heads + ctx.get(dut.at.head)
                ctx.set(dut.total, totals[place % len(totals)])
                ctx.set(dut.exponent, exponents[place % len(totals)] + 127)
                if ready and ctx.get(dut.scale.valid):
                    found.append(ctx.get(dut.scale.payload))
                    times.append(cycle)
                await ctx.tick()
                ctx.set(dut.start, 0)
                cycle += 1
                assert cycle < 5000
            assert found == wanted
            if not stall:
                assert times == [dut.latency + i for i in range(len(wanted))]
            for _ in range(30):
                assert not ctx.get(dut.scale.valid) or not ready
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
