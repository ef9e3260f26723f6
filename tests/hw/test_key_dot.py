"""StepSums and KeyDot against exact dot products, with steps that come now and then."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.key_dot import KeyDot
from hw.machine import CI
from hw.step_sums import StepSums
from hw.value_sum import in_blocks

#: attention bytes, steps of a part, parts of a head.
SHAPES = [(4, 1, 1), (4, 3, 2), (8, 8, 1), (16, 5, 3), (64, 2, 2)]


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(("size", "steps", "parts"), SHAPES)
def test_dots(size: int, steps: int, parts: int, eager: bool, family: str):
    config = dataclasses.replace(
        CI, attention_bytes=size, tile=2, attention_cores=1, family=family, max_query=512
    )
    assert in_blocks(config) == (family == "xcup")
    m = Module()
    m.submodules.products = products = StepSums(config)
    m.submodules.dut = dut = KeyDot(config)
    m.d.comb += dut.products.eq(products.products)
    rng = random.Random(size)
    given, wanted = [], []
    for number in range(5):
        totals = [0] * steps
        for part in range(parts):
            keys = [-127 if number == 1 else rng.randint(-127, 127) for _ in range(size)]
            for index in range(steps):
                queries = [rng.choice((-32767, 32767, rng.randint(-32767, 32767))) for _ in range(size)]
                if index == 0:
                    queries = [32767] * size
                totals[index] += sum(a * b for a, b in zip(keys, queries, strict=True))
                last = part == parts - 1
                tags = rng.randrange(2), rng.randrange(16), rng.getrandbits(1), int(index == steps - 1)
                if last:
                    wanted.append((totals[index], *tags))
                slot, head, fresh, ends = tags
                step = {"at": {"slot": slot, "head": head}, "address": 0, "index": index,
                        "first": part == 0, "last": last, "ends": ends, "fresh": fresh}  # fmt: skip
                given.append((keys, queries, step))
    found: list[tuple] = []
    times: list[int] = []

    async def watch(ctx) -> None:
        dot, cycle = dut.dot, 0
        async for _, _, en, value, slot, head, fresh, ends in ctx.tick().sample(
            dut.dot_en, dot.dot, dot.at.slot, dot.at.head, dot.fresh, dot.ends
        ):
            if en:
                found.append((value, slot, head, fresh, ends))
                times.append(cycle)
            cycle += 1

    async def bench(ctx) -> None:
        pipe: list = []
        lasts = []
        empty = {"at": {"slot": 0, "head": 0}, "address": 0, "index": 0, "first": 0, "last": 0, "ends": 0,
                 "fresh": 0}  # fmt: skip
        cycle = 0
        while given or any(pipe[-40:]):
            ctx.set(products.value, 0)
            ctx.set(products.weight, rng.getrandbits(24))
            step = None
            if given and (eager or rng.random() < 0.6):
                keys, queries, step = given.pop(0)
                ctx.set(products.data, int.from_bytes(bytes(x & 0xFF for x in keys), "little"))
                ctx.set(products.query, sum((x & 0xFFFF) << 16 * i for i, x in enumerate(queries)))
                if step["last"]:
                    lasts.append(cycle)
            pipe.append(step)
            beside = pipe[-1 - StepSums.LATENCY] if len(pipe) > StepSums.LATENCY else None
            ctx.set(dut.en, beside is not None)
            ctx.set(dut.step, beside or empty)
            await ctx.tick()
            cycle += 1
        assert found == wanted
        assert times == [at + StepSums.LATENCY + dut.latency for at in lasts]

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(bench)
    simulator.run()
