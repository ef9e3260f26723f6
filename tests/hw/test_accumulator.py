"""Accumulator: random rows, the same row again and again, and a reader, against a Python list."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.accumulator import Accumulator
from hw.machine import CI


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("rows", [1, 2, 3, 40])
def test_sums(lanes: int, rows: int):
    config = dataclasses.replace(CI, lanes=lanes, accumulator_rows=128)
    rng = random.Random(rows)
    dut = Accumulator(config, 15)
    base = rng.randrange(0, 128 - rows)
    model: dict[int, int] = {}

    async def bench(ctx) -> None:
        done_before = False
        for step in range(500):
            valid = rng.random() < 0.8
            row = base + rng.randrange(rows)
            first = row not in model or rng.random() < 0.05
            value = rng.choice((-(1 << 14), (1 << 14) - 1, rng.randint(-9999, 9999)))
            done = rng.random() < 0.5
            ctx.set(dut.sum, value)
            ctx.set(dut.row, {"valid": valid, "row": row, "first": first, "done": valid and done})
            _, _, found = await ctx.tick().sample(dut.done)
            assert found == done_before, f"step {step}"
            done_before = valid and done
            if valid:
                model[row] = value + (0 if first else model[row])
        ctx.set(dut.row, {"valid": 0, "row": base, "first": 1, "done": 0})
        await ctx.tick()
        ctx.set(dut.read.en, 1)
        for address in range(0, config.accumulator_rows, lanes):
            ctx.set(dut.read.address, address)
            await ctx.tick()
            words = ctx.get(dut.read.data).to_bytes(4 * lanes, "little")
            for lane in range(lanes):
                if address + lane in model:
                    found = int.from_bytes(words[4 * lane : 4 * lane + 4], "little", signed=True)
                    assert found == model[address + lane], f"row {address + lane}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_wide_sums_and_reads_beside_sums():
    """Sums to the ends of int32; reading holds while `en` is 0 and does not disturb summing."""
    config = dataclasses.replace(CI, accumulator_rows=16)
    dut = Accumulator(config, 32)

    async def bench(ctx) -> None:
        async def add(row: int, value: int, first: int) -> None:
            ctx.set(dut.sum, value)
            ctx.set(dut.row, {"valid": 1, "row": row, "first": first, "done": 0})
            await ctx.tick()

        for row, value in enumerate((2**31 - 1, -(2**31), 5, -7)):
            await add(row, value, 1)
        await add(8, 1, 1)
        ctx.set(dut.read.en, 1)
        await add(9, 2, 1)
        expected = [2**31 - 1, -(2**31), 5, -7]
        for _ in range(3):
            words = ctx.get(dut.read.data).to_bytes(16, "little")
            assert [
                int.from_bytes(words[i : i + 4], "little", signed=True) for i in (0, 4, 8, 12)
            ] == expected
            ctx.set(dut.read.en, 0)
            ctx.set(dut.read.address, 8)
            await add(0, 3, 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
