"""Store and Stage: rows, activations and logits land where STORE says, byte for byte, under random stalls."""

import dataclasses
import random
from itertools import pairwise

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.isa import Payload, encode
from hw.machine import CI, NARROW, WIDE
from hw.stage import Stage
from hw.store import Store

from .axi_memory import AxiMemory

MACHINES = [
    *(dataclasses.replace(m, burst_beats=8) for m in (CI, NARROW, WIDE)),
    dataclasses.replace(CI, name="wide_bus", bus_bytes=32, burst_beats=4, tile=8),
]
#: A stage of words of 8 bytes, which attention and STORE read through one port.
NARROW_STAGE = dataclasses.replace(
    CI, name="narrow_stage", bus_bytes=32, burst_beats=4, tile=8, attention_bytes=32, family="xcup"
)
BASE = 4096


class Bench:
    """A Store with its Stage, a token table, activations of each token, and a memory.

    `expected` is the image that memory must hold in the end; `counted` sums the counts of bytes.
    """

    def __init__(self, config, stall: float, latency: int = 0):
        #: How often activation memory and the port of the stage have something else to do.
        self.busy = stall
        self.config, self.rng = config, random.Random(f"{config.name}{stall}")
        self.module = m = Module()
        m.submodules.stage = self.stage = Stage(config)
        m.submodules.store = self.store = Store(config)
        connect(m, self.store.stage, self.stage.store)
        self.image = bytearray(self.rng.randbytes(65536))
        self.expected = bytearray(self.image)
        self.memory = AxiMemory(self.image, config.bus_bytes, stall, seed=3)
        self.entries = [
            {"token": self.rng.getrandbits(20), "position": self.rng.randrange(12),
             "base": 12 * self.rng.randrange(8), "continues": self.rng.getrandbits(1)}
            for _ in range(256)
        ]  # fmt: skip
        self.activations = [[self.rng.getrandbits(32) for _ in range(64)] for _ in range(config.tile)]
        self.counted = {"kv_bytes": 0, "logit_bytes": 0, "spill_bytes": 0}
        self.cycle = 0
        self.beats: list[int] = []
        #: Of a STORE of logits: its bytes, the logits taken, the bytes of the bursts begun.
        self.logits, self.given, self.asked = 0, 0, 0
        self._entries(m)

    def _entries(self, m: Module) -> None:
        """The token table: its entry in the same cycle."""
        table = Signal.like(self.store.entries.entry)
        for index, entry in enumerate(self.entries):
            with m.If(self.store.entries.index == index):
                m.d.comb += table.eq(Mux(1, table.shape().const(entry), 0))
        m.d.comb += self.store.entries.entry.eq(table)

    async def activation(self, ctx):
        """Activation memory: two cycles from a taken address to its word, which is there for one cycle."""
        port, lanes = self.store.activation, self.config.lanes
        rng = random.Random(9)
        ctx.set(port.ready, 1)
        before = 0
        while True:
            _, _, token, address, ready = await ctx.tick().sample(port.token, port.address, port.ready)
            ctx.set(port.data, before)
            first = address - address % lanes
            words = self.activations[token][first : first + lanes]
            before = sum(word << 32 * i for i, word in enumerate(words))
            if not ready:
                before = rng.getrandbits(32 * lanes)
            ctx.set(port.ready, rng.random() >= self.busy)

    async def attend(self, ctx):
        """Attention reads words of the stage: it comes first, and gets its word in the next cycle."""
        port, rng, word = self.stage.attention, random.Random(7), self.config.stage_word
        en = False
        while True:
            before = en
            en = rng.random() < self.busy
            ctx.set(port.en, en)
            ctx.set(port.token, rng.randrange(self.config.tile))
            ctx.set(port.value, rng.randrange(2))
            ctx.set(port.address, rng.randrange(self.config.stage_bytes // word) * word)
            _, _, there = await ctx.tick().sample(port.there)
            assert there or not before

    async def count(self, ctx):
        names, aw, given = list(self.counted), self.store.write.aw, self.store.logits
        while True:
            _, _, *amounts, valid, ready, asked, beats, taken = await ctx.tick().sample(
                *(getattr(self.store, name) for name in names),
                self.store.write.w.valid,
                self.store.write.w.ready,
                aw.valid & aw.ready,
                aw.payload.len,
                given.valid & given.ready,
            )
            # A burst of logits holds the bus no longer than its beats: all of it is here when it begins.
            if self.logits and asked:
                self.asked = min(self.asked + (beats + 1) * self.config.bus_bytes, self.logits)
                assert 4 * self.given >= self.asked
            self.given += taken
            self.cycle += 1
            for name, amount in zip(names, amounts, strict=True):
                self.counted[name] += amount
            if valid and ready:
                self.beats.append(self.cycle)

    async def write_stage(self, ctx, token, value, content, scales):
        """Quantised bytes by lanes, and each scale in the K row, in random order."""
        write, lanes = self.stage.write, self.config.lanes
        jobs = [("data", a) for a in range(0, len(content), lanes)] + [("scale", a) for a in scales]
        self.rng.shuffle(jobs)
        for what, address in jobs:
            if what == "data":
                word = int.from_bytes(content[address : address + lanes], "little")
                ctx.set(write.token, token)
                ctx.set(write.scale_token, self.rng.randrange(self.config.tile))
                ctx.set(write.address, address + len(scales) * 4)
                ctx.set(write.data, word)
                ctx.set(write.value, value)
                ctx.set(write.en, 1)
            else:
                ctx.set(write.scale_token, token)
                ctx.set(write.token, self.rng.randrange(self.config.tile))
                ctx.set(write.scale_address, address)
                ctx.set(write.scale, scales[address])
                ctx.set(write.scale_en, 1)
            await ctx.tick()
            ctx.set(write.en, 0)
            ctx.set(write.scale_en, 0)

    async def command(self, ctx, layer, first, more, **fields):
        command = self.store.unit.command
        payload = {"word": encode("STORE", **fields), "layer": layer, "first": first, "more": more}
        ctx.set(command.payload, payload)
        ctx.set(command.valid, 1)
        await ctx.tick().until(command.ready)
        ctx.set(command.valid, 0)

    async def finish(self, ctx, check: bool = True):
        """Wait for `done`: memory must then hold what is expected."""
        done = False
        while not done:
            _, _, done = await ctx.tick().sample(self.store.unit.done)
        assert not check or self.image == self.expected

    def write(self, at: int, content: bytes) -> None:
        self.expected[BASE + at : BASE + at + len(content)] = content

    def run(self, bench) -> None:
        sim = Simulator(self.module)
        sim.add_clock(1e-8)
        sim.add_testbench(bench)
        sim.add_testbench(self.memory.writer(self.store.write), background=True)
        sim.add_testbench(self.count, background=True)
        sim.add_process(self.activation)
        sim.add_testbench(self.attend, background=True)
        sim.run()


def packed(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@pytest.mark.parametrize("config", [*MACHINES, NARROW_STAGE], ids=lambda c: c.name)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_rows_activations_and_logits(config, stall):
    bench = Bench(config, stall)
    rng, tile = bench.rng, config.tile
    wanted = dict.fromkeys(bench.counted, 0)

    async def rows(ctx, trial):
        """Stage all tokens, store those of a smaller tile: the rows of the others stay where they are."""
        layer, first, live = rng.randrange(3), rng.randrange(256), rng.randint(1, tile)
        staged = []
        for token in range(tile):
            scales = {4 * i: rng.getrandbits(32) for i in range(8)}
            keys, values = rng.randbytes(64), rng.randbytes(64)
            await bench.write_stage(ctx, token, 0, keys, scales)
            await bench.write_stage(ctx, token, 1, values, {})
            staged.append((packed([s for _, s in sorted(scales.items())]) + keys, values))
        for payload in (Payload.KEY, Payload.VALUE):
            base, stride, step = 32 * trial, 10240, 96
            length = len(staged[0][payload]) - 4 * (trial % 2)
            for token in range(live):
                entry = bench.entries[(first + token) % 256]
                row = entry["base"] + entry["position"]
                bench.write(base + layer * stride + row * step, staged[token][payload][:length])
                wanted["kv_bytes"] += length
            await bench.command(ctx, layer, first, live - 1, base=base, stride=stride, step=step,
                                bytes=length, payload=payload)  # fmt: skip
            await bench.finish(ctx)

    async def activations(ctx):
        for length, a in ((4 * 48, 16), (20, 0), (4 * 13, 32)):
            live, first = rng.randint(1, tile), rng.randrange(16)
            for token in range(live):
                content = packed(bench.activations[token][a : a + length // 4])
                bench.write(40960 + 2 * 512 + (first + token) * 256, content)
                wanted["spill_bytes"] += length
            await bench.command(ctx, 2, first, live - 1, base=40960, stride=512, step=256, bytes=length, a=a,
                                payload=Payload.ACTIVATION)  # fmt: skip
            await bench.finish(ctx)

    async def logits(ctx, live):
        values = [rng.getrandbits(32) for _ in range(29 * live)]
        bench.write(53248 + 64, packed(values))
        wanted["logit_bytes"] += 4 * len(values)
        bench.logits, bench.given, bench.asked = 4 * len(values), 0, 0
        await bench.command(ctx, 1, 1, live - 1, base=53248, stride=64, bytes=116, payload=Payload.LOGITS)
        for value in values:
            for _ in range(rng.randrange(3)):
                await ctx.tick()
            ctx.set(bench.store.logits.payload, value)
            ctx.set(bench.store.logits.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(bench.store.logits.ready)
            ctx.set(bench.store.logits.valid, 0)
        await bench.finish(ctx)
        assert bench.asked == bench.logits
        bench.logits = 0

    async def main(ctx):
        ctx.set(bench.store.memory_base, BASE)
        for trial in range(4):
            await rows(ctx, trial)
            await activations(ctx)
        for payload in Payload:  # nothing to write is finished at once
            await bench.command(ctx, 2, 3, tile - 1, base=64, stride=32, step=8, bytes=0, payload=payload)
            await bench.finish(ctx)
        for live in {1, tile}:
            await logits(ctx, live)
        await rows(ctx, 5)

    bench.run(main)
    assert bench.counted == wanted


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
def test_cycles(config):
    """Without stalls: command to first beat, a beat each cycle or element, the gaps between runs."""
    bench = Bench(config, 0.0)
    bus, tile = config.bus_bytes, config.tile

    async def main(ctx):
        for payload in (Payload.KEY, Payload.ACTIVATION):
            wide = 1 if payload == Payload.KEY else bus // 4
            bench.beats.clear()
            await bench.command(ctx, 0, 0, tile - 1, base=0, step=512, bytes=4 * bus, payload=payload, a=0)
            begun = bench.cycle
            await bench.finish(ctx, check=False)
            assert len(bench.beats) == 4 * tile
            assert bench.beats[0] - begun == (8 if payload == Payload.KEY else 6 + wide)
            for token in range(tile):
                mine = bench.beats[4 * token : 4 * token + 4]
                assert [after - before for before, after in pairwise(mine)] == [wide] * 3
            gaps = [bench.beats[4 * t] - bench.beats[4 * t - 1] for t in range(1, tile)]
            assert gaps == [3 if wide == 1 else 3 + wide] * (tile - 1)

    bench.run(main)


def test_a_beat_of_a_narrow_stage_is_not_kept_over_a_write():
    """The same beat again and again, each time after a write of a part of it, at any time in between."""
    dut, rng = Stage(NARROW_STAGE), random.Random(4)
    bus, lanes = NARROW_STAGE.bus_bytes, NARROW_STAGE.lanes
    row = bytearray(bus)

    async def bench(ctx) -> None:
        ctx.set(dut.store.en, 1)
        ctx.set(dut.write.data, 0)
        for _ in range(30):
            at, word = rng.randrange(0, bus, lanes), rng.randbytes(lanes)
            row[at : at + lanes] = word
            ctx.set(dut.write.address, at)
            ctx.set(dut.write.data, int.from_bytes(word, "little"))
            ctx.set(dut.write.en, 1)
            await ctx.tick()
            ctx.set(dut.write.en, 0)
            for _ in range(rng.randrange(12)):
                await ctx.tick()
                if ctx.get(dut.store.there):
                    assert ctx.get(dut.store.data) == int.from_bytes(row, "little")

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
