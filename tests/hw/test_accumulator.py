"""Accumulator: random rows, the same row again and again, and a reader, against a Python list."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.accumulator import Accumulator
from hw.machine import CI


def signed_words(value: int, count: int) -> list[int]:
    words = value.to_bytes(4 * count, "little")
    return [int.from_bytes(words[i : i + 4], "little", signed=True) for i in range(0, 4 * count, 4)]


@pytest.mark.parametrize(("lanes", "tile"), [(4, 1), (8, 1), (4, 2), (8, 4)])
@pytest.mark.parametrize("rows", [1, 2, 3, 40])
def test_sums(lanes: int, tile: int, rows: int):
    """Tokens that are not live keep the sums they have, which are 0 where they never were live."""
    config = dataclasses.replace(CI, lanes=lanes, accumulator_rows=128, tile=tile)
    rng = random.Random(rows)
    dut = Accumulator(config, 15)
    base = rng.randrange(0, 128 - rows)
    model = [[0] * 128 for _ in range(tile)]
    live: dict[int, int] = {}

    async def bench(ctx) -> None:
        done_before = False
        for step in range(500):
            valid = rng.random() < 0.8
            row = base + rng.randrange(rows)
            first = row not in live or rng.random() < 0.05
            more = rng.randrange(tile) if first else live[row]
            values = [rng.choice((-(1 << 14), (1 << 14) - 1, rng.randint(-9999, 9999))) for _ in range(tile)]
            done = rng.random() < 0.5
            ctx.set(dut.sums, values)
            ctx.set(
                dut.row, {"valid": valid, "row": row, "more": more, "first": first, "done": valid and done}
            )
            _, _, found = await ctx.tick().sample(dut.done)
            assert found == done_before, f"step {step}"
            done_before = valid and done
            if valid:
                live[row] = more
                for t in range(more + 1):
                    model[t][row] = values[t] + (0 if first else model[t][row])
        ctx.set(dut.row, {"valid": 0, "row": base, "more": 0, "first": 1, "done": 0})
        await ctx.tick()
        # Results of LINEAR, of one token each.
        for _ in range(40):
            row, token, value = rng.randrange(128), rng.randrange(tile), rng.getrandbits(32)
            en = rng.random() < 0.8
            ctx.set(dut.write.en, en)
            ctx.set(dut.write.row, row)
            ctx.set(dut.write.token, token)
            ctx.set(dut.write.data, value)
            await ctx.tick()
            if en:
                model[token][row] = value - 2**32 * (value >= 2**31)
        ctx.set(dut.write.en, 0)
        ctx.set(dut.read.en, 1)
        reads = [(t, address) for t in range(tile) for address in range(0, 128, lanes)]
        for token, address in rng.sample(reads, len(reads)):
            ctx.set(dut.read.token, token)
            ctx.set(dut.read.address, address)
            await ctx.tick()
            ctx.set(dut.read.token, rng.randrange(tile))
            found = signed_words(ctx.get(dut.read.data), lanes)
            assert found == model[token][address : address + lanes], f"token {token}, rows from {address}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_wide_sums_and_reads_beside_sums():
    """Sums to the ends of int32; reading holds while `en` is 0 and does not disturb summing."""
    config = dataclasses.replace(CI, accumulator_rows=16, tile=2)
    dut = Accumulator(config, 32)

    async def bench(ctx) -> None:
        async def add(row: int, value: int, first: int) -> None:
            ctx.set(dut.sums, [99, value])
            ctx.set(dut.row, {"valid": 1, "row": row, "more": 1, "first": first, "done": 0})
            await ctx.tick()

        for row, value in enumerate((2**31 - 1, -(2**31), 5, -7)):
            await add(row, value, 1)
        await add(8, 1, 1)
        ctx.set(dut.read.en, 1)
        ctx.set(dut.read.token, 1)
        await add(9, 2, 1)
        expected = [2**31 - 1, -(2**31), 5, -7]
        for _ in range(3):
            assert signed_words(ctx.get(dut.read.data), 4) == expected
            ctx.set(dut.read.en, 0)
            ctx.set(dut.read.token, 0)
            ctx.set(dut.read.address, 8)
            await add(0, 3, 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
