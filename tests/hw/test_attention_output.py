"""AttentionOutput: sums of all heads in order, cut or joined to lanes, with the scale of their head."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.attention_output import AttentionOutput
from hw.machine import CI
from hw.value_sum import sum_bits

#: attention bytes, lanes, heads, head size, tokens of the core, live ones.
SHAPES = [(4, 4, 1, 4, 1, 1), (8, 4, 6, 16, 1, 1), (16, 4, 2, 16, 2, 2), (4, 8, 6, 16, 4, 3),
          (4, 16, 2, 16, 2, 1), (16, 4, 3, 24, 4, 4), (32, 4, 3, 12, 2, 2),
          (64, 4, 2, 100, 1, 1)]  # fmt: skip


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("size", "lanes", "heads", "head_size", "tokens", "live"), SHAPES)
def test_beats(size: int, lanes: int, heads: int, head_size: int, tokens: int, live: int, stall: float):
    config = dataclasses.replace(
        CI,
        attention_bytes=size,
        lanes=lanes,
        max_query=256,
        attention_cores=4 // tokens,
        family="xcup" if size > 4 * lanes else "ecp5",
    )
    dut = AttentionOutput(config)
    rng = random.Random(size + lanes)
    bits, parts, unit = sum_bits(config), -(-head_size // size), min(size, lanes)
    words = {(slot, i): rng.getrandbits(bits * size) for slot in range(tokens) for i in range(heads * parts)}
    scales = [rng.getrandbits(32) for _ in range(live * heads)]

    def element(slot: int, head: int, i: int) -> int:
        """48 bits of a sum."""
        found = words[slot, head * parts + i // size] >> bits * (i % size) & (1 << bits) - 1
        return (found - (found >> bits - 1 << bits)) & (1 << 48) - 1

    def wanted(empty: int) -> list[tuple[int, int, bool]]:
        beats = []
        for slot in range(live):
            for h in range(heads):
                sums = [0 if empty >> slot & 1 else element(slot, h, i) for i in range(head_size)]
                for first in range(0, head_size, lanes):
                    data = sum(x << 48 * i for i, x in enumerate(sums[first : first + lanes]))
                    end = h == heads - 1 and first + lanes == head_size
                    beats.append((data, scales[slot * heads + h], end))
        return beats

    async def bench(ctx) -> None:
        ctx.set(dut.geometry.heads, heads)
        ctx.set(dut.geometry.parts, parts)
        ctx.set(dut.geometry.last, (head_size - 1) % size // unit + 1)
        ctx.set(dut.last_slot, live - 1)
        for empty in (0, 1, (1 << tokens) - 1, 2 % (1 << tokens)):
            ctx.set(dut.start, 1)
            ctx.set(dut.empty, empty)
            await ctx.tick()
            ctx.set(dut.start, 0)
            beats: list[tuple[int, int, bool]] = []
            head = cycles = 0
            while ctx.get(dut.busy):
                valid = head < len(scales) and rng.random() >= stall / 2
                ctx.set(dut.scale.valid, valid)
                ctx.set(dut.scale.payload, scales[head] if valid else 0)
                ctx.set(dut.output.ready, rng.random() >= stall)
                if ctx.get(dut.output.valid) and ctx.get(dut.output.ready):
                    payload = dut.output.payload
                    beats.append(
                        (ctx.get(payload.sums), ctx.get(payload.scale), bool(ctx.get(dut.token_end)))
                    )
                head += valid and ctx.get(dut.scale.ready)
                en, place = ctx.get(dut.en), (ctx.get(dut.slot), ctx.get(dut.address))
                await ctx.tick()
                if en:
                    ctx.set(dut.sums, words.get(place, 0))
                cycles += 1
                assert cycles < 1000
            assert beats == wanted(empty)
            assert head == len(scales)
            if not stall:
                assert cycles == 1 + max(len(beats), live * heads * parts)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
