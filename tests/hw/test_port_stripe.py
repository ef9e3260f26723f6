"""PortStripe: the bytes of any runs in order over several ports, any stalls; a beat a cycle; writes whole."""

import dataclasses
import random
from types import SimpleNamespace

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.fetch import Fetch
from hw.machine import CI, MachineConfig
from hw.port_stripe import PortStripe
from hw.tape import TapeReader

from .axi_memory import AxiMemory
from .test_fetch import MEMORY, runs_for

WIDE = dataclasses.replace(
    CI, name="striped", bus_bytes=32, ports=4, fifo_words=64, burst_beats=8, outstanding=8, tables=40
)
#: Cycles that no transfer here takes: several times those of the slowest one.
LIMIT = 20_000
MACHINES = [WIDE, dataclasses.replace(WIDE, name="two", bus_bytes=8, ports=2, tables=9, burst_beats=5)]


def run_limited(m, benches, background=()) -> None:
    """Simulate until all benches are finished; AssertionError where they have not after `LIMIT` cycles."""
    sim, finished = Simulator(m), []

    def reported(bench):
        async def process(ctx):
            await bench(ctx)
            finished.append(bench.__name__)

        return process

    async def watch(ctx):
        cycles = 0
        while len(finished) < len(benches):
            await ctx.tick()
            cycles += 1
            assert cycles < LIMIT, f"nothing more moves: after {LIMIT} cycles only {finished} finished"

    sim.add_clock(1e-8)
    for bench in benches:
        sim.add_testbench(reported(bench), background=True)
    sim.add_testbench(watch)
    for process in background:
        sim.add_testbench(process, background=True)
    sim.run()


def port(stripe: PortStripe, number: int) -> SimpleNamespace:
    """One of the narrow read ports, as a `ReadPort` looks."""
    ar, r = stripe.reads.ar, stripe.reads.r
    return SimpleNamespace(
        ar=SimpleNamespace(valid=ar.valid[number], ready=ar.ready[number], payload=ar.payload[number]),
        r=SimpleNamespace(valid=r.valid[number], ready=r.ready[number], payload=r.payload[number]),
    )


def read(config: MachineConfig, memories: list[AxiMemory], runs) -> tuple[bytes, int, list[int]]:
    """All bytes of the tape, the cycles they took, and the cycles in which no beat moved."""
    m = Module()
    m.submodules.fetch = fetch = Fetch(config)
    m.submodules.stripe = stripe = PortStripe(config)
    m.submodules.tape = tape = TapeReader(config, consumers=1)
    connect(m, fetch.read, stripe.read)
    connect(m, fetch.word, tape.word)
    total, taken, still = sum(length for _, length in runs), bytearray(), []

    async def feed(ctx):
        for address, length in runs:
            ctx.set(fetch.run.payload.address, address)
            ctx.set(fetch.run.payload.bytes, length)
            ctx.set(fetch.run.valid, 1)
            await ctx.tick().until(fetch.run.ready)
            ctx.set(fetch.run.valid, 0)

    async def consume(ctx):
        consumer = tape.consumer[0]
        while len(taken) < total:
            want = min(config.unit_bytes, total - len(taken))
            ctx.set(consumer.want, want)
            take = ctx.get(consumer.enough)
            if take:
                taken.extend((ctx.get(consumer.data) & (1 << 8 * want) - 1).to_bytes(want, "little"))
            ctx.set(consumer.take, take)
            still.append(0 if ctx.get(fetch.beat) else 1)
            await ctx.tick()
            ctx.set(consumer.take, 0)
        await ctx.tick().repeat(4)
        assert ctx.get(fetch.idle), "fetch engine not idle after the last byte"

    run_limited(m, (feed, consume), [memory.reader(port(stripe, n)) for n, memory in enumerate(memories)])
    return bytes(taken), len(still), still


def memories_of(config: MachineConfig, data: bytearray, stalls: list[float], **options) -> list[AxiMemory]:
    narrow = config.bus_bytes // config.ports
    return [AxiMemory(data, narrow, stall, seed=p + 3, **options) for p, stall in enumerate(stalls)]


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
@pytest.mark.parametrize(
    "stalls", [[0.0] * 4, [0.5] * 4, [0.0, 0.8, 0.2, 0.6]], ids=["none", "all", "uneven"]
)
def test_tape_is_memory_in_order(config: MachineConfig, stalls: list[float]) -> None:
    rng = random.Random(f"{config.name}{stalls}")
    data = bytearray(rng.randbytes(MEMORY))
    runs = runs_for(rng, config.bus_bytes)
    memories = memories_of(config, data, stalls[: config.ports])
    taken, _, _ = read(config, memories, runs)
    assert taken == b"".join(data[a : a + n] for a, n in runs)
    bursts = [len(memory.reads) for memory in memories]
    assert max(bursts) - min(bursts) <= 1, "bursts go to the ports in turn"


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
def test_a_beat_moves_in_each_cycle(config: MachineConfig) -> None:
    data = bytearray(random.Random(1).randbytes(MEMORY))
    taken, cycles, still = read(config, memories_of(config, data, [0.0] * config.ports), [(0, MEMORY)])
    assert taken == bytes(data)
    # The first bursts of all ports come side by side, and wait for one another; then there is no gap.
    beats = MEMORY // config.bus_bytes
    start = 20 + config.ports * config.burst_beats
    assert not any(still[start : start + beats - 2 * start]) and cycles < beats + 2 * start


def test_an_error_of_any_narrow_beat_is_the_wide_ones() -> None:
    config, data = WIDE, bytearray(MEMORY)
    for bad in (0, 9, 31, 256, 511):
        m = Module()
        m.submodules.fetch = fetch = Fetch(config)
        m.submodules.stripe = stripe = PortStripe(config)
        connect(m, fetch.read, stripe.read)
        errors = []

        async def bench(ctx, fetch=fetch, errors=errors):
            ctx.set(fetch.word.ready, 1)
            ctx.set(fetch.run.payload.bytes, 1024)
            ctx.set(fetch.run.valid, 1)
            await ctx.tick().until(fetch.run.ready)
            ctx.set(fetch.run.valid, 0)
            beats = 0
            while beats < 1024 // config.bus_bytes:
                if ctx.get(fetch.beat):
                    errors.extend([beats] * ctx.get(fetch.error))
                    beats += 1
                await ctx.tick()

        memories = memories_of(config, data, [0.1] * 4, error_at=bad)
        run_limited(m, [bench], [memory.reader(port(stripe, n)) for n, memory in enumerate(memories)])
        assert errors == [bad // config.bus_bytes]


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_writes_keep_their_bytes_and_strobes(config: MachineConfig, stall: float) -> None:
    rng, bus = random.Random(f"{config.name}{stall}"), config.bus_bytes
    before = rng.randbytes(MEMORY)
    memory, wanted = AxiMemory(bytearray(before), bus // config.ports, stall, seed=9), bytearray(before)
    dut = PortStripe(config)
    bursts = [
        (rng.randrange(MEMORY // 4096) * 4096 + rng.randrange(8) * bus, rng.randint(1, 5)) for _ in range(12)
    ]
    answers = []

    async def addresses(ctx):
        for address, beats in bursts:
            ctx.set(dut.write.aw.payload, {"addr": address, "len": beats - 1})
            ctx.set(dut.write.aw.valid, 1)
            await ctx.tick().until(dut.write.aw.ready)
            ctx.set(dut.write.aw.valid, 0)

    async def beats(ctx):
        for address, count in bursts:
            for beat in range(count):
                chunk, strobe = rng.randbytes(bus), rng.getrandbits(bus)
                for i in range(bus):
                    if strobe >> i & 1:
                        wanted[address + beat * bus + i] = chunk[i]
                ctx.set(dut.write.w.payload.data, int.from_bytes(chunk, "little"))
                ctx.set(dut.write.w.payload.strb, strobe)
                ctx.set(dut.write.w.payload.last, beat == count - 1)
                ctx.set(dut.write.w.valid, 1)
                await ctx.tick().until(dut.write.w.ready)
                ctx.set(dut.write.w.valid, 0)

    async def answer(ctx):
        ctx.set(dut.write.b.ready, 1)
        while len(answers) < len(bursts):
            await ctx.tick().until(dut.write.b.valid)
            answers.append(1)

    run_limited(dut, (addresses, beats, answer), [memory.writer(dut.writes)])
    assert memory.data == wanted
    assert memory.writes == [(address, count * config.ports) for address, count in bursts]
