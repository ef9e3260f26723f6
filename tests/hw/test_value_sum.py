"""StepProducts and ValueSum against exact sums, with steps that come now and then."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.machine import CI
from hw.step_products import StepProducts
from hw.value_sum import ValueSum, sum_bits

SIZE = 4


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("tokens", "words"), [(1, 2), (2, 5), (4, 16)])
def test_sums(tokens: int, words: int, stall: float):
    config = dataclasses.replace(
        CI, attention_bytes=SIZE, max_query=64, attention_cores=4 // tokens, max_context=16
    )
    m = Module()
    m.submodules.products = products = StepProducts(config)
    m.submodules.dut = dut = ValueSum(config)
    m.d.comb += dut.products.eq(products.products)
    rng = random.Random(words)
    bits = sum_bits(config)
    assert bits == 36

    async def bench(ctx) -> None:
        for rows in (1, 16):
            wanted = {(slot, word): [0] * SIZE for slot in range(tokens) for word in range(words)}
            steps = []
            for row in range(rows):
                for slot in range(tokens):
                    for word in range(words):
                        extreme = word == 0
                        values = [-128 if extreme else rng.randint(-128, 127) for _ in range(SIZE)]
                        weight = 2**24 - 1 if extreme else rng.getrandbits(24)
                        for i, x in enumerate(values):
                            wanted[slot, word][i] += weight * x
                        steps.append((slot, word, values, weight, row == 0))
            pipe: list = [None] * 3
            ctx.set(products.value, 1)
            while steps or any(step is not None for step in pipe[-3:]) or ctx.get(dut.busy):
                step = None
                if steps and rng.random() >= stall:
                    step = steps.pop(0)
                    _, _, values, weight, _ = step
                    ctx.set(products.data, int.from_bytes(bytes(x & 0xFF for x in values), "little"))
                    ctx.set(products.weight, weight)
                ctx.set(products.query, rng.getrandbits(16 * SIZE))
                pipe.append(step)
                ahead = pipe[-StepProducts.LATENCY]
                ctx.set(dut.step_en, ahead is not None)
                if ahead is not None:
                    ctx.set(dut.step.at.slot, ahead[0])
                    ctx.set(dut.step.address, ahead[1])
                ctx.set(dut.step.fresh, ahead[4] if ahead else rng.getrandbits(1))
                await ctx.tick()
            for (slot, word), sums in wanted.items():
                ctx.set(dut.en, 1)
                ctx.set(dut.slot, slot)
                ctx.set(dut.address, word)
                await ctx.tick()
                ctx.set(dut.en, 0)
                ctx.set(dut.address, 0)
                for _ in range(rng.randrange(2)):
                    await ctx.tick()
                fields = [ctx.get(dut.sums) >> bits * i & (1 << bits) - 1 for i in range(SIZE)]
                assert [x - (x >> bits - 1 << bits) for x in fields] == sums

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
