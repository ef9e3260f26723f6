"""KeyDot against exact dot products, with queries in a `QueryMemory` and parts that come now and then."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.key_dot import KeyDot
from hw.machine import CI
from hw.query_memory import QueryMemory

#: attention bytes, K/V heads, group, parts of a head.
SHAPES = [(4, 1, 1, 1), (4, 3, 2, 2), (8, 2, 4, 1), (16, 2, 3, 3)]


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(("size", "kv_heads", "group", "parts"), SHAPES)
def test_dots(size: int, kv_heads: int, group: int, parts: int, eager: bool):
    config = dataclasses.replace(CI, attention_bytes=size, max_group=4, max_heads=8, max_query=512)
    m = Module()
    m.submodules.dut = dut = KeyDot(config)
    m.submodules.queries = queries = QueryMemory(config)
    m.d.comb += [
        queries.en.eq(dut.query_en),
        queries.addresses.eq(dut.query_addresses),
        dut.query_words.eq(queries.words),
    ]
    rng = random.Random(size)
    tokens, heads, head_size = 6, kv_heads * group, parts * size
    q = [
        [rng.choice((-32767, 32767, rng.randint(-32767, 32767))) for _ in range(head_size)]
        for _ in range(heads)
    ]
    keys = [
        [[rng.randint(-127, 127) for _ in range(head_size)] for _ in range(kv_heads)] for _ in range(tokens)
    ]
    keys[1] = [[-127] * head_size] * kv_heads
    q[0] = [32767] * head_size
    scales = [[rng.getrandbits(32) for _ in range(kv_heads)] for _ in range(tokens)]
    wanted = [
        (sum(a * b for a, b in zip(q[h], keys[t][h // group], strict=True)), scales[t][h // group], h, t == 0)
        for t in range(tokens) for h in range(heads)
    ]  # fmt: skip
    found: list[tuple] = []
    flat = [x & 0xFFFF for row in q for x in row]

    async def watch(ctx) -> None:
        dot = dut.dot
        async for _, _, en, value, key_scale, head, fresh in ctx.tick().sample(
            dut.dot_en, dot.dot, dot.key_scale, dot.head, dot.fresh
        ):
            if en:
                found.append((value, key_scale, head, fresh))

    async def bench(ctx) -> None:
        ctx.set(dut.geometry, {"kv_heads": kv_heads, "group": group, "parts": parts})
        ctx.set(queries.write.en, 1)
        for first in range(0, len(flat), config.lanes):
            ctx.set(queries.write.address, first)
            ctx.set(
                queries.write.data, sum(x << 16 * i for i, x in enumerate(flat[first : first + config.lanes]))
            )
            await ctx.tick()
        ctx.set(queries.write.en, 0)
        cycles = 0
        for token in range(tokens):
            for kv_head in range(kv_heads):
                ctx.set(dut.pair_en, 1)
                ctx.set(dut.pair.kv_head, kv_head)
                ctx.set(dut.pair.key_scale, scales[token][kv_head])
                await ctx.tick()
                cycles += 1
            ctx.set(dut.pair_en, 0)
            for kv_head in range(kv_heads):
                for part in range(parts):
                    data = keys[token][kv_head][part * size : (part + 1) * size]
                    last = part == parts - 1
                    ctx.set(dut.part.payload, {
                        "data": int.from_bytes(bytes(x & 0xFF for x in data), "little"), "kv_head": kv_head,
                        "first": part == 0, "last": last, "row_last": last and kv_head == kv_heads - 1,
                    })  # fmt: skip
                    ctx.set(dut.fresh, token == 0)
                    while True:
                        valid = eager or rng.random() < 0.7
                        ctx.set(dut.part.valid, valid)
                        taken = valid and ctx.get(dut.part.ready)
                        await ctx.tick()
                        cycles += 1
                        if taken:
                            break
            ctx.set(dut.part.valid, 0)
        if eager:
            assert cycles <= tokens * kv_heads * max(1 + parts, group)
        while ctx.get(dut.busy):
            await ctx.tick()
        await ctx.tick()
        assert found == wanted

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(bench)
    simulator.run()
