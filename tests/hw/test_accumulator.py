"""Accumulator: random rows, the same row again and again, and a reader, against a Python list."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from hw.accumulator import Accumulator, ResultWrite
from hw.delay_line import delay
from hw.machine import CI, MachineConfig
from hw.ports import AccumulatorRead
from hw.ternary_engine import row_layout


class Ahead(wiring.Component):
    """An Accumulator that is told of rows a cycle late, as it wants to know the place of the next one; the
    place means nothing where there is no row."""

    def __init__(self, config: MachineConfig, width: int) -> None:
        self.inner = Accumulator(config, width)
        super().__init__({
            "sums": In(data.ArrayLayout(self.inner.sums.shape().elem_shape, config.tile)),
            "row": In(row_layout(config.tile)),
            "other": In(16),
            "write": In(ResultWrite()),
            "read": In(AccumulatorRead(config.lanes)),
            "done": Out(1),
            "number": In(16),
            "done_number": Out(16),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = self.inner
        connect(m, flipped(self.write), inner.write)
        connect(m, flipped(self.read), inner.read)
        m.d.comb += [inner.next_row.eq(self.other), self.done.eq(inner.done)]
        with m.If(self.row.valid):
            m.d.comb += inner.next_row.eq(self.row.row)
        m.d.sync += [inner.row.eq(self.row), inner.sums.eq(self.sums)]
        m.d.comb += self.done_number.eq(delay(m, self.number, 2))
        return m


def signed_words(value: int, count: int) -> list[int]:
    words = value.to_bytes(4 * count, "little")
    return [int.from_bytes(words[i : i + 4], "little", signed=True) for i in range(0, 4 * count, 4)]


@pytest.mark.parametrize(
    ("family", "lanes", "tile"),
    [("ecp5", 4, 1), ("xcup", 8, 1), ("ecp5", 4, 2), ("ecp5", 4, 4), ("xcup", 8, 8), ("xcup", 4, 8)],
)
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_sums(lanes: int, tile: int, rows: int, family: str):
    """Only the last chunk's sums can be read, only of live tokens; the others' results stay as they are."""
    config = dataclasses.replace(CI, lanes=lanes, accumulator_rows=128, tile=tile, family=family)
    rng = random.Random(rows)
    dut = Ahead(config, 15)
    base = rng.randrange(0, 128 - rows)
    model = [[0] * 128 for _ in range(tile)]
    sums = [[0] * 128 for _ in range(tile)]
    live: dict[int, int] = {}

    async def bench(ctx) -> None:
        done_before = [False, False]
        for step in range(200):
            valid = rng.random() < 0.8
            row = base + rng.randrange(rows)
            first = row not in live or rng.random() < 0.05
            more = rng.randrange(tile) if first else live[row]
            values = [rng.choice((-(1 << 14), (1 << 14) - 1, rng.randint(-9999, 9999))) for _ in range(tile)]
            done = rng.random() < 0.5
            last = rng.random() < 0.3
            ctx.set(dut.sums, values)
            ctx.set(dut.other, rng.randrange(128))
            marks = {"first": first, "last": last, "done": valid and done}
            ctx.set(dut.row, {"valid": valid, "row": row, "more": more, **marks})
            _, _, found = await ctx.tick().sample(dut.done)
            assert found == done_before.pop(0), f"step {step}"
            done_before.append(valid and done)
            if valid:
                live[row] = more
                for t in range(more + 1):
                    sums[t][row] = values[t] + (0 if first else sums[t][row])
                    if last:
                        model[t][row] = sums[t][row]
                if last:
                    del live[row]
        ctx.set(dut.row, {"valid": 0, "row": base, "more": 0, "first": 1, "last": 1, "done": 0})
        await ctx.tick().repeat(2)
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


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_rows_in_order_are_there_when_done(family: str):
    """MATMULs back to back, from any row on, of any number of rows: all is read from the cycle after ``done``
    on, while the next one's sums pass."""
    config = dataclasses.replace(CI, lanes=4, accumulator_rows=64, tile=4, family=family)
    rng = random.Random(5)
    dut = Ahead(config, 12)
    model = [[0] * 64 for _ in range(4)]
    finished: list[tuple[int, int, list[list[int]]]] = []

    async def matmul(ctx, acc: int, rows: int, chunks: int) -> None:
        more = rng.randrange(4)
        totals = [[0] * rows for _ in range(4)]
        for chunk in range(chunks):
            for i in range(rows):
                values = [rng.randint(-2000, 2000) for _ in range(4)]
                for t in range(more + 1):
                    totals[t][i] += values[t]
                last = chunk == chunks - 1
                done = last and i == rows - 1
                while rng.random() < 0.2:
                    ctx.set(dut.row.valid, 0)
                    await ctx.tick()
                marks = {"first": chunk == 0, "last": last, "done": done}
                ctx.set(dut.row, {"valid": 1, "row": acc + i, "more": more, **marks})
                ctx.set(dut.sums, values)
                ctx.set(dut.number, len(finished))
                await ctx.tick()
        for t in range(more + 1):
            model[t][acc : acc + rows] = totals[t]
        ctx.set(dut.row.valid, 0)
        finished.append((acc, rows, [list(of_token) for of_token in model]))

    async def bench(ctx) -> None:
        for step in range(30):
            # Into one half of the rows, while the other is read.
            rows = rng.randint(1, 32)
            await matmul(ctx, 32 * (step % 2) + rng.randint(0, 32 - rows), rows, rng.randint(1, 3))

    async def reader(ctx) -> None:
        while True:
            _, _, done, number = await ctx.tick().sample(dut.done, dut.done_number)
            if not done:
                continue
            acc, rows, expected = finished[number]
            token = rng.randrange(4)
            ctx.set(dut.read.en, 1)
            for address in range(acc - acc % 4, acc + rows, 4):
                ctx.set(dut.read.token, token)
                ctx.set(dut.read.address, address)
                await ctx.tick()
                found = signed_words(ctx.get(dut.read.data), 4)
                assert found == expected[token][address : address + 4], f"token {token}, row {address}"
                if finished[-1][0] // 32 != acc // 32:
                    break

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(reader, background=True)
    sim.run()
    assert len(finished) == 30


def test_wide_sums_and_reads_beside_sums():
    """Partial sums to the ends of their range; reading holds while `en` is 0 and does not disturb summing."""
    config = dataclasses.replace(CI, accumulator_rows=16, tile=2)
    dut = Ahead(config, 16)
    most = 128 * config.quantised_words

    async def bench(ctx) -> None:
        async def add(row: int, value: int, first: int, last: int) -> None:
            ctx.set(dut.sums, [99, value])
            ctx.set(dut.row, {"valid": 1, "row": row, "more": 1, "first": first, "last": last, "done": 0})
            await ctx.tick()

        for row, step in enumerate((1 << 14, -(1 << 14))):
            for i in range(most >> 14):
                await add(row, step, i == 0, 0)
            await add(row, 0, 0, 1)
        await add(2, 5, 1, 1)
        await add(3, -7, 1, 1)
        await add(8, 1, 1, 1)
        ctx.set(dut.read.en, 1)
        ctx.set(dut.read.token, 1)
        await add(9, 2, 1, 1)
        await add(9, 2, 1, 1)
        expected = [most, -most, 5, -7]
        for _ in range(3):
            assert signed_words(ctx.get(dut.read.data), 4) == expected
            ctx.set(dut.read.en, 0)
            ctx.set(dut.read.token, 0)
            ctx.set(dut.read.address, 8)
            await add(0, 3, 1, 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
