"""PartSteps: the steps of all parts in order, each with its place; none but those."""

import dataclasses
import itertools
import random

import pytest
from amaranth.sim import Simulator

from hw.head_geometry import unit_bytes
from hw.machine import CI
from hw.part_steps import PartSteps

#: tokens of a core, K/V heads, group, parts.
SHAPES = [(1, 1, 1, 1), (1, 3, 2, 2), (4, 2, 1, 1), (4, 1, 4, 3), (2, 2, 3, 2), (8, 3, 1, 2)]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("tokens", "kv_heads", "group", "parts"), SHAPES)
def test_steps(tokens: int, kv_heads: int, group: int, parts: int, stall: float):
    config = dataclasses.replace(
        CI, attention_bytes=16, lanes=4, tile=8, attention_cores=8 // tokens, max_heads=8
    )
    dut = PartSteps(config)
    rng = random.Random(str((tokens, parts)))
    units = config.attention_bytes // unit_bytes(config)
    size = rng.randint(1, units)

    async def bench(ctx) -> None:
        ctx.set(dut.geometry.group, group)
        ctx.set(dut.geometry.parts, parts)
        ctx.set(dut.geometry.last, size)
        for value in (0, 1):
            ctx.set(dut.value, value)
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            assert ctx.get(dut.unseen) == (1 << tokens) - 1
            wanted, given, unseen = [], [], set(range(tokens))
            for _ in range(6):
                low = rng.randrange(tokens)
                high = rng.randrange(low, tokens) + 1
                for kv_head in range(kv_heads):
                    for part in range(parts):
                        number, first, last = (
                            rng.getrandbits(8 * config.attention_bytes),
                            part == 0,
                            part == parts - 1,
                        )
                        payload = {"data": number, "key_scale": number >> 8 & 0xFFFFFFFF,
                                   "value_scale": number >> 20 & 0x7FFFFFFF, "first": first, "last": last,
                                   "row_last": last and kv_head == kv_heads - 1}  # fmt: skip
                        elements = number & (1 << 8 * (size if last else units) * unit_bytes(config)) - 1
                        given.append((payload, (1 << high) - (1 << low)))
                        index = 0
                        for slot in range(low, high):
                            for member in range(group):
                                head = kv_head * group + member
                                ends = slot == high - 1 and member == group - 1
                                wanted.append((elements, payload["key_scale"], payload["value_scale"],
                                               slot, head, head * parts + part, index, first, last, ends,
                                               slot in unseen))  # fmt: skip
                                index += 1
                unseen -= set(range(low, high))
            found, cycles, place = [], 0, 0
            steps_at: list[tuple[int, int, int]] = []
            while place < len(given) or ctx.get(dut.busy):
                valid = place < len(given) and rng.random() >= stall
                ctx.set(dut.part.valid, valid)
                if place < len(given):
                    ctx.set(dut.part.payload, given[place][0])
                    ctx.set(dut.tokens, given[place][1])
                hold = rng.random() < stall
                ctx.set(dut.hold, hold)
                if ctx.get(dut.en):
                    assert not (value and hold)
                    step = dut.step
                    found.append((ctx.get(dut.data), ctx.get(dut.key_scale), ctx.get(dut.value_scale),
                                  ctx.get(step.at.slot), ctx.get(step.at.head), ctx.get(step.address),
                                  ctx.get(step.index), ctx.get(step.first), ctx.get(step.last),
                                  ctx.get(step.ends), ctx.get(step.fresh)))  # fmt: skip
                    steps_at.append((cycles, found[-1][3], found[-1][5]))
                taken = valid and ctx.get(dut.part.ready)
                await ctx.tick()
                place += taken
                cycles += 1
                assert cycles < 5000
            assert found == wanted
            assert ctx.get(dut.unseen) == sum(1 << slot for slot in unseen)
            if not stall:
                alone = sum(a[3] == b[3] and a[5] == b[5] for a, b in itertools.pairwise(wanted))
                assert cycles == 1 + len(wanted) + (alone if value else 0)
            if value:
                for (t0, *a), (t1, *b) in itertools.pairwise(steps_at):
                    assert t1 > t0 + 1 or a != b

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
