"""StepSums against exact sums, with steps that come now and then; its cells beside its plain form."""

import dataclasses
import random
from pathlib import Path

import pytest
from amaranth.sim import Simulator

from hw.machine import CI, MachineConfig
from hw.part_steps import step_layout
from hw.step_sums import StepSums
from hw.value_sum import in_blocks, sum_bits

from .cell_forms import equal_forms

SIZE = 4


def machine(tokens: int, family: str) -> MachineConfig:
    return dataclasses.replace(
        CI, attention_bytes=SIZE, max_query=64, attention_cores=4 // tokens, max_context=16, family=family
    )


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("tokens", "words"), [(1, 2), (2, 5), (4, 16)])
def test_sums(tokens: int, words: int, stall: float, family: str):
    config = machine(tokens, family)
    assert in_blocks(config) == (family == "xcup")
    dut = StepSums(config)
    rng = random.Random(words)
    bits = sum_bits(config)
    assert bits == 36

    async def bench(ctx) -> None:
        for rows in (1, 16):
            wanted = {(slot, word): [0] * SIZE for slot in range(tokens) for word in range(words)}
            steps = []
            for row in range(rows):
                for slot in range(tokens):
                    for word in range(words):
                        extreme = word == 0
                        values = [-128 if extreme else rng.randint(-128, 127) for _ in range(SIZE)]
                        weight = 2**24 - 1 if extreme else rng.getrandbits(24)
                        for i, x in enumerate(values):
                            wanted[slot, word][i] += weight * x
                        steps.append((slot, word, values, weight, row == 0))
            pipe: list = [None] * 3
            ctx.set(dut.value, 1)
            while steps or any(step is not None for step in pipe[-3:]) or ctx.get(dut.busy):
                step = None
                if steps and rng.random() >= stall:
                    step = steps.pop(0)
                    _, _, values, weight, _ = step
                    ctx.set(dut.data, int.from_bytes(bytes(x & 0xFF for x in values), "little"))
                    ctx.set(dut.weight, weight)
                ctx.set(dut.query, rng.getrandbits(16 * SIZE))
                pipe.append(step)
                ctx.set(dut.step_en, step is not None)
                ctx.set(dut.step.at.slot, step[0] if step else rng.randrange(tokens))
                ctx.set(dut.step.address, step[1] if step else rng.randrange(words))
                ctx.set(dut.step.fresh, step[4] if step else rng.getrandbits(1))
                await ctx.tick()
            for (slot, word), sums in wanted.items():
                ctx.set(dut.en, 1)
                ctx.set(dut.slot, slot)
                ctx.set(dut.address, word)
                await ctx.tick()
                ctx.set(dut.en, 0)
                ctx.set(dut.address, 0)
                for _ in range(rng.randrange(2)):
                    await ctx.tick()
                fields = [ctx.get(dut.sums) >> bits * i & (1 << bits) - 1 for i in range(SIZE)]
                assert [x - (x >> bits - 1 << bits) for x in fields] == sums

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def equal(folder: Path, change: tuple[str, str] = ("", "")) -> bool:
    config = machine(4, "xcup")
    inputs = {
        "value": 1, "data": 8 * SIZE, "query": 16 * SIZE, "weight": 24, "step_en": 1,
        "step": step_layout(config).size, "en": 1, "slot": 2, "address": 4,
    }  # fmt: skip
    results = {"products": 24 * SIZE, "busy": 1, "sums": SIZE * sum_bits(config)}
    stimuli = """
        bool least = draw() % 8 == 0;
        fill(top.data, least);
        fill(top.query, least);
        fill(top.step, false);
        top.weight = least ? 0xffffff : draw() & 0xffffff;
        top.value = draw() % 4 != 0;
        top.step_en = top.value && draw() % 4 != 0;
        top.en = draw() % 2, top.slot = draw() % 4, top.address = draw() % 16;
    """
    return equal_forms(lambda: StepSums(config), inputs, results, stimuli, "dsp48e2_sum.v", folder, change)


def test_cells(tmp_path: Path):
    assert equal(tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(".RND(48'h000000800000)", ".RND(48'h000000800001)"), (".CREG(32'd0)", ".CREG(32'd1)")],
)
def test_a_wrong_block_is_seen(right: str, wrong: str, tmp_path: Path):
    assert not equal(tmp_path, (right, wrong))
