"""RowReader: rows with and without padding become pairs and parts with their marks; nothing else is taken."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.kv_row import RowReader
from hw.machine import CI, MachineConfig

from .tape_bench import TapeBench

#: bus bytes, attention bytes, K/V heads, parts of a head.
SHAPES = [(4, 4, 3, 2), (8, 8, 1, 1), (16, 8, 3, 1), (16, 4, 3, 3), (64, 8, 3, 2), (16, 16, 1, 2)]


def rows(
    config: MachineConfig,
    kv_heads: int,
    parts: int,
    value: bool,
    padded: bool,
    count: int,
    rng: random.Random,
) -> tuple[bytes, list[tuple], list[tuple]]:
    """Random rows: their bytes, pairs and parts as the unit must send them."""
    content, pairs, pieces = b"", [], []
    for _ in range(count):
        row = b""
        for kv_head in range(0 if value else kv_heads):
            pairs.append((rng.getrandbits(32), rng.getrandbits(32), kv_head))
            row += pairs[-1][0].to_bytes(4, "little") + pairs[-1][1].to_bytes(4, "little")
        for kv_head in range(kv_heads):
            for part in range(parts):
                data = rng.randbytes(config.attention_bytes)
                last = part == parts - 1
                row_last = last and kv_head == kv_heads - 1
                pieces.append((int.from_bytes(data, "little"), kv_head, part == 0, last, row_last))
                row += data
        content += row + rng.randbytes(-len(row) % config.bus_bytes if padded else 0)
    return content, pairs, pieces


@pytest.mark.parametrize(("bus", "size", "kv_heads", "parts"), SHAPES)
@pytest.mark.parametrize("pattern", ["full", "ragged"])
def test_rows(bus: int, size: int, kv_heads: int, parts: int, pattern: str):
    config = dataclasses.replace(
        CI, bus_bytes=bus, attention_bytes=size, burst_beats=4, tables=5, head_lanes=8, lanes=4
    )
    dut = RowReader(config)
    rng = random.Random(bus + size)
    # value, padded, count
    starts = [(0, 1, 0), (0, 1, 3), (0, 0, 1), (1, 1, 3), (1, 0, 1), (1, 1, 0), (1, 0, 2)]
    made = [rows(config, kv_heads, parts, value, padded, count, rng) for value, padded, count in starts]
    content = b"".join(content for content, *_ in made)
    tape = TapeBench(dut, config.unit_bytes, content + bytes(64), pattern, 1)

    async def bench(ctx) -> None:
        ctx.set(dut.geometry.kv_heads, kv_heads)
        ctx.set(dut.geometry.parts, parts)
        end = 0
        for (value, padded, count), (row_bytes, pairs, pieces) in zip(starts, made, strict=True):
            for name, bit in (("start", 1), ("value", value), ("padded", padded)):
                ctx.set(getattr(dut, name), bit)
            ctx.set(dut.count, count)
            await ctx.tick()
            ctx.set(dut.start, 0)
            found_pairs, found_parts = [], []
            while ctx.get(dut.busy):
                ctx.set(dut.part.ready, rng.random() < 0.8)
                pair, part = dut.pair, dut.part.payload
                (_, _, pair_en, key_scale, value_scale, pair_head,
                 valid, ready, data, kv_head, is_first, last, row_last) = await ctx.tick().sample(
                    dut.pair_en, pair.key_scale, pair.value_scale, pair.kv_head,
                    dut.part.valid, dut.part.ready, part.data, part.kv_head,
                    part.first, part.last, part.row_last,
                )  # fmt: skip
                if pair_en:
                    found_pairs.append((key_scale, value_scale, pair_head))
                if valid and ready:
                    found_parts.append((data, kv_head, is_first, last, row_last))
            assert found_pairs == pairs
            assert found_parts == pieces
            end += len(row_bytes)
            assert tape.position == end

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(tape.run, background=True)
    simulator.add_testbench(bench)
    simulator.run()
