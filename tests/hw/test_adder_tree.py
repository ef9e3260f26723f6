# amaranth: UnusedElaboratable=no
"""AdderTree: sums of corner and random terms, with stalls, and the tag beside them."""

import random

import pytest
from amaranth.sim import Simulator

from hw.adder_tree import AdderTree


@pytest.mark.parametrize("tag", [6, 0])
@pytest.mark.parametrize("terms", [1, 2, 3, 5, 13, 16, 26])
def test_sums(terms: int, tag: int):
    rng = random.Random(terms)
    dut = AdderTree(terms, 8, tag)
    assert dut.latency == {1: 0, 2: 1, 3: 1, 5: 2, 13: 2, 16: 2, 26: 3}[terms]
    rows = [[-128] * terms, [127] * terms]
    rows += [[rng.randint(-128, 127) for _ in range(terms)] for _ in range(60)]

    async def bench(ctx) -> None:
        taken = 0
        while taken < len(rows):
            enable = rng.random() < 0.7
            ctx.set(dut.en, enable)
            row = rows[taken] if enable else [rng.randint(-128, 127) for _ in range(terms)]
            ctx.set(dut.i, row)
            if tag:
                ctx.set(dut.tag, taken % 64 if enable else 63)
            if dut.latency:
                await ctx.tick()
            elif not enable:
                continue
            taken += enable
            if taken >= max(1, dut.latency):
                expected = taken - max(1, dut.latency)
                assert ctx.get(dut.sum) == sum(rows[expected])
                if tag:
                    assert ctx.get(dut.tag_out) == expected % 64

    sim = Simulator(dut)
    if dut.latency:
        sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_needs_terms():
    with pytest.raises(ValueError, match="1 term or more, not 0"):
        AdderTree(0, 8, tag=1)
