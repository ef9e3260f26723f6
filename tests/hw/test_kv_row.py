"""RowReader: rows with and without padding become parts with scales and marks; nothing else is taken."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.kv_row import RowReader
from hw.machine import CI, MachineConfig

from .tape_bench import TapeBench

#: bus bytes, attention bytes, lanes, K/V heads, head size.
SHAPES = [(4, 4, 4, 3, 8), (8, 8, 4, 1, 8), (16, 8, 8, 3, 8), (16, 4, 4, 3, 12), (64, 8, 4, 3, 20),
          (16, 16, 16, 1, 32), (8, 32, 8, 7, 24), (64, 64, 16, 16, 96), (16, 16, 4, 5, 4)]  # fmt: skip


def rows(
    config: MachineConfig,
    kv_heads: int,
    head_size: int,
    value: bool,
    padded: bool,
    count: int,
    rng: random.Random,
) -> tuple[bytes, list[tuple]]:
    """Random rows: their bytes, and parts as the unit must send them (scales of K rows only)."""
    content, pieces = b"", []
    for _ in range(count):
        pairs = [(rng.getrandbits(32), rng.getrandbits(31)) for _ in range(kv_heads)]
        row = b"" if value else b"".join(x.to_bytes(4, "little") for pair in pairs for x in pair)
        for kv_head in range(kv_heads):
            for first in range(0, head_size, config.attention_bytes):
                data = rng.randbytes(min(config.attention_bytes, head_size - first))
                last = first + len(data) == head_size
                row_last = last and kv_head == kv_heads - 1
                scales = () if value else pairs[kv_head]
                pieces.append(
                    (int.from_bytes(data, "little"), len(data), first == 0, last, row_last, *scales)
                )
                row += data
        content += row + rng.randbytes(-len(row) % config.bus_bytes if padded else 0)
    return content, pieces


@pytest.mark.parametrize(("bus", "size", "lanes", "kv_heads", "head_size"), SHAPES)
@pytest.mark.parametrize("pattern", ["full", "ragged"])
def test_rows(bus: int, size: int, lanes: int, kv_heads: int, head_size: int, pattern: str):
    config = dataclasses.replace(
        CI, bus_bytes=bus, attention_bytes=size, burst_beats=4, tables=5, head_lanes=8, lanes=lanes
    )
    dut = RowReader(config)
    rng = random.Random(bus + size)
    # value, padded, count
    starts = [(0, 1, 0), (0, 1, 3), (0, 0, 1), (1, 1, 3), (1, 0, 1), (1, 1, 0), (1, 0, 2)]
    made = [rows(config, kv_heads, head_size, value, padded, count, rng) for value, padded, count in starts]
    content = b"".join(content for content, *_ in made)
    tape = TapeBench(dut, config.unit_bytes, content + bytes(256), pattern, 1)
    unit, parts = min(size, lanes), -(-head_size // size)
    pairs = -(-kv_heads // config.scale_pairs)

    async def bench(ctx) -> None:
        ctx.set(dut.geometry.kv_heads, kv_heads)
        ctx.set(dut.geometry.parts, parts)
        ctx.set(dut.geometry.last, (head_size - 1) % size // unit + 1)
        end = 0
        for (value, padded, count), (row_bytes, pieces) in zip(starts, made, strict=True):
            for name, bit in (("start", 1), ("value", value), ("padded", padded)):
                ctx.set(getattr(dut, name), bit)
            ctx.set(dut.count, count)
            await ctx.tick()
            ctx.set(dut.start, 0)
            found_parts = []
            cycles = 0
            while ctx.get(dut.busy):
                ctx.set(dut.part.ready, pattern == "full" or rng.random() < 0.8)
                part = dut.part.payload
                (_, _, valid, ready, data, held, is_first, last, row_last, key_scale,
                 value_scale) = await ctx.tick().sample(
                    dut.part.valid, dut.part.ready, part.data, dut.size, part.first, part.last, part.row_last,
                    part.key_scale, part.value_scale,
                )  # fmt: skip
                cycles += 1
                if valid and ready:
                    scales = () if value else (key_scale, value_scale)
                    data &= (1 << 8 * held) - 1
                    found_parts.append((data, held, is_first, last, row_last, *scales))
            assert found_parts == pieces
            end += len(row_bytes)
            assert tape.position == end
            if pattern == "full":
                padding = -(kv_heads * (head_size + 8 * (not value))) % bus * padded
                row = kv_heads * parts + pairs * (not value) + -(-padding // config.unit_bytes)
                assert cycles == count * row

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(tape.run, background=True)
    simulator.add_testbench(bench)
    simulator.run()
