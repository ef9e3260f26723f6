"""AttentionOutput: sums of all heads in order, cut or joined to lanes, with the scale of their head."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.attention_output import AttentionOutput
from hw.machine import CI

#: attention bytes, lanes, K/V heads, group, parts.
SHAPES = [(4, 4, 1, 1, 1), (8, 4, 3, 2, 2), (16, 4, 2, 1, 1), (4, 8, 2, 3, 4), (4, 16, 1, 2, 4)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("size", "lanes", "kv_heads", "group", "parts"), SHAPES)
def test_beats(size: int, lanes: int, kv_heads: int, group: int, parts: int, stall: float):
    config = dataclasses.replace(CI, attention_bytes=size, lanes=lanes, max_query=128)
    dut = AttentionOutput(config)
    rng = random.Random(size + lanes)
    heads = kv_heads * group
    words = {(h, part): rng.getrandbits(48 * size) for h in range(heads) for part in range(parts)}
    scales = [rng.getrandbits(32) for _ in range(heads)]

    def wanted(empty: bool) -> list[tuple[int, int]]:
        beats = []
        for h in range(heads):
            flat = 0 if empty else sum(words[h, part] << 48 * size * part for part in range(parts))
            for first in range(0, parts * size, lanes):
                beats.append((flat >> 48 * first & (1 << 48 * lanes) - 1, scales[h]))
        return beats

    async def bench(ctx) -> None:
        ctx.set(dut.geometry, {"kv_heads": kv_heads, "group": group, "parts": parts})
        for empty in (False, True, False):
            ctx.set(dut.start, 1)
            ctx.set(dut.empty, empty)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.empty, 0)
            beats: list[tuple[int, int]] = []
            head = cycles = 0
            while ctx.get(dut.busy):
                valid = head < heads and rng.random() >= stall / 2
                ctx.set(dut.scale.valid, valid)
                ctx.set(dut.scale.payload, scales[head] if valid else 0)
                ctx.set(dut.output.ready, rng.random() >= stall)
                if ctx.get(dut.output.valid) and ctx.get(dut.output.ready):
                    beats.append((ctx.get(dut.output.payload.sums), ctx.get(dut.output.payload.scale)))
                head += valid and ctx.get(dut.scale.ready)
                en, address, member = ctx.get(dut.en), ctx.get(dut.address), ctx.get(dut.member)
                await ctx.tick()
                if en:
                    key = address // parts * group + member, address % parts
                    ctx.set(dut.sums, words.get(key, 0))
                cycles += 1
                assert cycles < 1000
            assert beats == wanted(empty)
            assert head == heads
            if not stall:
                assert cycles == 1 + max(len(beats), heads * parts)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
