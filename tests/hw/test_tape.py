"""TapeReader: rows in any pieces, at any time, come out as the same bytes in any portions."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.fetch import Fetch
from hw.machine import CI, ULX3S, MachineConfig
from hw.tape import TapeReader

from .axi_memory import AxiMemory

#: Units of one, two and three rows, and of as many bytes as a row; the last one has more rows in its ring.
SIZES = {
    "ci": CI,
    "ulx3s": ULX3S,
    "as kv260": dataclasses.replace(CI, bus_bytes=64, attention_bytes=128, tables=77),
    "three rows": dataclasses.replace(ULX3S, attention_bytes=32, tables=24),
}


class Rows:
    """The words of `fetch.word_layout` for a tape: its rows, up to where each run ends."""

    def __init__(self, config: MachineConfig, runs: list[bytes]) -> None:
        self.width = config.fifo_bytes
        self.words: list[tuple[int, int]] = []
        content = bytearray()
        for run in runs:
            first = len(content) // self.width
            content += run
            rows = range(first, -(-len(content) // self.width))
            self.words += [self._word(content, row) for row in rows]

    def _word(self, content: bytearray, row: int) -> tuple[int, int]:
        there = content[row * self.width : (row + 1) * self.width]
        rubbish = random.Random(row).randbytes(self.width - len(there))
        return int.from_bytes(bytes(there) + rubbish, "little"), len(there)


@pytest.mark.parametrize(("offered", "hungry"), [(1.0, 1.0), (0.4, 0.9), (1.0, 0.3)])
@pytest.mark.parametrize("name", SIZES)
def test_bytes_in_order(name: str, offered: float, hungry: float):
    config = SIZES[name]
    unit, width = config.unit_bytes, config.fifo_bytes
    rng = random.Random(f"{name}{offered}")
    runs = [
        rng.randbytes(rng.choice((1, 3, width - 1, width, 5 * width + 2, 9 * width)))
        for _ in range(20 if unit > 64 else 40)
    ]
    content, words = b"".join(runs), Rows(config, runs).words
    dut = TapeReader(config, consumers=3)
    taken = bytearray()

    async def offer(ctx) -> None:
        for data, end in words:
            while rng.random() >= offered:
                ctx.set(dut.word.payload, {"data": rng.getrandbits(8 * width), "end": rng.randrange(width)})
                await ctx.tick()
            ctx.set(dut.word.payload, {"data": data, "end": end})
            ctx.set(dut.word.valid, 1)
            await ctx.tick().until(dut.word.ready)
            ctx.set(dut.word.valid, 0)

    async def consume(ctx) -> None:
        cycles = 0
        want, which = 0, 0
        while len(taken) < len(content):
            if not want:
                which = rng.randrange(3)
                want = min(rng.choice((1, unit, rng.randint(1, unit))), len(content) - len(taken))
            port = dut.consumer[which]
            for other in dut.consumer:
                ctx.set(other.want, rng.randint(0, unit))
            ctx.set(port.want, want)
            take = ctx.get(port.enough) and rng.random() < hungry
            if take:
                for i in {0, 1, 2} - {which}:
                    ctx.set(dut.consumer[i].want, 0)
                taken.extend((ctx.get(port.data) & (1 << 8 * want) - 1).to_bytes(want, "little"))
                want = 0
            ctx.set(port.take, take)
            await ctx.tick()
            ctx.set(port.take, 0)
            assert taken == content[: len(taken)], f"byte {len(taken)}"
            cycles += 1
            assert cycles < 100 * len(words)
        ctx.set(dut.consumer[0].want, 1)
        for _ in range(6):
            assert not ctx.get(dut.consumer[0].enough)
            assert not ctx.get(dut.held)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(offer)
    sim.add_testbench(consume)
    sim.run()


@pytest.mark.parametrize("name", SIZES)
def test_rate(name: str):
    """A consumer sustains min(unit_bytes, fifo_bytes) bytes a cycle, whatever it takes and from where."""
    config = SIZES[name]
    unit, width = config.unit_bytes, config.fifo_bytes
    dut = TapeReader(config, consumers=1)
    port = dut.consumer[0]

    async def bench(ctx) -> None:
        ctx.set(dut.word.valid, 1)
        ctx.set(dut.word.payload.end, width)
        for start in (0, 1, width - 1):
            for want in sorted({unit, config.tables, width // 2, 3 * width // 5}):
                ctx.set(port.take, 0)
                ctx.set(dut.discard, 1)
                await ctx.tick().repeat(2)
                ctx.set(dut.discard, 0)
                await ctx.tick().repeat(6)
                if start:
                    ctx.set(port.want, start)
                    ctx.set(port.take, 1)
                    await ctx.tick()
                ctx.set(port.want, want)
                takes = 0
                for _ in range(60):
                    enough = ctx.get(port.enough)
                    ctx.set(port.take, enough)
                    takes += enough
                    await ctx.tick()
                found = f"{want} bytes from {start}: {takes} times in 60 cycles"
                assert takes * max(1, want / width) > 59, found

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_discard():
    """What is held and what comes is thrown away while `discard` is high, and nothing after it."""
    config = CI
    dut = TapeReader(config, consumers=1)
    port, width = dut.consumer[0], config.fifo_bytes

    async def bench(ctx) -> None:
        async def offer(value: int, end: int) -> None:
            ctx.set(dut.word.payload, {"data": value, "end": end})
            ctx.set(dut.word.valid, 1)
            await ctx.tick().until(dut.word.ready)
            ctx.set(dut.word.valid, 0)

        ctx.set(port.want, 1)
        for _ in range(4):
            await offer(0x55, width)
        assert ctx.get(dut.held)
        assert ctx.get(port.enough)
        ctx.set(dut.discard, 1)
        for _ in range(5):
            await offer(0x66, width)
        await offer(0x6666, 2)
        await ctx.tick()
        assert not ctx.get(dut.held)
        ctx.set(dut.discard, 0)
        assert not ctx.get(port.enough)
        await offer(0x776666, width)
        ctx.set(port.want, width - 2)
        assert ctx.get(port.enough)
        assert ctx.get(port.data) & (1 << 8 * (width - 2)) - 1 == 0x77
        ctx.set(port.want, width - 1)
        assert not ctx.get(port.enough)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("behind", [0, 5])
def test_latency(behind: int):
    """A beat can be taken four cycles after it came; one more where it ends in another half of a row.

    ``behind``: bytes of the tape before it."""
    config, m = dataclasses.replace(CI, fifo_words=16, burst_beats=8), Module()
    m.submodules.fetch = fetch = Fetch(config)
    m.submodules.tape = tape = TapeReader(config, consumers=1)
    connect(m, fetch.word, tape.word)
    memory = AxiMemory(bytearray(range(256)), config.bus_bytes, 0.0, seed=1)
    port, found = tape.consumer[0], {}

    async def feed(ctx) -> None:
        for length in (behind, config.bus_bytes):
            ctx.set(fetch.run.payload, {"address": 0, "bytes": length})
            ctx.set(fetch.run.valid, 1)
            await ctx.tick().until(fetch.run.ready)
            ctx.set(fetch.run.valid, 0)
            await ctx.tick().repeat(20)

    async def bench(ctx) -> None:
        ctx.set(port.want, behind + config.bus_bytes)
        for cycle in range(80):
            _, _, beat, enough = await ctx.tick().sample(fetch.beat, port.enough)
            if beat:
                found["beat"] = cycle
            if enough:
                found.setdefault("enough", cycle)

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.add_testbench(bench)
    sim.add_testbench(memory.reader(fetch.read), background=True)
    sim.run()
    assert found["enough"] - found["beat"] == 4 + (behind != 0)
