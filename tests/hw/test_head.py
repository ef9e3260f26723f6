"""Head: logits and next token, with a ragged tape and a store that makes it wait, against numerics."""

import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.activation_buffer import ActivationBuffer
from hw.head import Head
from hw.isa import encode
from hw.machine import CI, NARROW, WIDE, MachineConfig
from models import numerics

from .tape_bench import TapeBench

TINY = dataclasses.replace(CI, tables=3, head_lanes=4)
MACHINES = [TINY, CI, NARROW, WIDE]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """One HEAD: activations [k], codes [rows, k], row scales [rows], scale of the token."""

    activations: torch.Tensor
    codes: torch.Tensor
    row_scales: torch.Tensor
    scale: torch.Tensor
    q: int = 0
    slot: int = 0

    @classmethod
    def random(cls, seed: int, rows: int, k: int, q: int = 0) -> "Classifier":
        source = torch.Generator().manual_seed(seed)
        return cls(
            torch.randint(-127, 128, (k,), generator=source),
            torch.randint(-127, 128, (rows, k), generator=source),
            numerics.flush(torch.rand(rows, generator=source) * 1e-3),
            torch.tensor(0.037), q, slot=seed % 128,
        )  # fmt: skip

    def word(self, emit: int = 0) -> int:
        rows, k = self.codes.shape
        return encode("HEAD", rows=rows, k=k, q=self.q, scale=self.slot, emit=emit)

    @property
    def tape(self) -> bytes:
        scales = numerics.float_bits(self.row_scales).tolist()
        rows = zip(self.codes.tolist(), scales, strict=True)
        return b"".join(bytes(v & 0xFF for v in row) + scale.to_bytes(4, "little") for row, scale in rows)

    @property
    def logits(self) -> torch.Tensor:
        acc = numerics.integer_linear(self.activations, self.codes)
        return numerics.fmul(numerics.dequantise(acc, self.scale), self.row_scales)


def run(
    config: MachineConfig, work: Classifier, pattern: str, emit: bool, ready: float = 1.0, seed: int = 0
) -> tuple[int, list[int]]:
    """Execute one HEAD and check its results; cycles from command to done, and bytes taken in each cycle."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.buffer = buffer = ActivationBuffer(config)
    m.submodules.dut = dut = Head(config)
    m.d.comb += [buffer.read.block.eq(dut.read.block), dut.read.data.eq(buffer.read.data)]
    with m.If(dut.scalar.index == work.slot):
        m.d.comb += dut.scalar.value.eq(int(numerics.float_bits(work.scale)))
    tape = TapeBench(dut, config.unit_bytes, work.tape + bytes(64), pattern, seed)
    expected = numerics.float_bits(work.logits).tolist()
    logits: list[int] = []
    products = cycles = 0

    async def execute(ctx) -> None:
        nonlocal products, cycles
        ctx.set(buffer.write.en, 1)
        for i in range(0, len(work.activations), config.lanes):
            values = work.activations[i : i + config.lanes].tolist()
            ctx.set(buffer.write.address, work.q + i)
            ctx.set(buffer.write.data, int.from_bytes(bytes(v & 0xFF for v in values), "little"))
            await ctx.tick()
        ctx.set(buffer.write.en, 0)
        bit = rng.randrange(16)
        ctx.set(dut.predicates, 1 << bit if emit else 0xFFFF ^ 1 << bit)
        ctx.set(dut.command.payload.as_value(), work.word(bit))
        ctx.set(dut.command.valid, 1)
        assert ctx.get(dut.command.ready)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)
        ctx.set(dut.command.payload.as_value(), 0)
        ctx.set(dut.predicates, 0)
        tape.takes.clear()
        done = False
        while not done:
            now = rng.random() < ready
            ctx.set(dut.logits.ready, now)
            _, _, valid, logit, count, done = await ctx.tick().sample(
                dut.logits.valid, dut.logits.payload, dut.products, dut.done
            )
            cycles += 1
            products += count
            if valid and now:
                logits.append(logit)
        assert ctx.get(dut.next_token) == numerics.argmax(work.logits)
        for _ in range(5):
            assert not ctx.get(dut.busy)
            assert not ctx.get(dut.logits.valid)
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(execute)
    sim.add_testbench(tape.run, background=True)
    sim.run()
    assert tape.position == len(work.tape), "took another instruction's bytes"
    assert products == work.codes.numel()
    assert logits == (expected if emit else [])
    return cycles, tape.takes


@pytest.mark.parametrize("config", MACHINES, ids=lambda machine: f"{machine.name}{machine.head_lanes}")
@pytest.mark.parametrize(
    ("pattern", "ready", "emit"),
    [("full", 1.0, True), ("ragged", 0.4, True), ("full", 0.1, True), ("scarce", 0.0, False)],
)
def test_logits(config: MachineConfig, pattern: str, ready: float, emit: bool):
    for i, units in enumerate((1, 3)):
        work = Classifier.random(i + 1, rows=12, k=units * config.head_lanes, q=16 * (3 + i))
        run(config, work, pattern, emit, ready, seed=i)


def test_cycle_budget():
    """A row takes k / head_lanes + 1 cycles, without a gap; 14 cycles later the HEAD is done."""
    rows, k = 9, 12
    cycles, takes = run(TINY, Classifier.random(0, rows, k), "full", emit=True)
    begin = next(i for i, take in enumerate(takes) if take)
    assert takes[begin : begin + rows * 4] == [4] * (rows * 4)
    assert cycles == 1 + rows * 4 + 14


@pytest.mark.parametrize(("activation", "code"), [(127, 127), (-127, 127), (127, -128), (-127, -127)])
def test_largest_sums(activation: int, code: int):
    base = Classifier.random(0, rows=1, k=64)
    work = dataclasses.replace(
        base, activations=torch.full((64,), activation), codes=torch.full((1, 64), code)
    )
    run(CI, work, "full", emit=True)


@pytest.mark.parametrize(
    "row_scales",
    [
        [0.5, 1.0, 1.0, 0.25],  # a tie goes to the first
        [float("nan"), -1.0, float("nan")],  # NaN is lowest
        [float("nan")] * 3,
        [-0.0, 0.0, -0.0],
        [float("-inf"), float("nan"), -3e38],
        [1e-38, 2e-38, float("inf"), float("inf")],
    ],
)
def test_next_token_of_odd_logits(row_scales: list[float]):
    ones = torch.ones(len(row_scales), 4, dtype=torch.int64)
    work = Classifier(ones[0], ones, numerics.flush(torch.tensor(row_scales)), scale=torch.tensor(0.25))
    run(TINY, work, "ragged", emit=False)
