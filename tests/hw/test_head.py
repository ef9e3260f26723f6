"""Head: logits, next tokens and ranking, with a ragged tape and a slow store, against numerics."""

import dataclasses
import random
from collections.abc import Sequence

import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.activation_buffer import ActivationBuffer
from hw.head import Head
from hw.isa import encode
from hw.machine import CI, NARROW, WIDE, MachineConfig
from models import numerics

from .tape_bench import TapeBench

TINY = dataclasses.replace(CI, tables=3, head_lanes=4, tile=1, top_k=5)
MACHINES = [TINY, dataclasses.replace(TINY, tile=4), CI, NARROW, WIDE]


async def check_top(ctx, dut: wiring.Component, logits: torch.Tensor, config: MachineConfig) -> None:
    """`dut.top` after a HEAD with these logits, [live tokens, rows]; and that tokens beyond have none."""
    for t in range(config.tile):
        ctx.set(dut.top.token, t)
        ids, values = numerics.top_k(logits[t : t + 1].flatten(), config.top_k)
        found = []
        for rank in range(config.top_k + 1):
            ctx.set(dut.top.rank, rank)
            await ctx.tick()
            if not ctx.get(dut.top.valid):
                break
            found.append((ctx.get(dut.top.index), ctx.get(dut.top.value)))
        assert found == list(zip(ids.tolist(), numerics.float_bits(values).tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Classifier:
    """One HEAD: activations [live tokens, k], codes [rows, k], row scales [rows], scales [live tokens]."""

    activations: torch.Tensor
    codes: torch.Tensor
    row_scales: torch.Tensor
    scale: torch.Tensor
    q: int = 0
    slot: int = 0

    @classmethod
    def random(cls, seed: int, rows: int, k: int, q: int = 0, live: int = 1) -> "Classifier":
        source = torch.Generator().manual_seed(seed)
        return cls(
            torch.randint(-127, 128, (live, k), generator=source),
            torch.randint(-127, 128, (rows, k), generator=source),
            numerics.flush(torch.rand(rows, generator=source) * 1e-3),
            torch.tensor(0.037) / torch.arange(1, live + 1), q, slot=(seed * 13 + 126) % 128,
        )  # fmt: skip

    def word(self, emit: int = 0) -> int:
        rows, k = self.codes.shape
        return encode("HEAD", rows=rows, k=k, q=self.q, scale=self.slot, emit=emit)

    @property
    def live(self) -> int:
        return self.activations.shape[0]

    @property
    def scalars(self) -> dict[int, int]:
        """The scales by index, which wraps."""
        return {
            (self.slot + t) % 128: bits for t, bits in enumerate(numerics.float_bits(self.scale).tolist())
        }

    @property
    def tape(self) -> bytes:
        scales = numerics.float_bits(self.row_scales).tolist()
        rows = zip(self.codes.tolist(), scales, strict=True)
        return b"".join(bytes(v & 0xFF for v in row) + scale.to_bytes(4, "little") for row, scale in rows)

    @property
    def logits(self) -> torch.Tensor:
        """[live tokens, rows]."""
        acc = numerics.integer_linear(self.activations, self.codes)
        return numerics.fmul(numerics.dequantise(acc, self.scale.unsqueeze(-1)), self.row_scales)

    @property
    def emitted(self) -> list[int]:
        """Logits in the order of the ISA: row by row, in a row token by token."""
        return numerics.float_bits(self.logits.T).flatten().tolist()


def run(
    config: MachineConfig, works: Sequence[Classifier], pattern: str, emit: bool, ready: float = 1.0,
    seed: int = 0,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Execute HEADs and check their results; cycles from command to done of each, and bytes taken in each
    cycle from the command of the last one on."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.buffer = buffer = ActivationBuffer(config)
    m.submodules.dut = dut = Head(config)
    m.d.comb += [buffer.read.block.eq(dut.read.block), dut.read.data.eq(buffer.read.data)]
    tape = TapeBench(dut, config.unit_bytes, b"".join(w.tape for w in works) + bytes(64), pattern, seed)
    cycles: list[int] = []

    async def scalars(ctx) -> None:
        async for index in ctx.changed(dut.scalar.index):
            values = works[min(len(cycles), len(works) - 1)].scalars
            ctx.set(dut.scalar.value, values.get(index[0], 0xDEADBEEF))

    async def execute(ctx) -> None:
        next_token = [0] * config.tile
        for work in works:
            ctx.set(buffer.write.en, 1)
            for token, activations in enumerate(work.activations.tolist()):
                ctx.set(buffer.write.token, token)
                for i in range(0, len(activations), config.lanes):
                    values = bytes(v & 0xFF for v in activations[i : i + config.lanes])
                    ctx.set(buffer.write.address, work.q + i)
                    ctx.set(buffer.write.data, int.from_bytes(values, "little"))
                    await ctx.tick()
            ctx.set(buffer.write.en, 0)
            bit = rng.randrange(16)
            ctx.set(dut.predicates, 1 << bit if emit else 0xFFFF ^ 1 << bit)
            ctx.set(dut.command.p.word, work.word(bit))
            ctx.set(dut.command.p.more, work.live - 1)
            ctx.set(dut.command.valid, 1)
            assert ctx.get(dut.command.ready)
            await ctx.tick()
            ctx.set(dut.command.valid, 0)
            ctx.set(dut.command.payload.as_value(), 0)
            ctx.set(dut.predicates, 0)
            tape.takes.clear()
            logits: list[int] = []
            took = products = done = 0
            while not done:
                now = rng.random() < ready
                ctx.set(dut.logits.ready, now)
                _, _, valid, logit, count, done = await ctx.tick().sample(
                    dut.logits.valid, dut.logits.payload, dut.products, dut.done
                )
                took += 1
                products += count
                if valid and now:
                    logits.append(logit)
            cycles.append(took)
            assert products == work.live * work.codes.numel()
            assert logits == (work.emitted if emit else [])
            next_token[: work.live] = [numerics.argmax(row) for row in work.logits]
            assert [ctx.get(dut.next_token[t]) for t in range(config.tile)] == next_token
            await check_top(ctx, dut, work.logits, config)
            for _ in range(5):
                assert not ctx.get(dut.busy)
                assert not ctx.get(dut.logits.valid)
                await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(execute)
    sim.add_testbench(tape.run, background=True)
    sim.add_testbench(scalars, background=True)
    sim.run()
    assert tape.position == sum(len(w.tape) for w in works), "took another instruction's bytes"
    return cycles, tape.takes


@pytest.mark.parametrize(
    "config", MACHINES, ids=lambda machine: f"{machine.name}{machine.head_lanes}_{machine.tile}"
)
@pytest.mark.parametrize(
    ("pattern", "ready", "emit"),
    [("full", 1.0, True), ("ragged", 0.4, True), ("full", 0.1, True), ("scarce", 0.0, False)],
)
def test_logits(config: MachineConfig, pattern: str, ready: float, emit: bool):
    """Rows of one unit, which have to wait for their sums' turns, and of three, in tiles of all sizes."""
    shapes = [(1 + 2 * (live % 2), live) for live in range(1, config.tile + 1)] + [(1, config.tile)]
    works = [
        Classifier.random(i, rows=12, k=units * config.head_lanes, q=16 * (3 + i), live=live)
        for i, (units, live) in enumerate(shapes)
    ]
    random.Random(1).shuffle(works)
    run(config, works, pattern, emit, ready)


@pytest.mark.parametrize(
    ("tile", "live", "k", "row"),
    [(1, 1, 12, 4), (1, 1, 4, 2), (2, 2, 4, 2), (4, 1, 4, 2), (4, 2, 4, 2), (4, 3, 4, 3), (4, 4, 4, 4),
     (4, 4, 12, 4), (8, 8, 12, 8), (8, 8, 28, 8), (8, 8, 32, 9)],
)  # fmt: skip
def test_cycle_budget(tile: int, live: int, k: int, row: int):
    """A row takes max(k / head_lanes + 1, live tokens) cycles. 14 cycles after the last, and one more for
    each live token but the first, the HEAD is done."""
    rows = 30
    config = dataclasses.replace(TINY, tile=tile)
    assert Head(config).latency == 14
    cycles, takes = run(config, [Classifier.random(0, rows, k, live=live)], "full", emit=True)
    begin = next(i for i, take in enumerate(takes) if take)
    assert begin == 1 + live
    # The first row takes its own cycles; that it waits shows in the next one.
    own = k // 4 + 1
    assert takes[begin : begin + own + row * (rows - 1)].count(4) == rows * own
    assert cycles == [live + own + row * (rows - 1) + 14 + live - 1]


@pytest.mark.parametrize(("activation", "code"), [(127, 127), (-127, 127), (127, -128), (-127, -127)])
def test_largest_sums(activation: int, code: int):
    base = Classifier.random(0, rows=1, k=64, live=CI.tile)
    work = dataclasses.replace(
        base, activations=torch.full((CI.tile, 64), activation), codes=torch.full((1, 64), code)
    )
    run(CI, [work], "full", emit=True)


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
    scales = numerics.flush(torch.tensor(row_scales))
    work = Classifier(ones[:1].repeat(2, 1), ones, scales, scale=torch.tensor([0.25, -0.5]))
    run(dataclasses.replace(TINY, tile=2), [work], "ragged", emit=False)
