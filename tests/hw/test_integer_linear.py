"""IntegerLinear: results of LINEAR; logits and ranking of HEAD; with a ragged tape and a slow store."""

import dataclasses
import random
from collections.abc import Sequence

import pytest
import torch
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.activation_buffer import ActivationBuffer
from hw.integer_linear import IntegerLinear
from hw.isa import encode
from hw.machine import CI, NARROW, WIDE, MachineConfig
from models import numerics

from .tape_bench import TapeBench

TINY = dataclasses.replace(CI, tables=3, head_lanes=4, tile=1, top_k=5)


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
class Matrix:
    """One LINEAR or HEAD: activations [live tokens, k], codes [rows, k], row scales [rows], scales [live
    tokens].

    `group` 0: none. `scales` and `minima` [rows, groups] of 16 bits. `lanes`: bytes in a unit of the tape.
    """

    activations: torch.Tensor
    codes: torch.Tensor
    row_scales: torch.Tensor
    scale: torch.Tensor
    lanes: int
    name: str = "HEAD"
    bits: int = 8
    group: int = 0
    scales: torch.Tensor | None = None
    minima: torch.Tensor | None = None
    q: int = 0
    acc: int = 0
    slot: int = 0

    @classmethod
    def random(
        cls, seed: int, rows: int, k: int, lanes: int, name: str = "HEAD", live: int = 1, bits: int = 8,
        group: int = 0, minima: bool = False, levels: int = 127, q: int = 0, acc: int = 0,
    ) -> "Matrix":  # fmt: skip
        """All codes of so many bits, -128 and -8 too; activations within +-levels; `group` in units."""
        source = torch.Generator().manual_seed(seed)

        def draw(low: int, high: int, *shape: int) -> torch.Tensor:
            return torch.randint(low, high + 1, shape, generator=source)

        group *= lanes * 4 // bits
        groups = -(-k // group) if group else 0
        return cls(
            draw(-levels, levels, live, k),
            draw(-(1 << bits - 1), (1 << bits - 1) - 1, rows, k),
            numerics.flush(torch.rand(rows, generator=source) * 1e-3),
            torch.tensor(0.037) / torch.arange(1, live + 1),
            lanes, name, bits, group,
            draw(-(2**15), 2**15 - 1, rows, groups) if group else None,
            draw(-(2**15), 2**15 - 1, rows, groups) if minima else None,
            q, acc, slot=(seed * 13 + 126) % 128,
        )  # fmt: skip

    def word(self, emit: int = 0) -> int:
        rows, k = self.codes.shape
        own = {"emit": emit} if self.name == "HEAD" else {"acc": self.acc}
        return encode(
            self.name, rows=rows, k=k, q=self.q, scale=self.slot, width=int(self.bits == 4), group=self.group,
            minima=int(self.minima is not None), **own,
        )  # fmt: skip

    @property
    def live(self) -> int:
        return self.activations.shape[0]

    @property
    def unit(self) -> int:
        """Codes of a row in a unit."""
        return self.lanes * 4 // self.bits

    @property
    def scalars(self) -> dict[int, int]:
        """The scales by index, which wraps."""
        return {
            (self.slot + t) % 128: bits for t, bits in enumerate(numerics.float_bits(self.scale).tolist())
        }

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        """The tape, in the parts that are taken in a cycle each: units, tails of groups, row scales."""
        rows, k = self.codes.shape
        found: list[tuple[str, bytes]] = []
        filler = torch.randint(-8, 8, (rows % 2, k), generator=torch.Generator().manual_seed(9))
        codes = torch.cat((self.codes, filler))
        scales = [*numerics.float_bits(self.row_scales).tolist(), 0x7FC00000]
        for even in range(0, rows, 2):
            for g, at in enumerate(range(0, k, self.group or k)):
                of_group = codes[even : even + 2, at : at + (self.group or k)]
                count = -(-of_group.shape[1] // self.unit) * self.unit
                both = torch.full((2, count), 7)
                both[:, : of_group.shape[1]] = of_group
                packed = bytes(numerics.pack_pair(both[0], both[1], self.bits, self.unit).tolist())
                found += [("unit", packed[i : i + self.lanes]) for i in range(0, len(packed), self.lanes)]
                tables = [t for t in (self.scales, self.minima) if t is not None]
                tail = [int(t[r, g]) if r < rows else -5 for t in tables for r in (even, even + 1)]
                if tail:
                    found.append(("group", b"".join(v.to_bytes(2, "little", signed=True) for v in tail)))
            pair = b"".join(scales[r].to_bytes(4, "little") for r in (even, even + 1))
            found.append(("scales", pair))
        return found

    @property
    def tape(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    @property
    def products(self) -> int:
        return self.live * 2 * self.unit * sum(kind == "unit" for kind, _ in self.parts)

    @property
    def logits(self) -> torch.Tensor:
        """[live tokens, rows]."""
        acc = numerics.grouped_linear(self.activations, self.codes, self.group, self.scales, self.minima)
        return numerics.fmul(numerics.dequantise(acc, self.scale.unsqueeze(-1)), self.row_scales)

    @property
    def emitted(self) -> list[int]:
        """Results in the order of the ISA: row by row, in a row token by token."""
        return numerics.float_bits(self.logits.T).flatten().tolist()


def packed_activations(values: Sequence[int], bits: int) -> int:
    """Activations as the write port wants them."""
    return sum((v & (1 << bits) - 1) << i * bits for i, v in enumerate(values))


def run(
    config: MachineConfig, works: Sequence[Matrix], pattern: str, emit: bool, ready: float = 1.0,
    seed: int = 0,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Execute matrices and check their results; cycles from command to done of each, and bytes taken in each
    cycle from the command of the last one on."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.buffer = buffer = ActivationBuffer(config)
    m.submodules.dut = dut = IntegerLinear(config)
    wiring.connect(m, dut.read, buffer.read)
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
                beyond = [rng.randint(-100, 100) for _ in range(-len(activations) % config.lanes)]
                for i in range(0, len(activations), config.lanes):
                    values = (activations + beyond)[i : i + config.lanes]
                    ctx.set(buffer.write.address, work.q + i)
                    ctx.set(buffer.write.data, packed_activations(values, config.activation_bits))
                    await ctx.tick()
            ctx.set(buffer.write.en, 0)
            bit = rng.randrange(16)
            mask = 1 << bit if emit else 0xFFFF ^ 1 << bit
            ctx.set(dut.predicates, mask if work.name == "HEAD" else 0xFFFF)
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
            results: list[tuple[int, int, int]] = []
            took = products = done = 0
            while not done:
                now = rng.random() < ready
                ctx.set(dut.logits.ready, now)
                _, _, valid, logit, written, place, count, done = await ctx.tick().sample(
                    dut.logits.valid, dut.logits.payload, dut.result.en, Cat(
                        dut.result.row, dut.result.token, dut.result.data
                    ), dut.products, dut.done,
                )  # fmt: skip
                took += 1
                products += count
                if valid and now:
                    logits.append(logit)
                if written:
                    results.append((place & 0xFFFF, place >> 16 & 7, place >> 19))
            cycles.append(took)
            assert products == work.products
            if work.name == "HEAD":
                assert logits == (work.emitted if emit else [])
                assert not results
                next_token[: work.live] = [numerics.argmax(row) for row in work.logits]
                await check_top(ctx, dut, work.logits, config)
            else:
                rows = range(work.acc, work.acc + work.codes.shape[0])
                places = [(row, t) for row in rows for t in range(work.live)]
                assert [place[:2] for place in results] == places
                assert [place[2] for place in results] == work.emitted
                assert not logits
            assert [ctx.get(dut.next_token[t]) for t in range(config.tile)] == next_token
            for _ in range(5):
                assert not ctx.get(dut.busy)
                assert not ctx.get(dut.tape.want)
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


def mixed(seed: int, config: MachineConfig, count: int) -> list[Matrix]:
    """Matrices of all kinds: any k, odd rows, both widths, groups, minima, any number of live tokens."""
    rng = random.Random(seed)
    levels = 127 if config.activation_bits == 8 else 2047
    works = []
    for i in range(count):
        bits = (8, 4)[i % 2]
        unit = config.unit_codes(bits)
        # Each second width: several groups of two units, the last one ragged.
        k = rng.choice((1, rng.randrange(1, 2 * unit), unit, 3 * unit, rng.randrange(1, 5 * unit)))
        group = rng.choice((0, 1, 2))
        if i % 4 < 2:
            k, group = rng.randrange(4 * unit + 1, 6 * unit), 2
        works.append(
            Matrix.random(
                seed * 100 + i, rng.randrange(1, 8), k, config.head_lanes, rng.choice(("HEAD", "LINEAR")),
                rng.randint(1, config.tile), bits, group, minima=group > 0 and rng.random() < 0.6,
                levels=levels, q=16 * rng.randrange(5), acc=rng.randrange(0, 64, config.lanes),
            )
        )  # fmt: skip
    return works


SHAPES = [
    pytest.param(lanes, tile, family, bits, pattern, ready, id=f"{lanes}_{tile}_{family}_{bits}_{pattern}")
    for lanes, tile, family, bits, pattern, ready in (
        (4, 1, "ecp5", 12, "ragged", 0.4),
        (4, 8, "xcup", 8, "full", 1.0),
        (2, 2, "ecp5", 8, "ragged", 1.0),
        (16, 4, "ecp5", 12, "ragged", 1.0),
        (16, 1, "xcup", 12, "scarce", 0.5),
        (16, 2, "ecp5", 8, "full", 0.5),
        (64, 1, "xcup", 12, "ragged", 1.0),
    )
]


@pytest.mark.parametrize(("lanes", "tile", "family", "bits", "pattern", "ready"), SHAPES)
def test_mixed(lanes: int, tile: int, family: str, bits: int, pattern: str, ready: float):
    config = dataclasses.replace(TINY, head_lanes=lanes, tile=tile, family=family, activation_bits=bits)
    config = dataclasses.replace(config, multiply_cycles=4 if tile == 1 else 3)
    count = 10 if lanes * tile <= 32 else 4
    run(config, mixed(lanes + tile, config, count), pattern, emit=True, ready=ready)


@pytest.mark.parametrize(
    ("tile", "live", "bits", "k", "group", "pair"),
    [(1, 1, 8, 2, 0, 2), (1, 1, 8, 6, 0, 4), (1, 1, 4, 6, 0, 3), (1, 1, 8, 6, 1, 7), (1, 1, 4, 24, 2, 10),
     (2, 2, 8, 2, 0, 4), (4, 1, 8, 2, 0, 2), (4, 3, 8, 2, 1, 6), (4, 4, 8, 6, 0, 8), (8, 8, 8, 28, 0, 16),
     (8, 8, 8, 32, 0, 17)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["HEAD", "LINEAR"])
def test_cycle_budget(tile: int, live: int, bits: int, k: int, group: int, pair: int, name: str):
    """A pair takes max(units + tails of groups + 1, 2 * live tokens) cycles, the next follows at once."""
    rows = 31
    config = dataclasses.replace(TINY, tile=tile, multiply_cycles=4 if tile == 1 else 3)
    dut = IntegerLinear(config)
    assert (dut.engine.latency, dut.latency) == ((9, 20) if tile == 1 else (8, 17))
    work = Matrix.random(0, rows, k, 4, name, live, bits, group, minima=bool(group))
    cycles, takes = run(config, [work], "full", emit=True)
    begin = next(i for i, take in enumerate(takes) if take)
    assert begin == 1 + live
    own = [len(part) for _, part in work.parts]
    # The first pair takes its own cycles; that it waits shows in the next one.
    mine = len(own) // 16
    end = begin + mine + pair * 15
    assert [take for take in takes[begin:end] if take] == own
    assert max(takes[end:], default=0) == 0
    assert takes[end - 1] == 8
    # The single row of the last pair; HEAD ranks for two cycles more.
    # `takes` begins with the command's cycle, `cycles` after it.
    assert cycles == [end - 1 + dut.latency + live - 1 + 2 * (name == "HEAD")]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("activation", [-2047, 2047])
@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_largest_sums(activation: int, bits: int, family: str):
    """All codes at the lower end, and the factors at either: the sums fill their registers."""
    config = dataclasses.replace(TINY, head_lanes=16, tile=1, family=family)
    base = Matrix.random(0, 2, 64, 16, bits=bits, group=2, minima=True, levels=2047)
    assert base.scales is not None
    ends = torch.tensor([[-(2**15)], [2**15 - 1]]).expand(base.scales.shape)
    work = dataclasses.replace(
        base, activations=torch.full((1, 64), activation), scales=ends, minima=-1 - ends,
        codes=torch.tensor([[-(1 << bits - 1)], [(1 << bits - 1) - 1]]).expand(2, 64),
    )  # fmt: skip
    run(config, [work, dataclasses.replace(work, group=0, scales=None, minima=None)], "full", emit=True)


def test_sums_wrap():
    """Beyond 48 bits a sum is what it is modulo 2^48."""
    config = dataclasses.replace(TINY, head_lanes=64, quantised_words=16384)
    groups, k = 2, 16384
    scales = torch.tensor([[-(2**15)], [2**15 - 1]]).expand(2, groups)
    base = Matrix.random(0, 2, k, 64, "LINEAR", bits=8, group=k // groups // 32, levels=2047)
    work = dataclasses.replace(
        base, activations=torch.full((1, k), 2047), codes=torch.full((2, k), -128), scales=scales,
        minima=-1 - scales,
    )  # fmt: skip
    exact = (-128 * scales[:, 0] - 1 - scales[:, 0]) * 2047 * k
    assert (
        exact != numerics.grouped_linear(work.activations, work.codes, work.group, scales, work.minima)
    ).all()
    run(config, [work], "full", emit=False)


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
    work = Matrix(ones[:1].repeat(2, 1), ones, scales, scale=torch.tensor([0.25, -0.5]), lanes=4)
    run(dataclasses.replace(TINY, tile=2), [work], "ragged", emit=False)


@pytest.mark.parametrize("config", [CI, NARROW, WIDE], ids=lambda machine: machine.name)
def test_machines(config: MachineConfig):
    run(config, mixed(3, config, 3), "ragged", emit=True, ready=0.7)
