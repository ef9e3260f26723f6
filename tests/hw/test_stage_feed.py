"""StageFeed: the bytes of a staged row in order, whatever is taken and when."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.machine import CI
from hw.narrow_feed import NarrowFeed
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
                # Pairs of scales first, then words; some takes are short.
                short = not eager and rng.random() < 0.4
                step = min(8, size, lanes)
                wanted = 8 if place < 24 else rng.randrange(step, size + 1, step) if short else size
                ctx.set(dut.tape.want, wanted)
                enough = ctx.get(dut.tape.enough)
                if enough:
                    data = ctx.get(dut.tape.data).to_bytes(config.unit_bytes, "little")
                    assert data[:wanted] == rows[token][value][place : place + wanted]
                take = enough and (eager or rng.random() < 0.5)
                ctx.set(dut.tape.take, take)
                await ctx.tick()
                ctx.set(dut.tape.take, 0)
                place += wanted * take
                cycles += 1
            if eager:
                least = sum(max(1, 8 // size) for _ in range(3)) + (place - 24) // size
                assert cycles <= least + 3

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_process(memory)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("size", "lanes"), [(32, 4), (64, 8), (128, 8)])
def test_narrow_words(size: int, lanes: int):
    """NarrowFeed: takes of what was said to be wanted, at once or later, another row at any time."""
    config = dataclasses.replace(CI, attention_bytes=size, lanes=lanes, bus_bytes=64, family="xcup")
    dut, word = NarrowFeed(config), config.stage_word
    assert word == 2 * lanes < size
    rng = random.Random(size)
    rows = [[rng.randbytes(3 * size + 200) for _ in range(2)] for _ in range(4)]

    async def memory(ctx) -> None:
        while True:
            _, _, en, token, value, address = await ctx.tick().sample(
                dut.stage.en, dut.stage.token, dut.stage.value, dut.stage.address
            )
            assert address % word == 0
            bytes_ = (rows[token][value] + bytes(size))[address : address + word]
            ctx.set(dut.stage.data, int.from_bytes(bytes_, "little") if en else rng.getrandbits(8 * word))

    async def bench(ctx) -> None:
        for number in range(40):
            value, token, eager = number & 1, rng.randrange(4), number < 12
            ctx.set(dut.start, 1)
            ctx.set(dut.value, value)
            ctx.set(dut.token, token)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.token, rng.randrange(4))
            place = cycles = 0
            while place < rng.randrange(2 * size, 3 * size):
                short = number % 3 == 1 or (number % 3 == 2 and rng.random() < 0.5)
                wanted = rng.randrange(
                    lanes, (2 if number % 4 else 4) * lanes + 1 if short else size + 1, lanes
                )
                if number < 6:
                    wanted = word
                while True:
                    idle = not eager and rng.random() < 0.1
                    ctx.set(dut.tape.want, 0 if idle else wanted)
                    enough = not idle and ctx.get(dut.tape.enough)
                    if enough:
                        data = ctx.get(dut.tape.data).to_bytes(config.unit_bytes, "little")
                        assert data[:wanted] == rows[token][value][place : place + wanted]
                    taken = enough and (eager or rng.random() < 0.5)
                    ctx.set(dut.tape.take, taken)
                    await ctx.tick()
                    ctx.set(dut.tape.take, 0)
                    cycles += 1
                    if taken:
                        break
                    assert cycles < 2000, "the feed brings no more"
                place += wanted
            if number < 6:
                assert cycles == place // word + 1, "a word a cycle, the first two cycles after start"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_process(memory)
    simulator.add_testbench(bench)
    simulator.run()
