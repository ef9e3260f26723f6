"""StageFeed: the bytes of a staged row in order, whatever is taken and when."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.machine import CI
from hw.stage_feed import StageFeed


@pytest.mark.parametrize(("size", "lanes"), [(4, 4), (8, 8), (16, 8), (16, 4), (64, 16)])
def test_rows(size: int, lanes: int):
    config = dataclasses.replace(CI, attention_bytes=size, lanes=lanes)
    dut = StageFeed(config)
    rng = random.Random(size)
    #: By token, then K and V.
    rows = [[rng.randbytes(200 + size) for _ in range(2)] for _ in range(4)]

    async def memory(ctx) -> None:
        while True:
            _, _, token, value, address = await ctx.tick().sample(
                dut.stage.token, dut.stage.value, dut.stage.address
            )
            assert address % size == 0
            word = (rows[token][value] + bytes(2 * size))[address : address + size]
            ctx.set(dut.stage.data, int.from_bytes(word, "little"))

    async def bench(ctx) -> None:
        for number in range(12):
            value, token, eager = number & 1, number % 3 if number < 9 else 3, number < 6
            ctx.set(dut.start, 1)
            ctx.set(dut.value, value)
            ctx.set(dut.token, token)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.token, rng.randrange(4))
            place = cycles = 0
            while place < rng.randrange(100, 200):
                level = ctx.get(dut.tape.level)
                data = ctx.get(dut.tape.data).to_bytes(config.unit_bytes, "little")
                assert data[:level] == rows[token][value][place : place + level]
                # Pairs of scales first, then words; some takes are short.
                short = not eager and rng.random() < 0.4
                step = min(8, size, lanes)
                wanted = 8 if place < 24 else rng.randrange(step, size + 1, step) if short else size
                take = wanted if level >= wanted and (eager or rng.random() < 0.5) else 0
                ctx.set(dut.tape.take, take)
                await ctx.tick()
                ctx.set(dut.tape.take, 0)
                place += take
                cycles += 1
            if eager:
                least = sum(max(1, 8 // size) for _ in range(3)) + (place - 24) // size
                assert cycles <= least + 3

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_process(memory)
    simulator.add_testbench(bench)
    simulator.run()
