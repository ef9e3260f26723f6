"""OutputScale against numerics.output_scale, with a reader that pauses."""

import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.fp32_div import Fp32Div
from hw.machine import CI
from hw.output_scale import OutputScale
from models import numerics


@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_scales(stall: float):
    dut = OutputScale(CI)
    rng = random.Random(1)

    async def bench(ctx) -> None:
        for kv_heads, group in ((4, 4), (1, 1), (3, 2), (5, 1)):
            ctx.set(dut.geometry, {"kv_heads": kv_heads, "group": group, "parts": 1})
            heads = kv_heads * group
            totals = [rng.getrandbits(44) >> rng.randrange(40) for _ in range(heads)]
            totals[0] = 0 if heads == 6 else 2**24 - 1
            exponents = [
                rng.choice((-126, -100, 0, 127, 128, rng.randint(-126, 128))) for _ in range(kv_heads)
            ]
            e = torch.tensor(exponents).repeat_interleave(group)
            wanted = numerics.float_bits(numerics.output_scale(torch.tensor(totals), e)).tolist()
            found: list[int] = []
            times: list[int] = []
            ctx.set(dut.start, 1)
            cycle = 0
            while len(found) < heads:
                ready = rng.random() >= stall
                ctx.set(dut.scale.ready, ready)
                ctx.set(dut.total, totals[ctx.get(dut.head) % heads])
                ctx.set(dut.exponent, exponents[ctx.get(dut.kv_head) % kv_heads] + 127)
                if ready and ctx.get(dut.scale.valid):
                    found.append(ctx.get(dut.scale.payload))
                    times.append(cycle)
                await ctx.tick()
                ctx.set(dut.start, 0)
                cycle += 1
                assert cycle < 2000
            assert found == wanted
            if not stall:
                assert times == [dut.LATENCY + i * (Fp32Div.LATENCY + 1) for i in range(heads)]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
