# amaranth: UnusedElaboratable=no
"""Csr and Counters: registers read back, doorbell, interrupt, errors, counter windows."""

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.counters import Counters
from hw.csr import Csr
from hw.isa import COUNTER_BASE, COUNTER_INDEX, COUNTERS, CSR_INDEX, ID_VALUE, digest
from hw.machine import CI


def run(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


async def write(ctx, csr, name, value):
    ctx.set(csr.csr.addr, CSR_INDEX[name])
    ctx.set(csr.csr.wdata, value)
    ctx.set(csr.csr.write, 1)
    await ctx.tick()
    ctx.set(csr.csr.write, 0)


async def read(ctx, csr, index):
    ctx.set(csr.csr.addr, index)
    await ctx.tick()
    return ctx.get(csr.csr.rdata)


def test_registers_doorbell_interrupt_and_errors():
    csr = Csr(CI)

    async def bench(ctx):
        assert await read(ctx, csr, CSR_INDEX["ID"]) == ID_VALUE
        assert await read(ctx, csr, CSR_INDEX["ISA"]) == int(digest()[:8], 16)
        assert await read(ctx, csr, CSR_INDEX["MACHINE"]) == int(CI.digest()[:8], 16)
        for name, value, back in (("TOKENS", 128, 128), ("TILE", 4, 4), ("STEPS", 99, 99), ("BATCH", 1, 1),
                                  ("STOP_0", 0x800ABCDE, 0x800ABCDE), ("STOP_3", 7, 7), ("PREDICATES", 2, 3),
                                  ("OUTPUT", 77, 77), ("TOP", 0x31F, 0x31F),
                                  ("MEMORY_BASE", 0x80000040, 0x80000040)):  # fmt: skip
            await write(ctx, csr, name, value)
            assert await read(ctx, csr, CSR_INDEX[name]) == back, name
        assert await read(ctx, csr, 4000) == 0

        # Entries of the token table go out whole, with the base.
        await write(ctx, csr, "ENTRY", 5)
        for token, position, base in ((0xABCDE, 511, 3 | 1 << 31), (1, 2, 99)):
            at = ctx.get(csr.write.index)
            await write(ctx, csr, "ENTRY_TOKEN", token)
            await write(ctx, csr, "ENTRY_POSITION", position)
            assert not ctx.get(csr.write.en)
            ctx.set(csr.csr.addr, CSR_INDEX["ENTRY_BASE"])
            ctx.set(csr.csr.wdata, base)
            ctx.set(csr.csr.write, 1)
            entry = ctx.get(csr.write.entry)
            assert ctx.get(csr.write.en) and ctx.get(csr.write.index) == at
            assert (entry.token, entry.position, entry.base, entry.continues) == (
                token, position, base & 0xFFFFF, base >> 31)  # fmt: skip
            await ctx.tick()
            ctx.set(csr.csr.write, 0)
        assert await read(ctx, csr, CSR_INDEX["ENTRY"]) == 7
        ctx.set(csr.entries.entry, {"token": 9, "position": 8, "base": 7, "continues": 1})
        await ctx.tick()
        for name, value in (("ENTRY_TOKEN", 9), ("ENTRY_POSITION", 8), ("ENTRY_BASE", 7 | 1 << 31)):
            assert await read(ctx, csr, CSR_INDEX[name]) == value

        # What a run found.
        ctx.set(csr.generated, 12)
        ctx.set(csr.log_token, 34)
        ctx.set(csr.top.value, 0xBF800000)
        ctx.set(csr.top.index, 56)
        for valid, index in ((1, 56), (0, 0xFFFFFFFF)):
            ctx.set(csr.top.valid, valid)
            for name, value in (("GENERATED", 12), ("OUTPUT_TOKEN", 34), ("TOP_LOGIT", 0xBF800000),
                                ("TOP_TOKEN", index)):  # fmt: skip
                assert await read(ctx, csr, CSR_INDEX[name]) == value, name
        assert ctx.get(csr.top.rank) == 0x1F and ctx.get(csr.top.token) == 3
        assert ctx.get(csr.log_index) == 77

        # Program words go out with ascending addresses.
        await write(ctx, csr, "PROGRAM_ADDRESS", 24)
        seen = []
        for value in (7, 8, 9):
            await write(ctx, csr, "PROGRAM_DATA", value)
            seen.append((ctx.get(csr.program_en), ctx.get(csr.program_address), ctx.get(csr.program_data)))
            await ctx.tick()
        assert seen == [(1, 24, 7), (1, 25, 8), (1, 26, 9)]
        assert await read(ctx, csr, CSR_INDEX["PROGRAM_ADDRESS"]) == 27

        await write(ctx, csr, "CONTROL", 1)
        assert ctx.get(csr.start)
        await ctx.tick()
        assert not ctx.get(csr.start), "the doorbell is one pulse"
        ctx.set(csr.running, 1)
        await write(ctx, csr, "CONTROL", 1)
        assert not ctx.get(csr.start), "a doorbell while running is ignored"
        for code, layer in ((1, 5), (2, 9)):
            ctx.set(csr.error, 1)
            ctx.set(csr.error_code, code)
            ctx.set(csr.error_layer, layer)
            await ctx.tick()
        ctx.set(csr.error, 0)
        assert await read(ctx, csr, CSR_INDEX["ERROR"]) == 5 << 8 | 1, "the first error is kept"
        ctx.set(csr.running, 0)
        ctx.set(csr.finished, 1)
        await ctx.tick()
        ctx.set(csr.finished, 0)
        assert ctx.get(csr.irq) and await read(ctx, csr, CSR_INDEX["STATUS"]) == 0b110
        await write(ctx, csr, "CONTROL", 2)
        assert not ctx.get(csr.irq)
        await write(ctx, csr, "CONTROL", 1)
        assert await read(ctx, csr, CSR_INDEX["ERROR"]) == 0, "a new run begins without errors"
        ctx.set(csr.finished, 1)
        await write(ctx, csr, "CONTROL", 2)
        ctx.set(csr.finished, 0)
        assert ctx.get(csr.irq), "an interrupt that comes with an acknowledgement is kept"

    run(csr, bench)


def test_counters_are_read_in_halves_and_cleared():
    widths = {name: 33 if name == "cycles" else 4 for name in COUNTER_INDEX}
    m = Module()
    m.submodules.csr = csr = Csr(CI)
    m.submodules.counters = counters = Counters(widths)
    m.d.comb += counters.clear.eq(csr.clear)
    for i in range(len(COUNTERS)):
        m.d.comb += csr.counter[i].eq(counters.value[i])

    async def bench(ctx):
        for i, counter in enumerate(COUNTERS):
            ctx.set(getattr(counters, f"add_{counter.name}"), 2**33 - 1 if i == 0 else i % 16)
        await ctx.tick().repeat(3)
        for counter in COUNTERS:
            ctx.set(getattr(counters, f"add_{counter.name}"), 0)
        await ctx.tick()
        for i in range(len(COUNTERS)):
            low = await read(ctx, csr, COUNTER_BASE + 2 * i)
            high = await read(ctx, csr, COUNTER_BASE + 2 * i + 1)
            assert low | high << 32 == 3 * (2**33 - 1 if i == 0 else i % 16), COUNTERS[i].name
        await write(ctx, csr, "CONTROL", 4)
        await ctx.tick().repeat(2)
        assert await read(ctx, csr, COUNTER_BASE) == 0

    run(m, bench)


def test_counters_must_be_complete():
    with pytest.raises(ValueError, match=r"wanted .*cycles"):
        Counters({"cycles": 1})
