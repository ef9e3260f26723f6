"""StoreRuns and split_product: products of any operands, runs of any STORE, under random stalls."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.isa import Payload, encode
from hw.machine import CI
from hw.split_product import SPLIT, split_product
from hw.store_runs import StoreRuns

WORD = (1 << 32) - 1


def field(rng: random.Random, bits: int) -> int:
    """A value of some length up to `bits`, or the greatest one."""
    return rng.choice([rng.getrandbits(rng.randrange(bits) + 1), (1 << bits) - 1])


@pytest.mark.parametrize(("a_bits", "b_bits"), [(20, 28), (26, 20), (16, 28), (24, 21)])
def test_parts_make_the_product(a_bits, b_bits):
    rng, m = random.Random(a_bits), Module()
    a, b, low, high = Signal(a_bits), Signal(b_bits), Signal(32), Signal(32 - SPLIT)
    parts = split_product(a, b)
    m.d.comb += [low.eq(parts[0]), high.eq(parts[1])]

    async def bench(ctx):
        for _ in range(300):
            x, y = field(rng, a_bits), field(rng, b_bits)
            ctx.set(a, x)
            ctx.set(b, y)
            assert (ctx.get(low) + (ctx.get(high) << SPLIT)) & WORD == x * y & WORD

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_runs(stall):
    rng, dut = random.Random(f"runs{stall}"), StoreRuns(CI)
    entries = [(field(rng, 20), field(rng, 20)) for _ in range(256)]
    commands = []
    for _ in range(60):
        fields = {"base": field(rng, 32), "stride": field(rng, 28), "step": field(rng, 24),
                  "bytes": field(rng, 24), "payload": rng.choice(list(Payload))}  # fmt: skip
        commands.append((fields, field(rng, 16), rng.randrange(200), rng.randrange(CI.tile), field(rng, 32)))

    def expected(fields, layer, first, more, memory_base):
        start = memory_base + fields["base"] + layer * fields["stride"]
        if fields["payload"] == Payload.LOGITS:
            return [(start & WORD, fields["bytes"] * (more + 1))]
        spill = fields["payload"] == Payload.ACTIVATION
        rows = [t if spill else sum(entries[t]) for t in range(first, first + more + 1)]
        return [(start + row * fields["step"] & WORD, fields["bytes"]) for row in rows]

    async def table(ctx):
        async for index in ctx.changed(dut.entries.index):
            base, position = entries[index[0]]
            ctx.set(dut.entries.entry, {"token": 0, "position": position, "base": base, "continues": 0})

    async def bench(ctx):
        for fields, layer, first, more, memory_base in commands:
            word = encode("STORE", **fields)
            ctx.set(dut.command, {"word": word, "layer": layer, "first": first, "more": more})
            ctx.set(dut.memory_base, memory_base)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            # They are the unit's next command's from here on.
            ctx.set(dut.command, {"word": rng.getrandbits(192), "layer": 0, "first": 0, "more": 0})
            ctx.set(dut.memory_base, 0)
            for address, size in expected(fields, layer, first, more, memory_base):
                waited = 0
                while not ctx.get(dut.run.valid):
                    await ctx.tick()
                    waited += 1
                assert waited <= 1
                while rng.random() < stall:
                    await ctx.tick()
                assert ctx.get(dut.run.payload.address) == address
                assert ctx.get(dut.run.payload.bytes) == size
                ctx.set(dut.run.ready, 1)
                await ctx.tick()
                ctx.set(dut.run.ready, 0)
            assert not ctx.get(dut.run.valid)
            if rng.random() < stall:
                await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_process(table)
    sim.add_testbench(bench)
    sim.run()
