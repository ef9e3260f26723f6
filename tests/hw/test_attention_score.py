"""AttentionScore against numerics.attention_score: scores in order, maxima, saturations."""

import dataclasses
import math
import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.attention_score import AttentionScore
from hw.machine import CI
from models import numerics

HEADS, TOKENS, SLOTS = 3, 40, 2


@pytest.mark.parametrize("multiply", [3, 4])
def test_scores(multiply: int):
    """Two tokens see the same rows in turn; the second one none of the first two."""
    config = dataclasses.replace(
        CI, max_heads=4, score_words=128, attention_cores=2, multiply_cycles=multiply
    )
    dut = AttentionScore(config)
    rng = random.Random(1)
    shape = (SLOTS, TOKENS, HEADS)
    dot = torch.tensor([rng.randrange(-(2**32) + 1, 2**32) >> rng.randrange(32)
                        for _ in range(SLOTS * TOKENS * HEADS)]).reshape(shape)  # fmt: skip
    dot[..., 2] = -dot[..., 2].abs() - 1
    s_q = torch.tensor([[2.0**-18, 3.0**-12, 5.0**-9], [7.0**-7, 2.0**-17, 3.0**-11]])
    s_k = torch.tensor(
        [[rng.choice((0.0, 1.0, rng.random(), 37.5, math.nan)) for _ in range(HEADS)] for _ in range(TOKENS)]
    )
    s_v = torch.tensor(
        [[rng.random() * 2.0 ** rng.randint(-100, 120) for _ in range(HEADS)] for _ in range(TOKENS)]
    )
    s_v[:, 1] = torch.where(torch.rand(TOKENS) < 0.5, s_v[:, 1], 0.0)
    s_v[-3:, 2] = 0.0
    product = numerics.fmul(numerics.dequantise(dot, s_q[:, None]), s_k)
    beyond = numerics.float_to_int(product, numerics.SCORE_FRACTION, 2**62).abs() > numerics.SCORE_LIMIT
    score = numerics.attention_score(dot, s_q[:, None], s_k)
    assert beyond.any()
    assert not beyond.all()
    saturated = []

    async def watch(ctx) -> None:
        async for *_, beyond in ctx.tick().sample(dut.saturated):
            saturated.append(beyond)

    async def queries(ctx) -> None:
        while True:
            slot, head = ctx.get(dut.query_at.slot), min(ctx.get(dut.query_at.head), HEADS - 1)
            ctx.set(dut.query_scale, int(numerics.float_bits(s_q)[slot, head]))
            await ctx.tick()

    async def bench(ctx) -> None:
        for rows in (TOKENS, 5, 3):
            low = {0: TOKENS - rows, 1: TOKENS - rows + 2}
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            saturated.clear()
            kept = []
            waiting = [(row, slot, head) for row in range(TOKENS - rows, TOKENS) for slot in low
                       if row >= low[slot] for head in range(HEADS)]  # fmt: skip
            scaled = 0
            for place, (row, slot, head) in enumerate(waiting):
                # Scales run ahead of their dot products, by a few.
                while scaled <= place or (
                    scaled < len(waiting) and scaled - place < 8 and rng.random() < 0.5
                ):
                    row_, _, head_ = waiting[scaled]
                    ctx.set(dut.scales_en, 1)
                    ctx.set(dut.key_scale, int(numerics.float_bits(s_k)[row_, head_]))
                    ctx.set(dut.value_scale, int(numerics.float_bits(s_v)[row_, head_]))
                    await ctx.tick()
                    ctx.set(dut.scales_en, 0)
                    scaled += 1
                ends = rng.getrandbits(1)
                ctx.set(dut.dot_en, 1)
                ctx.set(dut.dot, {"dot": int(dot[slot, row, head]), "at": {"slot": slot, "head": head},
                                  "fresh": row == low[slot], "ends": ends})  # fmt: skip
                value_scale = int(numerics.float_bits(s_v)[row, head])
                kept.append(
                    (int(score[slot, row, head]), value_scale, slot, head, int(row == low[slot]), ends)
                )
                await ctx.tick()
                ctx.set(dut.dot_en, 0)
                ctx.set(dut.dot.fresh, rng.getrandbits(1))
            while ctx.get(dut.busy):
                await ctx.tick()
            assert ctx.get(dut.count) == len(waiting)
            assert sum(saturated) == sum(int(beyond[slot, low[slot] :].sum()) for slot in low)
            ctx.set(dut.en, 1)
            for address, wanted in enumerate(kept):
                ctx.set(dut.address, address)
                await ctx.tick()
                word = dut.score
                parts = (word.score, word.value_scale, word.at.slot, word.at.head, word.fresh, word.ends)
                assert tuple(ctx.get(part) for part in parts) == wanted
            for slot in low:
                exponents = numerics.value_exponent(s_v[low[slot] :].amax(0)).tolist()
                for head in range(HEADS):
                    ctx.set(dut.weight_at, {"slot": slot, "head": head})
                    ctx.set(dut.output_at, {"slot": slot, "head": (head + 1) % HEADS})
                    assert ctx.get(dut.maximum) == int(score[slot, low[slot] :, head].max())
                    assert ctx.get(dut.weight_exponent) - 127 == exponents[head]
                    assert ctx.get(dut.output_exponent) - 127 == exponents[(head + 1) % HEADS]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(queries, background=True)
    simulator.add_testbench(bench)
    simulator.run()
