"""QueryMemory: elements written flat, in writes of any width, are read as words of each member."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.machine import CI
from hw.query_memory import QueryMemory


@pytest.mark.parametrize(("size", "lanes"), [(4, 4), (8, 4), (16, 4), (4, 8), (4, 16)])
def test_words(size: int, lanes: int):
    config = dataclasses.replace(
        CI, attention_bytes=size, lanes=lanes, max_group=3, max_query=128, max_heads=4
    )
    dut = QueryMemory(config)
    rng = random.Random(size * lanes)
    elements = [rng.getrandbits(16) for _ in range(config.max_query)]
    scales = [rng.getrandbits(32) for _ in range(4)]

    def packed(first: int, count: int) -> int:
        return sum(element << 16 * i for i, element in enumerate(elements[first : first + count]))

    async def bench(ctx) -> None:
        ctx.set(dut.write.en, 1)
        for first in range(0, config.max_query, lanes):
            ctx.set(dut.write.address, first)
            ctx.set(dut.write.data, packed(first, lanes))
            await ctx.tick()
        ctx.set(dut.write.en, 0)
        ctx.set(dut.write.address, 0)
        ctx.set(dut.write.data, 0)
        ctx.set(dut.write.scale_en, 1)
        for head, scale in enumerate(scales):
            ctx.set(dut.write.scale_head, head)
            ctx.set(dut.write.scale, scale)
            await ctx.tick()
        ctx.set(dut.write.scale_en, 0)
        held = None
        for _ in range(100):
            words = [rng.randrange(config.max_query // size) for _ in range(3)]
            en = held is None or rng.random() < 0.7
            ctx.set(dut.en, en)
            for member, word in enumerate(words):
                ctx.set(dut.addresses[member], word)
            await ctx.tick()
            held = words if en else held
            assert [ctx.get(dut.words[g]) for g in range(3)] == [packed(word * size, size) for word in held]
            head = rng.randrange(4)
            ctx.set(dut.head, head)
            assert ctx.get(dut.scale) == scales[head]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
