"""SoloWalk: what the lanes' adders make of any activations are the sums under all codes, in their places."""

import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.solo_walk import (
    NOTHING,
    PairPlaces,
    SoloPlace,
    SoloWalk,
    lanes_used,
    places,
    shared_places,
    solo_cycles,
)
from models import numerics


@pytest.mark.parametrize("lanes", [2, 4, 8, 9, 27])
def test_entries_of_all_codes(lanes: int) -> None:
    dut, rng, where = SoloWalk(lanes), random.Random(lanes), places(lanes)
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
                lane, address = where[code]
                assert lane < lanes_used(lanes) and found[address][lane] == value

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert lanes_used(lanes) <= lanes


@pytest.mark.parametrize("lanes", [2, 8])
def test_places_by_hardware(lanes: int) -> None:
    dut = SoloPlace(lanes)

    async def bench(ctx) -> None:
        for byte, (lane, address) in enumerate(places(lanes)):
            ctx.set(dut.byte, byte)
            await ctx.delay(1e-9)
            assert (ctx.get(dut.lane), ctx.get(dut.address)) == (lane, address)

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_two_tables_have_each_entry_once(lanes: int) -> None:
    parts = [shared_places(lanes, part) for part in range(2)]
    for code, (lane, address) in enumerate(places(2 * lanes)):
        found = [part[code] for part in parts]
        if code < 243:
            assert found[lane // lanes] == (lane % lanes, address) and found[1 - lane // lanes] == (
                0,
                NOTHING,
            )
        else:
            assert found == [(0, code)] * 2  # never written


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("lanes", [2, 4])
def test_pairs_by_hardware(lanes: int, part: int) -> None:
    dut, rng = PairPlaces(lanes, part), random.Random(lanes)
    wanted = {
        (0, 0): [(0, byte) for byte in range(256)],
        (1, 0): places(lanes),
        (1, 1): shared_places(lanes, part),
    }

    async def bench(ctx) -> None:
        held = None
        for first in [*range(256)] * 2:
            pair, alone, en = [first, rng.randrange(256)], rng.getrandbits(1), rng.random() < 0.8
            shares = alone & rng.getrandbits(1)
            ctx.set(dut.bytes, pair)
            ctx.set(dut.alone, alone)
            ctx.set(dut.shares, shares)
            ctx.set(dut.en, en)
            await ctx.tick()
            held = [wanted[alone, shares][byte] for byte in pair] if en else held
            if held:
                assert [(ctx.get(dut.lane[i]), ctx.get(dut.address[i])) for i in range(2)] == held

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
