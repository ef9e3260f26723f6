"""The attention unit against a reference made of numerics functions, with stalls on tape and output."""

import dataclasses
import random
from dataclasses import dataclass, field

import pytest
import torch
from amaranth.back import verilog
from amaranth.sim import Simulator

from hw.attention import Attention
from hw.isa import Feed, Pass, encode
from hw.machine import CI, MachineConfig
from models import numerics
from models.numerics import float_bits

from .attention_case import Case


def machine(bus: int, word: int, lanes: int, group: int) -> MachineConfig:
    return dataclasses.replace(
        CI, bus_bytes=bus, attention_bytes=word, lanes=lanes, max_group=group, tables=5, head_lanes=8,
        max_heads=8, max_query=256, score_words=256,
    )  # fmt: skip


B4 = machine(4, 4, 4, 2)
B8 = machine(8, 8, 4, 4)
B16 = machine(16, 16, 8, 2)
B16_SMALL = machine(16, 4, 16, 2)
B64 = machine(64, 8, 16, 1)


def padded(rows: list[bytes], bus: int, rng: random.Random) -> bytes:
    return b"".join(row + rng.randbytes(-len(row) % bus) for row in rows)


#: Cycles of an ATTEND of no tokens, from the one in which it is taken to the one of `done`.
EMPTY = 2


@dataclass
class Result:
    """What the unit did."""

    heads: list[tuple[list[int], int]] = field(default_factory=list)
    saturated: int = 0
    products: int = 0
    active: int = 0
    starved: int = 0
    cycles: list[int] = field(default_factory=list)


def run(config: MachineConfig, cases: list[Case], stall: float, seed: int = 0) -> list[Result]:
    """Execute ATTEND KEY tape, stage, VALUE tape, stage for each case; a case follows as soon as it may."""
    rng = random.Random(seed)
    dut = Attention(config)
    word, lanes = config.attention_bytes, config.lanes
    results = [Result() for _ in cases]

    # A step is a query write, a scale, or a command with the tape position at which it ends.
    tape = b""
    steps: list[tuple] = []
    for number, case in enumerate(cases):
        flat = case.q.flatten().remainder(65536).tolist()
        for first in range(0, len(flat), lanes):
            data = sum(flat[first + i] << 16 * i for i in range(lanes))
            steps.append(("query", number, first, data))
        for head in range(case.heads):
            steps.append(("scale", number, head, int(float_bits(case.s_q)[head])))
        for half, row in ((Pass.KEY, case.key_row), (Pass.VALUE, case.value_row)):
            for feed in case.feeds:
                if feed == Feed.TAPE:
                    tape += padded([row(t) for t in range(case.position)], config.bus_bytes, rng)
                command = encode(
                    "ATTEND", half=half, feed=feed, first=feed == case.feeds[0], last=feed == case.feeds[-1],
                    kv_heads=case.kv_heads, group=case.group, head_size=case.head_size,
                )  # fmt: skip
                payload = {"word": command, "layer": 0, "position": case.position}
                steps.append(("command", number, payload, len(tape), feed))
    tape += rng.randbytes(2 * config.unit_bytes)

    async def bench(ctx) -> None:
        place = step = 0
        issued: list[tuple] = []
        done = cycle = 0
        stage_data = 0
        beats: list[tuple[int, int]] = []
        expected_beats = sum(case.heads * case.head_size // lanes for case in cases)
        while len(beats) < expected_beats or done < len(issued) or step < len(steps):
            assert cycle < 20000, "the unit hangs"
            kind, number, *rest = steps[step] if step < len(steps) else ("end", len(cases) - 1)
            writable = done == len(issued)
            ctx.set(dut.unit.command.valid, kind == "command")
            ctx.set(dut.query.en, kind == "query" and writable)
            ctx.set(dut.query.scale_en, kind == "scale" and writable)
            if kind == "command":
                ctx.set(dut.unit.command.payload, rest[0])
            elif kind == "query":
                ctx.set(dut.query.address, rest[0])
                ctx.set(dut.query.data, rest[1])
            elif kind == "scale":
                ctx.set(dut.query.scale_head, rest[0])
                ctx.set(dut.query.scale, rest[1])
            level = config.unit_bytes if rng.random() >= stall else rng.randrange(config.unit_bytes)
            level = min(level, len(tape) - place)
            present = tape[place : place + level] + rng.randbytes(config.unit_bytes - level)
            ctx.set(dut.tape.level, level)
            ctx.set(dut.tape.data, int.from_bytes(present, "little"))
            ctx.set(dut.stage.data, stage_data)
            ctx.set(dut.output.ready, rng.random() >= stall)

            take = ctx.get(dut.tape.take)
            running = issued[done] if done < len(issued) else None
            from_tape = running is not None and running[4] == Feed.TAPE
            assert take <= level
            assert from_tape or (take == 0 and not ctx.get(dut.tape.starved))
            assert not (take and ctx.get(dut.tape.starved))
            if running is not None:
                result = results[running[1]]
                result.saturated += ctx.get(dut.score_saturated)
                result.products += ctx.get(dut.products)
                result.active += ctx.get(dut.active)
                result.starved += ctx.get(dut.tape.starved)
            else:
                assert not ctx.get(dut.products)
                assert not ctx.get(dut.active)
            if ctx.get(dut.output.valid) and ctx.get(dut.output.ready):
                beats.append((ctx.get(dut.output.payload.sums), ctx.get(dut.output.payload.scale)))
            staged = cases[number if running is None else running[1]]
            row = b""
            if Feed.STAGE in staged.feeds:
                row = (staged.value_row if ctx.get(dut.stage.value) else staged.key_row)(staged.tokens - 1)
            address = ctx.get(dut.stage.address)
            assert address % word == 0
            stage_data = int.from_bytes((row[address:] + rng.randbytes(word))[:word], "little")
            accepted = kind == "command" and ctx.get(dut.unit.command.ready)
            finished = ctx.get(dut.unit.done)
            await ctx.tick()
            cycle += 1
            place += take
            if finished:
                assert place == running[3], "bytes taken"
                results[running[1]].cycles.append(cycle - running[5])
                done += 1
            if accepted:
                issued.append((*steps[step], cycle))
                assert len(issued) == done + 1
            step += accepted or (kind in ("query", "scale") and writable)

        for case, result in zip(cases, results, strict=True):
            for _ in range(case.heads):
                mine, beats[:] = beats[: case.head_size // lanes], beats[case.head_size // lanes :]
                sums = sum(x << 48 * lanes * i for i, (x, _) in enumerate(mine))
                fields = [sums >> 48 * i & (1 << 48) - 1 for i in range(case.head_size)]
                scales = {scale for _, scale in mine}
                assert len(scales) == 1
                result.heads.append(([x - (x >> 47 << 48) for x in fields], scales.pop()))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def check(config: MachineConfig, cases: list[Case], stall: float = 0.3, seed: int = 0) -> list[Result]:
    results = run(config, cases, stall, seed)
    for case, result in zip(cases, results, strict=True):
        assert result.heads == case.output()
        assert result.saturated == case.saturated()
        assert result.products == 2 * case.tokens * case.heads * case.head_size
    return results


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (B4, (1, 1, 4, 5)),
        (B4, (3, 2, 8, 3)),
        (B8, (1, 4, 8, 7)),
        (B8, (4, 2, 16, 3)),
        (B8, (3, 1, 24, 4)),
        (B16, (1, 2, 16, 5)),
        (B16, (3, 1, 32, 4)),
        (B16_SMALL, (3, 2, 16, 4)),
        (B64, (3, 1, 16, 3)),
    ],
)
def test_shapes(config: MachineConfig, shape: tuple[int, int, int, int]):
    check(config, [Case(*shape, seed=1), Case(*shape[:3], 1, seed=2), Case(*shape, seed=3, spread=60.0)])


def test_rounds_of_different_models():
    check(B8, [Case(1, 1, 8, 6, 1), Case(4, 1, 16, 2, 2), Case(1, 4, 8, 1, 3), Case(2, 3, 24, 3, 4)], 0.5)


def test_feeds():
    tape, stage = (Feed.TAPE,), (Feed.STAGE,)
    pairs = Case(2, 2, 8, 1, 1, feeds=stage), Case(2, 2, 8, 0, 2, feeds=tape), Case(2, 2, 8, 3, 3, feeds=tape)
    odd = Case(3, 1, 16, 0, 4, feeds=tape), Case(3, 1, 16, 1, 5, feeds=stage)
    check(B8, [*pairs, *odd])


def test_zero_scales():
    cases = [Case(2, 2, 8, 4, seed) for seed in range(6)]
    cases[0].s_k[1:3] = 0
    cases[1].s_v[:, 1] = 0
    cases[2].s_v[1:3, 0] = 0
    cases[3].s_v[:] = 0
    cases[4].s_q[1] = 0
    cases[5].q[:] = 0
    assert len(set(cases[5].scores().flatten().tolist())) == 1
    check(B8, cases)


def test_extreme_scales():
    distant = Case(2, 2, 8, 6, 1, spread=1000.0)
    assert (distant.probabilities() == 0).any()
    saturated = Case(2, 2, 8, 4, 2, spread=1e6)
    assert 0 < saturated.saturated() < 16
    both = Case(1, 1, 8, 5, 3, spread=1e9)
    assert {-numerics.SCORE_LIMIT, numerics.SCORE_LIMIT} <= set(both.scores().flatten().tolist())
    negative = Case(1, 2, 8, 3, 4)
    negative.k, negative.q = -negative.k.abs() - 1, negative.q.abs() + 1
    assert (negative.scores() < 0).all()
    values = Case(2, 2, 8, 6, 5)
    values.s_v[:3, 0] = torch.tensor([2.0**-100, 2.0**126, 1.5 * 2.0**127])
    values.s_v[:3, 1] = torch.tensor([2.0**-100, 2.0**-99, 1.25 * 2.0**-100])
    values.s_v[3:, 1] = 0
    largest = Case(1, 2, 24, 3, 6)
    largest.q[:], largest.k[:], largest.v[:] = 32767, -127, 127
    check(B8, [distant, saturated, both, negative, values, largest])


@pytest.mark.parametrize(("kv_heads", "group", "parts"), [(2, 1, 3), (2, 4, 2)])
def test_cycles(kv_heads: int, group: int, parts: int):
    """Without stalls: the slope of each pass, and what start and finish may cost."""
    results = check(B8, [Case(kv_heads, group, 8 * parts, tokens, 1) for tokens in (1, 3, 8)], 0.0)
    none, few, many = (result.cycles for result in results)
    key, value = kv_heads * max(1 + parts, group), kv_heads * max(parts, group)
    assert [after - before for before, after in zip(few, many, strict=True)] == [5 * key, 0, 5 * value, 0]
    assert none[0] == EMPTY
    assert few[0] - 2 * key <= 2
    assert few[1] - key <= 25
    assert few[2] - 2 * value <= 12
    assert few[3] - value <= 6


def test_verilog():
    assert "module Attention(" in verilog.convert(Attention(B8), name="Attention")
