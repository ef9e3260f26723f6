"""AttentionWeight against numerics: weights by group, sums by head, with a reader that pauses."""

import dataclasses
import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.attention_weight import AttentionWeight
from hw.machine import CI
from models import numerics


@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize(("kv_heads", "group"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_weights(kv_heads: int, group: int, stall: float):
    dut = AttentionWeight(dataclasses.replace(CI, max_heads=8, max_group=4, score_words=64))
    rng = random.Random(kv_heads + group)
    heads = kv_heads * group
    scores: list[int] = []
    scales: list[int] = []
    maxima: list[int] = []
    exponents: list[int] = []

    async def memories(ctx) -> None:
        """The read ports of AttentionScore and ValueScales."""
        score = scale = 0
        while True:
            ctx.set(dut.score, score & 0xFFFFFFFF)
            ctx.set(dut.scale, scale)
            if maxima:
                ctx.set(dut.maximum, maxima[ctx.get(dut.head) % heads] & 0xFFFFFFFF)
                ctx.set(dut.exponent, exponents[ctx.get(dut.kv_head) % kv_heads])
            en, place, scale_place = ctx.get(dut.en), ctx.get(dut.score_address), ctx.get(dut.scale_address)
            await ctx.tick()
            if en and scores:
                score, scale = scores[place % len(scores)], scales[scale_place % len(scales)]

    async def bench(ctx) -> None:
        ctx.set(dut.geometry, {"kv_heads": kv_heads, "group": group, "parts": 1})
        for tokens in (64 // heads, 0, 1, 5):
            spread = 30 << 16
            score = torch.tensor(
                [[rng.randint(-spread, spread) for _ in range(heads)] for _ in range(tokens)]
            )
            score = score.reshape(tokens, heads)
            s_v = torch.rand(tokens, kv_heads) * (torch.rand(tokens, kv_heads) < 0.8)
            wanted_groups: list[list[int]] = []
            totals = [0] * heads
            scores[:], scales[:] = score.flatten().tolist(), numerics.float_bits(s_v).flatten().tolist()
            if tokens:
                e = numerics.value_exponent(s_v.amax(0))
                maxima[:], exponents[:] = score.amax(0).tolist(), (e + 127).tolist()
                p = numerics.exp2(score.amax(0) - score)
                per_head = s_v.repeat_interleave(group, 1)
                weight = numerics.value_weight(p, per_head, e.repeat_interleave(group))
                wanted_groups = weight.reshape(tokens * kv_heads, group).tolist()
                totals = p.sum(0).tolist()
            ctx.set(dut.start, 1)
            ctx.set(dut.count, tokens * heads)
            await ctx.tick()
            ctx.set(dut.start, 0)
            found: list[list[int]] = []
            cycles = 0
            while len(found) < len(wanted_groups) or cycles < 30:
                ready = rng.random() >= stall
                ctx.set(dut.weights.ready, ready)
                if ready and ctx.get(dut.weights.valid):
                    found.append([ctx.get(dut.weights.payload[g]) for g in range(group)])
                    last = cycles
                await ctx.tick()
                cycles += 1
                assert cycles < 1000
            assert found == wanted_groups
            assert not ctx.get(dut.weights.valid)
            if tokens and not stall:
                assert last + 1 == dut.LATENCY - 1 + tokens * heads
            for head, total in enumerate(totals):
                ctx.set(dut.total_head, head)
                assert ctx.get(dut.total) == total

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(memories, background=True)
    simulator.add_testbench(bench)
    simulator.run()
