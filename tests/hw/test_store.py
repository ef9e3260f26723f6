"""Store and Stage: rows and logits land where STORE says, byte for byte, under random stalls."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.isa import Payload, encode
from hw.machine import CI, NARROW, WIDE
from hw.stage import Stage
from hw.store import Store

from .axi_memory import AxiMemory

MACHINES = [dataclasses.replace(m, burst_beats=8) for m in (CI, NARROW, WIDE)]
BASE = 4096


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_rows_and_logits(config, stall):
    rng = random.Random(f"{config.name}{stall}")
    m = Module()
    m.submodules.stage = stage = Stage(config)
    m.submodules.store = store = Store(config)
    connect(m, store.stage, stage.store)
    image = bytearray(rng.randbytes(32768))
    expected = bytearray(image)
    memory = AxiMemory(image, config.bus_bytes, stall, seed=3)
    lanes, row = config.lanes, 96
    counted = {"kv": 0, "logits": 0}

    async def write_stage(ctx, value, content, scales):
        """Quantised bytes by lanes, and each scale in the K row, in random order."""
        jobs = [("data", a) for a in range(0, len(content), lanes)] + [("scale", a) for a in scales]
        rng.shuffle(jobs)
        for what, address in jobs:
            if what == "data":
                word = int.from_bytes(content[address : address + lanes], "little")
                ctx.set(stage.write.address, address + len(scales) * 4)
                ctx.set(stage.write.data, word)
                ctx.set(stage.write.value, value)
                ctx.set(stage.write.en, 1)
            else:
                ctx.set(stage.write.scale_address, address)
                ctx.set(stage.write.scale, scales[address])
                ctx.set(stage.write.scale_en, 1)
            await ctx.tick()
            ctx.set(stage.write.en, 0)
            ctx.set(stage.write.scale_en, 0)

    async def command(ctx, layer, position, **fields):
        ctx.set(store.unit.command.payload.word, encode("STORE", **fields))
        ctx.set(store.unit.command.payload.layer, layer)
        ctx.set(store.unit.command.payload.position, position)
        ctx.set(store.unit.command.valid, 1)
        await ctx.tick().until(store.unit.command.ready)
        ctx.set(store.unit.command.valid, 0)

    async def finish(ctx):
        done = False
        while not done:
            _, _, done = await ctx.tick().sample(store.unit.done)

    async def count(ctx):
        while True:
            _, _, kv, live = await ctx.tick().sample(store.kv_bytes, store.logit_bytes)
            counted["kv"], counted["logits"] = counted["kv"] + kv, counted["logits"] + live

    async def bench(ctx):
        ctx.set(store.memory_base, BASE)
        for trial in range(6):
            layer, position = rng.randrange(3), rng.randrange(20)
            scales = {4 * i: rng.getrandbits(32) for i in range(8)}
            keys, values = rng.randbytes(64), rng.randbytes(64)
            await write_stage(ctx, 0, keys, scales)
            await write_stage(ctx, 1, values, {})
            k_row = b"".join(s.to_bytes(4, "little") for _, s in sorted(scales.items())) + keys
            for payload, content in ((Payload.KEY, k_row), (Payload.VALUE, values)):
                base = 1024 * int(payload) + 64 * trial
                stride, step, length = 4096, row, len(content) - 4 * (trial % 2)
                at = BASE + base + layer * stride + position * step
                expected[at : at + length] = content[:length]
                await command(ctx, layer, position, base=base, stride=stride, step=step,
                              bytes=length, payload=payload)  # fmt: skip
                await finish(ctx)
        await command(ctx, 2, 3, base=64, stride=32, step=8, bytes=0, payload=Payload.KEY)
        await finish(ctx)  # nothing to write is finished at once
        logits = [rng.getrandbits(32) for _ in range(29)]
        expected[BASE + 20480 : BASE + 20480 + 116] = b"".join(v.to_bytes(4, "little") for v in logits)
        await command(ctx, 1, 1, base=20480, bytes=116, payload=Payload.LOGITS)
        for value in logits:
            for _ in range(rng.randrange(3)):
                await ctx.tick()
            ctx.set(store.logits.payload, value)
            ctx.set(store.logits.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(store.logits.ready)
            ctx.set(store.logits.valid, 0)
        await finish(ctx)

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.add_testbench(memory.writer(store.write), background=True)
    sim.add_testbench(count, background=True)
    sim.run()
    assert image == expected
    assert counted["kv"] == 6 * (96 + 64) - 3 * 8
    assert counted["logits"] == 116
