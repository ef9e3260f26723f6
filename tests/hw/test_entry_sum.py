"""EntrySum: corner and random entries, with and without a partial sum, in both families' forms."""

import random

import pytest
from amaranth.sim import Simulator

from hw.entry_sum import EntrySum, entry_biases
from hw.table_set import LARGEST_OF_FIVE


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 12, 13, 26, 65])
def test_biases(terms: int):
    biases = entry_biases(terms)
    assert min(biases) >= LARGEST_OF_FIVE and max(biases) + LARGEST_OF_FIVE < 1 << 11
    assert sum(biases).bit_count() == 1 and sum(biases) >= LARGEST_OF_FIVE * terms


@pytest.mark.parametrize("partial_bits", [0, 24])
@pytest.mark.parametrize("terms", [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 17, 26, 33, 65])
@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_sums(family: str, terms: int, partial_bits: int):
    rng = random.Random(terms)
    dut = EntrySum(terms, family, partial_bits)
    rows = [[s * LARGEST_OF_FIVE] * terms for s in (-1, 1)]
    rows += [[rng.choice((-635, 635)) for _ in range(terms)] for _ in range(40)]
    rows += [[rng.randint(-635, 635) for _ in range(terms)] for _ in range(200)]
    partials = [rng.randint(-(1 << 22), 1 << 22) if partial_bits else 0 for _ in rows]
    width = partial_bits or dut.bits

    async def bench(ctx) -> None:
        for cycle in range(len(rows) + dut.latency):
            row = rows[min(cycle, len(rows) - 1)]
            ctx.set(dut.i, [e + bias for e, bias in zip(row, dut.biases, strict=True)])
            which = cycle - max(0, dut.latency - 1)
            if partial_bits:
                ctx.set(dut.partial, partials[max(0, min(which, len(rows) - 1))])
            if dut.latency:
                await ctx.tick()
            if 0 <= which < len(rows):
                found = ctx.get(dut.sum)
                found -= (found >> width - 1) << width
                assert found == sum(rows[which]) + partials[which], f"row {which}"

    sim = Simulator(dut)
    if dut.latency:
        sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_needs_entries():
    with pytest.raises(ValueError, match="1 entry or more, not 0"):
        EntrySum(0, "ecp5")
