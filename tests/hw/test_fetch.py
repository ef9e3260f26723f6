"""BurstSplitter, Fetch and TapeReader: any runs, any stalls, the same bytes in the same order."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.fetch import Fetch
from hw.machine import CI, NARROW, WIDE, MachineConfig
from hw.tape import TapeReader

from .axi_memory import AxiMemory

SMALL = {"fifo_words": 16, "burst_beats": 8, "outstanding": 3}
MACHINES = [dataclasses.replace(m, **SMALL) for m in (CI, NARROW, WIDE)]
MEMORY = 16384


def runs_for(rng: random.Random, bus: int) -> list[tuple[int, int]]:
    """Corner runs (one byte, one beat, odd bursts, across 4 KiB) and random ones."""
    corners = [(0, 1), (bus, bus), (4096 - bus, 2 * bus + 1), (8192 - 5 * bus, 11 * bus), (64, 9 * bus - 1)]
    return corners + [(rng.randrange(0, 8000 // bus) * bus, rng.randrange(1, 700)) for _ in range(12)]


def read_through(config: MachineConfig, stall: float, hungry: float, seed: int, runs, memory):
    """All bytes that two alternating consumers take, and the counts of bus states."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.fetch = fetch = Fetch(config)
    m.submodules.tape = tape = TapeReader(config, consumers=2)
    connect(m, fetch.word, tape.word)
    total, taken, states = sum(length for _, length in runs), bytearray(), []
    unit = config.unit_bytes

    async def feed(ctx):
        for address, length in runs:
            ctx.set(fetch.run.payload.address, address)
            ctx.set(fetch.run.payload.bytes, length)
            ctx.set(fetch.run.valid, 1)
            await ctx.tick().until(fetch.run.ready)
            ctx.set(fetch.run.valid, 0)
            for _ in range(rng.randrange(3)):
                await ctx.tick()

    async def consume(ctx):
        while len(taken) < total:
            port = tape.consumer[rng.randrange(2)]
            want = rng.randint(1, min(unit, total - len(taken)))
            ctx.set(port.want, want)
            take = ctx.get(port.enough) and rng.random() < hungry
            if take:
                taken.extend((ctx.get(port.data) & (1 << 8 * want) - 1).to_bytes(want, "little"))
            ctx.set(port.take, take)
            states.append(tuple(ctx.get(s) for s in (fetch.beat, fetch.full, fetch.wait, fetch.free)))
            await ctx.tick()
            ctx.set(port.take, 0)
            ctx.set(port.want, 0)
        await ctx.tick().repeat(4)
        assert ctx.get(fetch.idle), "fetch engine not idle after the last byte"

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.add_testbench(consume)
    sim.add_testbench(memory.reader(fetch.read), background=True)
    sim.run()
    return bytes(taken), states


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
@pytest.mark.parametrize(("stall", "hungry"), [(0.0, 1.0), (0.5, 0.9), (0.1, 0.2)])
def test_tape_is_memory_in_order(config, stall, hungry):
    rng = random.Random(f"{config.name}{stall}")
    data = bytearray(rng.randbytes(MEMORY))
    runs = runs_for(rng, config.bus_bytes)
    memory = AxiMemory(data, config.bus_bytes, stall, seed=5)
    taken, states = read_through(config, stall, hungry, 7, runs, memory)
    assert taken == b"".join(data[a : a + n] for a, n in runs)
    assert all(sum(state) == 1 for state in states), "bus states must be exclusive"
    assert max(beats for _, beats in memory.reads) == config.burst_beats
    if hungry < 0.5:
        assert any(full for _, full, _, _ in states), "a slow consumer must fill the FIFO"


def test_beats_are_the_fewest():
    config, data = MACHINES[0], bytearray(MEMORY)
    runs = [(0, 8 * 20), (4096 - 16, 33)]
    memory = AxiMemory(data, config.bus_bytes, 0.0, seed=1)
    read_through(config, 0.0, 1.0, 1, runs, memory)
    assert memory.reads == [(0, 8), (64, 8), (128, 4), (4080, 2), (4096, 3)]


def test_read_error_is_reported():
    config, m = MACHINES[0], Module()
    m.submodules.fetch = fetch = Fetch(config)
    memory = AxiMemory(bytearray(MEMORY), config.bus_bytes, 0.0, seed=1, error_at=40)
    seen = []

    async def bench(ctx):
        ctx.set(fetch.word.ready, 1)
        ctx.set(fetch.run.payload, {"address": 0, "bytes": 128})
        ctx.set(fetch.run.valid, 1)
        await ctx.tick()
        ctx.set(fetch.run.valid, 0)
        for _ in range(40):
            seen.append(ctx.get(fetch.error))
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.add_testbench(memory.reader(fetch.read), background=True)
    sim.run()
    assert sum(seen) == 1
