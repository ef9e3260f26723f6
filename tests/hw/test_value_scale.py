"""ValueScales: scales in order of arrival, exponents of the largest."""

import dataclasses
import random

import torch
from amaranth.sim import Simulator

from hw.machine import CI
from hw.value_scale import ValueScales
from models import numerics

KV_HEADS = 3


def test_scales():
    dut = ValueScales(dataclasses.replace(CI, max_heads=4, score_words=64))
    rng = random.Random(1)

    async def bench(ctx) -> None:
        for tokens in (7, 1, 12):
            s_v = torch.tensor(
                [
                    [rng.random() * 2.0 ** rng.randint(-100, 120) for _ in range(KV_HEADS)]
                    for _ in range(tokens)
                ]
            )
            s_v[:, 1] = torch.where(torch.rand(tokens) < 0.5, s_v[:, 1], 0.0)
            s_v[:, 2] = 0.0 if tokens == 7 else 2.0**-5
            bits = numerics.float_bits(s_v)
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            for token in range(tokens):
                for kv_head in range(KV_HEADS):
                    scale = int(bits[token, kv_head])
                    fresh = token == 0
                    ctx.set(dut.pair, {"value_scale": scale, "key_scale": 9, "kv_head": kv_head})
                    ctx.set(dut.fresh, fresh)
                    ctx.set(dut.pair_en, 1)
                    await ctx.tick()
                    ctx.set(dut.pair_en, 0)
                    while rng.random() < 0.3:
                        await ctx.tick()
            ctx.set(dut.en, 1)
            for address, wanted in enumerate(bits.flatten().tolist()):
                ctx.set(dut.address, address)
                await ctx.tick()
                assert ctx.get(dut.scale) == wanted
            for kv_head, exponent in enumerate(numerics.value_exponent(s_v.amax(0)).tolist()):
                ctx.set(dut.weight_kv_head, kv_head)
                ctx.set(dut.output_kv_head, KV_HEADS - 1 - kv_head)
                assert ctx.get(dut.weight_exponent) - 127 == exponent
                ctx.set(dut.output_kv_head, kv_head)
                assert ctx.get(dut.output_exponent) - 127 == exponent

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
