"""QueryMemory: elements written head by head, in writes of any width, are read as words of each head."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.machine import CI
from hw.query_memory import QueryMemory


@pytest.mark.parametrize(
    ("size", "lanes", "tokens", "head_size"),
    [
        (4, 4, 1, 12),
        (8, 4, 2, 12),
        (16, 4, 4, 20),
        (64, 4, 4, 24),
        (4, 8, 2, 16),
        (4, 16, 4, 32),
        (16, 8, 1, 16),
    ],
)
def test_words(size: int, lanes: int, tokens: int, head_size: int):
    config = dataclasses.replace(
        CI, attention_bytes=size, lanes=lanes, max_query=256, max_heads=4, tile=4, attention_cores=4 // tokens
    )
    dut = QueryMemory(config)
    rng = random.Random(size * lanes)
    parts = -(-head_size // size)
    heads = min(4, 256 // (parts * size))

    async def write(ctx, slot: int) -> tuple[list[list[int]], list[int]]:
        """All heads of a token, with what is not looked at in between."""
        elements = [[rng.getrandbits(16) for _ in range(head_size)] for _ in range(heads)]
        scales = [rng.getrandbits(32) for _ in range(heads)]
        ctx.set(dut.write_slot, slot)
        for head in range(heads):
            ctx.set(dut.write.scale_en, 1)
            ctx.set(dut.write.scale_head, head)
            ctx.set(dut.write.scale, scales[head])
            await ctx.tick()
            ctx.set(dut.write.scale_en, 0)
            ctx.set(dut.write.scale, 0)
            ctx.set(dut.write.scale_head, rng.randrange(4))
            for first in range(0, head_size, lanes):
                while rng.random() < 0.3:
                    await ctx.tick()
                ctx.set(dut.write.en, 1)
                ctx.set(dut.write.address, rng.getrandbits(16))
                ctx.set(dut.write.data, packed(elements[head][first : first + lanes]))
                await ctx.tick()
                ctx.set(dut.write.en, 0)
        return elements, scales

    def packed(elements: list[int]) -> int:
        return sum(element << 16 * i for i, element in enumerate(elements))

    async def bench(ctx) -> None:
        written = {}
        for slot in [*range(tokens), 0]:
            written[slot] = await write(ctx, slot)
        held = None
        for _ in range(100):
            wanted = rng.randrange(tokens), rng.randrange(heads), rng.randrange(parts)
            en = held is None or rng.random() < 0.7
            ctx.set(dut.en, en)
            ctx.set(dut.slot, wanted[0])
            ctx.set(dut.address, wanted[1] * parts + wanted[2])
            await ctx.tick()
            held = wanted if en else held
            slot, head, part = held
            elements = written[slot][0][head][part * size : (part + 1) * size]
            assert ctx.get(dut.word) & (1 << 16 * len(elements)) - 1 == packed(elements)
            slot, head = rng.randrange(tokens), rng.randrange(heads)
            ctx.set(dut.scale_slot, slot)
            ctx.set(dut.head, head)
            assert ctx.get(dut.scale) == written[slot][1][head]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
