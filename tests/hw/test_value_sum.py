"""ValueSum against exact sums, with parts and weights that come now and then."""

import dataclasses
import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.machine import CI
from hw.value_sum import ValueSum

SIZE = 4


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("kv_heads", "group", "parts"), [(1, 1, 1), (4, 1, 4), (1, 3, 5), (2, 2, 2)])
def test_sums(kv_heads: int, group: int, parts: int, stall: float):
    config = dataclasses.replace(CI, attention_bytes=SIZE, max_query=64, max_group=3)
    dut = ValueSum(config)
    rng = random.Random(parts)
    generator = torch.Generator().manual_seed(parts)

    async def bench(ctx) -> None:
        ctx.set(dut.geometry, {"kv_heads": kv_heads, "group": group, "parts": parts})
        for tokens in (1, 6):
            v = torch.randint(-128, 128, (tokens, kv_heads, parts, SIZE), generator=generator)
            w = torch.randint(0, 2**24, (tokens, kv_heads, group), generator=generator)
            w[0], v[0, 0, 0] = 2**24 - 1, -128
            for token in range(tokens):
                for kv_head in range(kv_heads):
                    for part in range(parts):
                        last = part == parts - 1
                        data = v[token, kv_head, part] % 256
                        ctx.set(
                            dut.part.payload,
                            {
                                "data": int.from_bytes(bytes(data.tolist()), "little"),
                                "kv_head": kv_head, "first": part == 0, "last": last,
                                "row_last": last and kv_head == kv_heads - 1,
                            },
                        )  # fmt: skip
                        ctx.set(dut.fresh, token == 0)
                        for g in range(3):
                            weight = int(w[token, kv_head, g]) if g < group else rng.getrandbits(24)
                            ctx.set(dut.weights.payload[g], weight)
                        while True:
                            ctx.set(dut.part.valid, rng.random() >= stall)
                            ctx.set(dut.weights.valid, rng.random() >= stall)
                            taken = ctx.get(dut.part.valid) and ctx.get(dut.part.ready)
                            popped = ctx.get(dut.weights.valid) and ctx.get(dut.weights.ready)
                            assert popped == (taken and last)
                            await ctx.tick()
                            if taken:
                                break
                            assert stall != 0.0
            ctx.set(dut.part.valid, 0)
            ctx.set(dut.weights.valid, 0)
            while ctx.get(dut.busy):
                await ctx.tick()
            wanted = torch.einsum("tkg,tkps->kgps", w, v)
            for kv_head in range(kv_heads):
                for g in range(group):
                    for part in range(parts):
                        ctx.set(dut.en, 1)
                        ctx.set(dut.address, kv_head * parts + part)
                        ctx.set(dut.member, g)
                        await ctx.tick()
                        ctx.set(dut.en, 0)
                        ctx.set(dut.address, 0)
                        ctx.set(dut.member, 0)
                        for _ in range(rng.randrange(2)):
                            await ctx.tick()
                        fields = [ctx.get(dut.sums) >> 48 * i & (1 << 48) - 1 for i in range(SIZE)]
                        found = [x - (x >> 47 << 48) for x in fields]
                        assert found == wanted[kv_head, g, part].tolist()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
