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
@pytest.mark.parametrize(("kv_heads", "group", "tokens"), [(1, 1, 1), (3, 1, 2), (1, 4, 4), (2, 3, 1)])
def test_weights(kv_heads: int, group: int, tokens: int, stall: float):
    dut = AttentionWeight(
        dataclasses.replace(CI, max_heads=8, max_group=4, score_words=64, attention_cores=4 // tokens)
    )
    rng = random.Random(kv_heads + group)
    heads = kv_heads * group
    #: Score, s_v, token, head, fresh, ends.
    words: list[tuple[int, int, int, int, bool, bool]] = []
    maxima: dict[tuple[int, int], int] = {}
    exponents: dict[tuple[int, int], int] = {}

    async def memories(ctx) -> None:
        """The read ports of AttentionScore."""
        names = ("score", "value_scale", "fresh", "ends")
        while True:
            at = ctx.get(dut.at.slot), ctx.get(dut.at.head)
            ctx.set(dut.maximum, maxima.get(at, 0) & 0xFFFFFFFF)
            ctx.set(dut.exponent, exponents.get(at, 0))
            en, place = ctx.get(dut.en), ctx.get(dut.score_address)
            await ctx.tick()
            if en and words:
                score, scale, slot, head, fresh, ends = words[place % len(words)]
                for name, value in zip(names, (score, scale, fresh, ends), strict=True):
                    ctx.set(getattr(dut.score, name), value)
                ctx.set(dut.score.at.slot, slot)
                ctx.set(dut.score.at.head, head)

    async def bench(ctx) -> None:
        for rows in (64 // heads, 0, 1, 5):
            spread = 30 << 16
            # Token t sees all rows but the first t of them, as a tile of later tokens might.
            score = torch.tensor(
                [
                    [[rng.randint(-spread, spread) for _ in range(heads)] for _ in range(rows)]
                    for _ in range(tokens)
                ]
            ).reshape(tokens, rows, heads)
            s_v = torch.rand(rows, kv_heads) * (torch.rand(rows, kv_heads) < 0.8)
            per_head = s_v.repeat_interleave(group, 1)
            weights, totals = {}, {}
            for slot in range(min(tokens, rows)):
                seen = score[slot, slot:]
                e = numerics.value_exponent(per_head[slot:].amax(0))
                p = numerics.exp2(seen.amax(0) - seen)
                weights[slot] = numerics.value_weight(p, per_head[slot:], e)
                for head in range(heads):
                    maxima[slot, head], exponents[slot, head] = int(seen[:, head].max()), int(e[head]) + 127
                    totals[slot, head] = int(p[:, head].sum())
            words.clear()
            wanted: list[list[int]] = []
            bits = numerics.float_bits(per_head).tolist()
            for row in range(rows):
                for kv_head in range(kv_heads):
                    seeing = [slot for slot in range(tokens) if row >= slot]
                    steps = [(slot, kv_head * group + g) for slot in seeing for g in range(group)]
                    wanted.append([int(weights[slot][row - slot, head]) for slot, head in steps])
                    for slot, head in steps:
                        ends = (slot, head) == steps[-1]
                        words.append(
                            (int(score[slot, row, head]), bits[row][head], slot, head, row == slot, ends)
                        )
            ctx.set(dut.start, 1)
            ctx.set(dut.count, len(words))
            await ctx.tick()
            ctx.set(dut.start, 0)
            found: list[list[int]] = []
            cycles = last = 0
            while len(found) < len(wanted) or cycles < 30:
                ctx.set(dut.pop, 0)
                # All weights of a group, more than once and in any order, then it goes.
                if ctx.get(dut.available) and (not stall or rng.random() >= stall):
                    group_now = [0] * len(wanted[len(found)])
                    order = [*range(len(group_now))] * (2 if stall else 1)
                    rng.shuffle(order)
                    for i in order:
                        ctx.set(dut.index, i)
                        group_now[i] = ctx.get(dut.weight)
                        if stall:
                            await ctx.tick()
                    found.append(group_now)
                    ctx.set(dut.pop, 1)
                    last = cycles
                await ctx.tick()
                cycles += 1
                assert cycles < 3000
            ctx.set(dut.pop, 0)
            assert found == wanted
            assert not ctx.get(dut.available)
            if rows and not stall:
                assert last + 1 == dut.LATENCY - 1 + len(words)
            for (slot, head), total in totals.items():
                ctx.set(dut.total_at.slot, slot)
                ctx.set(dut.total_at.head, head)
                assert ctx.get(dut.total) == total

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(memories, background=True)
    simulator.add_testbench(bench)
    simulator.run()
