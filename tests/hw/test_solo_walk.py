"""SoloWalk: what the lanes' adders make of any activations are the sums under all codes, in their places."""

import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.solo_walk import SWEEP_ADDRESSES, SoloWalk, lanes_used, solo_cycles, sweeps
from models import numerics


@pytest.mark.parametrize("lanes", [2, 4, 8, 9, 16])
def test_entries_of_all_codes(lanes: int) -> None:
    dut, rng, each = SoloWalk(lanes), random.Random(lanes), sweeps(lanes)
    codes = torch.arange(243, dtype=torch.int64)[:, None]
    trits = numerics.unpack_trits(codes, 5)

    async def bench(ctx) -> None:
        ctx.set(dut.en, 1)
        for _ in range(2):  # a walk leaves everything ready for the next
            activations = [rng.randint(-127, 127) for _ in range(5)]
            sums, found, cycles = [0] * lanes, {}, 0
            while True:
                if rng.random() < 0.3:  # nothing moves without `en`
                    ctx.set(dut.en, 0)
                    await ctx.tick()
                    ctx.set(dut.en, 1)
                cycles += 1
                if ctx.get(dut.write):
                    address = ctx.get(dut.address)
                    assert address not in found
                    found[address] = list(sums)
                step, down, ends = ctx.get(dut.step), ctx.get(dut.down), ctx.get(dut.ends)
                for t in range(lanes):
                    change = activations[ctx.get(dut.digit[t])] * (-1 if down >> t & 1 else 1)
                    sums[t] += change if step >> t & 1 else 0
                await ctx.tick()
                if ends:
                    break
            assert cycles == solo_cycles(lanes) and max(found) < 256
            wanted = (trits * torch.tensor(activations)).sum(1).tolist()
            for code, value in enumerate(wanted):
                three, two = code % 27, code // 27
                assert found[three + SWEEP_ADDRESSES * (two % each)][two // each] == value

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert lanes_used(lanes) <= lanes
