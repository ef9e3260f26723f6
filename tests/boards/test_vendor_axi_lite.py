# amaranth: UnusedElaboratable=no
"""AxiLiteRegisters against an array of words and against the overlay's own registers, with random stalls."""

import random

import pytest
from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from boards.axi_lite import OKAY, SLVERR, AxiLiteRegisters
from hw.csr import Csr
from hw.isa import CSR_INDEX, ID_VALUE
from hw.machine import CI

from .axi_lite_manager import AxiLiteManager

WORDS, ADDRESS_BITS = 8, 7


class Registers(wiring.Component):
    """Words behind a RegisterPort; counts the writes of each. The last word counts cycles: it never rests."""

    def __init__(self, front: AxiLiteRegisters):
        self.front = front
        self.words = [Signal(32, name=f"word_{i}") for i in range(WORDS)]
        self.writes = [Signal(8, name=f"writes_{i}") for i in range(WORDS)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.front = self.front
        port = self.front.registers
        index = port.addr[:3]
        time = Signal(32)
        m.d.sync += [time.eq(time + 1), port.rdata.eq(Array([*self.words[:-1], time])[index])]
        with m.If(port.write):
            m.d.sync += [
                Array(self.words)[index].eq(port.wdata),
                Array(self.writes)[index].eq(Array(self.writes)[index] + 1),
            ]
        return m


def simulate(dut, manager, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for process in manager.testbenches():
        sim.add_testbench(process, background=True)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("seed", [1, 2])
def test_words_read_back(stall: float, seed: int):
    """Writes and reads in flight together: a write takes effect once, a read is of its time."""
    front = AxiLiteRegisters(ADDRESS_BITS, WORDS)
    dut, manager, rng = Registers(front), AxiLiteManager(front.bus, stall, seed), random.Random(seed)

    async def bench(ctx):
        held, written = [0] * WORDS, [0] * WORDS
        for _ in range(60):
            target, source = rng.randrange(WORDS + 3), rng.randrange(WORDS + 3)
            value, strobes = rng.getrandbits(32), rng.choice([0b1111] * 5 + [0, 0b0111, 0b1000])
            manager.send_write(4 * target + rng.randrange(4), value, strobes, rng.randrange(8))
            manager.send_read(4 * source + rng.randrange(4), rng.randrange(8))
            good = target < WORDS and strobes == 0b1111
            assert await manager.written(ctx) == (OKAY if good else SLVERR)
            data, response = await manager.was_read(ctx)
            assert response == (OKAY if source < WORDS else SLVERR)
            either = {held[source]} if source < WORDS else {0}
            if good and source == target:
                either.add(value)
            assert data in either or source == WORDS - 1
            if good:
                held[target] = value
                written[target] += 1
            for i in range(WORDS):
                assert ctx.get(dut.words[i]) == held[i]
                assert ctx.get(dut.writes[i]) == written[i] % 256

    simulate(dut, manager, bench)


def test_neither_side_starves():
    """Under a stream of writes reads get their turn, and the other way about."""
    front = AxiLiteRegisters(ADDRESS_BITS, WORDS)
    dut, manager = Registers(front), AxiLiteManager(front.bus, 0.0, 1)

    async def bench(ctx):
        for i in range(100):
            manager.send_write(0, i)
            manager.send_read(0)
        for _ in range(60):
            await ctx.tick()
        answers = manager._answers
        assert len(answers["b"]) >= 10 and len(answers["r"]) >= 10
        assert abs(len(answers["b"]) - len(answers["r"])) <= 2

    simulate(dut, manager, bench)


def test_outputs_are_registered():
    """No output moves with an input of the same cycle (A3.2.1)."""
    front = AxiLiteRegisters(ADDRESS_BITS, WORDS)
    dut, rng = Registers(front), random.Random(3)
    bus = front.bus
    inputs = [bus.aw.valid, bus.w.valid, bus.ar.valid, bus.b.ready, bus.r.ready]
    outputs = [bus.aw.ready, bus.w.ready, bus.ar.ready, bus.b.valid, bus.b.payload, bus.r.valid,
               bus.r.payload.data, bus.r.payload.resp]  # fmt: skip

    async def bench(ctx):
        for _ in range(200):
            before = [ctx.get(output) for output in outputs]
            for signal in rng.sample(inputs, len(inputs)):
                ctx.set(signal, rng.getrandbits(1))
                assert [ctx.get(output) for output in outputs] == before
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_the_overlay_registers():
    """Through the bus: identity, a register read back, the token table behind ENTRY."""
    front, csr = AxiLiteRegisters(14, 1 << 12), Csr(CI)
    manager = AxiLiteManager(front.bus, 0.4, 5)
    m = Module()
    m.submodules.front, m.submodules.csr = front, csr
    wiring.connect(m, front.registers, csr.csr)

    async def bench(ctx):
        async def write(name, value):
            assert await manager.write(ctx, 4 * CSR_INDEX[name], value) == OKAY

        async def read(name):
            data, response = await manager.read(ctx, 4 * CSR_INDEX[name])
            assert response == OKAY
            return data

        assert await read("ID") == ID_VALUE
        assert await read("MACHINE") == int(CI.digest()[:8], 16)
        await write("MEMORY_BASE", 0x7000_0000)
        assert await read("MEMORY_BASE") == 0x7000_0000
        await write("ENTRY", 3)
        await write("ENTRY_TOKEN", 17)
        await write("ENTRY_POSITION", 5)
        await write("ENTRY_BASE", 0)
        assert await read("ENTRY") == 4

    simulate(m, manager, bench)


def test_more_words_than_addresses_are_refused():
    with pytest.raises(ValueError, match="words must be 1 to 32"):
        AxiLiteRegisters(7, 33)
