"""AttentionScore against numerics.attention_score: scores in order, maxima, saturations."""

import dataclasses
import math
import random

import torch
from amaranth.sim import Simulator

from hw.attention_score import AttentionScore
from hw.machine import CI
from models import numerics

HEADS, TOKENS = 3, 40


def test_scores():
    config = dataclasses.replace(CI, max_heads=4, score_words=128)
    dut = AttentionScore(config)
    rng = random.Random(1)
    dot = torch.tensor([[rng.randrange(-(2**32) + 1, 2**32) >> rng.randrange(32) for _ in range(HEADS)]
                        for _ in range(TOKENS)])  # fmt: skip
    dot[:, 2] = -dot[:, 2].abs() - 1
    s_q = torch.tensor([2.0**-18, 3.0**-12, 5.0**-9])
    s_k = torch.tensor(
        [[rng.choice((0.0, 1.0, rng.random(), 37.5, math.nan)) for _ in range(HEADS)] for _ in range(TOKENS)]
    )
    product = numerics.fmul(numerics.dequantise(dot, s_q), s_k)
    beyond = numerics.float_to_int(product, numerics.SCORE_FRACTION, 2**62).abs() > numerics.SCORE_LIMIT
    score = numerics.attention_score(dot, s_q, s_k)
    assert beyond.any()
    assert not beyond.all()
    saturated = []

    async def watch(ctx) -> None:
        async for *_, beyond in ctx.tick().sample(dut.saturated):
            saturated.append(beyond)

    async def queries(ctx) -> None:
        while True:
            ctx.set(dut.query_scale, int(numerics.float_bits(s_q)[min(ctx.get(dut.query_head), HEADS - 1)]))
            await ctx.tick()

    async def bench(ctx) -> None:
        for tokens in (TOKENS, 5, 1, 2, 1, 3, 1):
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            saturated.clear()
            for token in range(TOKENS - tokens, TOKENS):
                for head in range(HEADS):
                    ctx.set(dut.dot_en, 1)
                    ctx.set(dut.dot, {
                        "dot": int(dot[token, head]), "head": head, "fresh": token == TOKENS - tokens,
                        "key_scale": int(numerics.float_bits(s_k)[token, head]),
                    })  # fmt: skip
                    await ctx.tick()
                    ctx.set(dut.dot_en, 0)
                    ctx.set(dut.dot.fresh, rng.getrandbits(1))
                    while rng.random() < 0.3:
                        await ctx.tick()
            while ctx.get(dut.busy):
                await ctx.tick()
            assert ctx.get(dut.count) == tokens * HEADS
            assert sum(saturated) == int(beyond[-tokens:].sum())
            ctx.set(dut.en, 1)
            for address, wanted in enumerate(score[-tokens:].flatten().tolist()):
                ctx.set(dut.address, address)
                await ctx.tick()
                assert ctx.get(dut.score) == wanted
            for head in range(HEADS):
                ctx.set(dut.head, head)
                assert ctx.get(dut.maximum) == int(score[-tokens:, head].max())

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(queries, background=True)
    simulator.add_testbench(bench)
    simulator.run()
