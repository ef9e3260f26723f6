"""TernaryEngine: the sum of every row of every chunk, and the cycles it takes, against numerics."""

import dataclasses
import itertools
import random
from collections.abc import Sequence

import pytest
import torch
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.activation_buffer import ActivationBuffer
from hw.isa import encode
from hw.machine import CI, MachineConfig
from hw.ternary_engine import TernaryEngine
from models import numerics

from .tape_bench import PATTERNS, TapeBench

SMALL = dataclasses.replace(CI, tables=3, lanes=4, head_lanes=4, quantised_words=2048)
BYTE = dataclasses.replace(SMALL, table_form="byte")
PLACED = dataclasses.replace(BYTE, family="xcup")
FORMS = pytest.mark.parametrize("small", [SMALL, BYTE, PLACED], ids=["split", "byte", "byte, xcup"])


@dataclasses.dataclass(frozen=True)
class Linear:
    """One MATMUL: activations [live tokens, k], trits [rows, k], where they lie."""

    activations: torch.Tensor
    trits: torch.Tensor
    q: int
    acc: int

    @classmethod
    def random(cls, seed: int, rows: int, k: int, q: int = 0, acc: int = 0, live: int = 1) -> "Linear":
        source = torch.Generator().manual_seed(seed)
        return cls(
            torch.randint(-127, 128, (live, k), generator=source),
            torch.randint(-1, 2, (rows, k), generator=source), q, acc,
        )  # fmt: skip

    @property
    def word(self) -> int:
        rows, k = self.trits.shape
        return encode("MATMUL", rows=rows, k=k, q=self.q, acc=self.acc)

    @property
    def more(self) -> int:
        return self.activations.shape[0] - 1

    def tape(self, tables: int) -> bytes:
        """The bytes in order of the ISA: chunk by chunk, in a chunk row by row."""
        packed = numerics.pack_trits(self.trits)
        return b"".join(bytes(part.flatten().tolist()) for part in packed.split(tables, dim=1))

    def chunk_sums(self, tables: int) -> list[tuple[list[int], int, int, int, int]]:
        """(sums of the live tokens, row, more, first, done) in the order in which they leave the engine."""
        width, made = tables * numerics.TRITS_PER_BYTE, []
        parts = list(zip(self.activations.split(width, 1), self.trits.split(width, 1), strict=True))
        for c, (activations, trits) in enumerate(parts):
            sums = numerics.integer_linear(activations, trits).T.tolist()
            last = c == len(parts) - 1
            made += [
                (s, self.acc + r, self.more, c == 0, last and r == len(sums) - 1) for r, s in enumerate(sums)
            ]
        return made


def run(
    config: MachineConfig, work: Sequence[Linear], pattern: str, builders: int | None = None
) -> tuple[list[int], list[int]]:
    """Send all commands, check all sums of live tokens; the cycles in which a command was accepted and a row
    was taken. ``builders``: shared ones, which read single activations."""
    m = Module()
    m.submodules.dut = dut = TernaryEngine(config, builders)
    expected = [item for linear in work for item in linear.chunk_sums(config.tables)]
    tape = TapeBench(dut, config.unit_bytes, b"".join(w.tape(config.tables) for w in work), pattern, 7)
    accepted: list[int] = []
    if builders is None:
        # Matmul gives the engine the low 8 bits of each activation.
        m.submodules.buffer = buffer = ActivationBuffer(dataclasses.replace(config, activation_bits=8))
        wiring.connect(m, dut.read, buffer.read)

    async def fill(ctx) -> None:
        lanes = config.lanes
        ctx.set(buffer.write.en, 1)
        for linear in work:
            for token, activations in enumerate(linear.activations.tolist()):
                ctx.set(buffer.write.token, token)
                for i in range(0, len(activations), lanes):
                    values = bytes(v & 0xFF for v in activations[i : i + lanes])
                    ctx.set(buffer.write.address, linear.q + i)
                    ctx.set(buffer.write.data, int.from_bytes(values, "little"))
                    await ctx.tick()
        ctx.set(buffer.write.en, 0)

    async def elements(ctx) -> None:
        """Activations one cycle after their addresses, anything where there are none."""
        rng = random.Random(3)
        memory = {
            (linear.q + i, token): a
            for linear in work
            for token, activations in enumerate(linear.activations.tolist())
            for i, a in enumerate(activations)
        }
        while True:
            _, _, addresses = await ctx.tick().sample(dut.read.address)
            found = [
                [memory.get((a, t), rng.randint(-128, 127)) for t in range(config.tile)] for a in addresses
            ]
            ctx.set(dut.read.data, found)

    async def commands(ctx) -> None:
        if builders is None:
            await fill(ctx)
        for linear in work:
            ctx.set(dut.command.p.word, linear.word)
            ctx.set(dut.command.p.more, linear.more)
            ctx.set(dut.command.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.command.ready)
            accepted.append(len(tape.takes))  # the tape's bench runs after this one
            ctx.set(dut.command.valid, 0)

    async def sums(ctx) -> None:
        position = 0
        async for _, _, row, totals in ctx.tick().sample(dut.row, dut.sums):
            if row.valid:
                found = (list(totals)[: row.more + 1], row.row, row.more, row.first, row.done)
                assert found == expected[position], f"sum {position}"
                position += 1
                if position == len(expected):
                    break
        for _ in range(40):
            await ctx.tick()
            assert not ctx.get(dut.row.valid)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(commands)
    sim.add_testbench(tape.run, background=True)
    if builders is not None:
        sim.add_testbench(elements, background=True)
    sim.add_testbench(sums)
    sim.run()
    assert tape.position == len(tape.content)
    return accepted, [cycle for cycle, take in enumerate(tape.takes) if take]


#: (rows, k): one row, k below, at and above multiples of 5 and of a chunk, few and many rows.
SHAPES = (
    (1, 1), (2, 4), (3, 5), (1, 6), (5, 14), (7, 15), (2, 16), (40, 29), (1, 30), (1, 31), (45, 31), (3, 47),
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("tile", [1, 2, 4])
@FORMS
def test_shapes_back_to_back(small: MachineConfig, tile: int, pattern: str):
    work, q = [], 0
    for i, (rows, k) in enumerate((*SHAPES, *reversed(SHAPES)) if small is SMALL else SHAPES):
        work.append(Linear.random(i, rows, k, q=q, acc=4 * i, live=1 + (3 * i + i // 4) % tile))
        q += -(-k // 16) * 16
    run(dataclasses.replace(small, tile=tile), work, pattern)


@pytest.mark.parametrize(("rows", "tile"), [(242, 1), (243, 8), (244, 1), (251, 2), (252, 1), (300, 8)])
def test_rows_around_the_entries(rows: int, tile: int):
    """Chunks of the byte form whose rows end before, with and after the build of the next one's tables."""
    work = [Linear.random(1, rows, 33, live=tile), Linear.random(2, rows, 14, q=48, live=1)]
    run(dataclasses.replace(BYTE, tile=tile), work, "ragged")


@pytest.mark.parametrize(("family", "tables"), [("ecp5", 1), ("ecp5", 12), ("xcup", 2), ("xcup", 7)])
def test_byte_form_of_families(family: str, tables: int):
    machine = dataclasses.replace(BYTE, tables=tables, family=family, tile=2, head_lanes=16)
    run(machine, [Linear.random(i, 6, k, q=160 * i, live=2) for i, k in enumerate((150, 61, 1))], "ragged")


@pytest.mark.parametrize(
    ("builders", "tile", "pattern"), [(1, 1, "ragged"), (2, 4, "scarce"), (4, 1, "full")]
)
def test_shared_builders(builders: int, tile: int, pattern: str):
    machine = dataclasses.replace(BYTE, tables=4, tile=tile)
    lengths = (33, 1, 20, 40, 5, 21)
    work = [Linear.random(i, 5, k, q=48 * i, live=1 + i % tile) for i, k in enumerate(lengths)]
    run(machine, work, pattern, builders)


@pytest.mark.parametrize("rows", [1, 800])
@pytest.mark.parametrize("builders", [1, 4])
def test_budget_of_shared_builders(builders: int, rows: int):
    machine = dataclasses.replace(BYTE, tables=4)
    accepted, taken = run(machine, [Linear.random(rows, rows, 80)], "full", builders)
    build = 4 // builders * 248 + 2
    assert taken[0] - accepted[0] == build + 1
    begins = taken[::rows]
    assert begins[3] - begins[2] == max(rows, build)


def test_builders_divide_tables():
    with pytest.raises(ValueError, match="builders must divide the number of tables, 3, found 2"):
        TernaryEngine(BYTE, builders=2)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("form", ["split", "byte"])
def test_largest_sums(form: str, sign: int):
    k = 5 * CI.tables
    activations = torch.full((CI.tile, k), 127) * torch.tensor([1, -1] * 2)[:, None]
    machine = dataclasses.replace(CI, table_form=form)
    run(machine, [Linear(activations, torch.full((2, k), sign), q=0, acc=0)], "full")


#: Tokens of the machine, live tokens: the budgets are those of one token.
TILES = pytest.mark.parametrize(("tile", "live"), [(1, 1), (2, 2), (4, 3)])
#: Cycles from the last group of a chunk to its last entry; groups that are loaded in a cycle.
BUILD = {"split": 27, "byte": 248}
LOADED = {"split": 1, "byte": 2}


@pytest.mark.parametrize("k", [65, 64, 61, 30, 130])
@pytest.mark.parametrize("form", BUILD)
def test_start_up(form: str, k: int):
    machine = dataclasses.replace(CI, tile=1, table_form=form)
    accepted, taken = run(machine, [Linear.random(k, rows=1, k=k)], "full")
    assert taken[0] - accepted[0] == BUILD[form] + 2 + -(-min(CI.tables, -(-k // 5)) // LOADED[form])


def loads(machine: MachineConfig) -> int:
    """Cycles in which the groups of a whole chunk come."""
    return -(-machine.tables // LOADED[machine.table_form])


@TILES
@FORMS
def test_start_up_of_a_tile(small: MachineConfig, tile: int, live: int):
    machine = dataclasses.replace(small, tile=tile)
    accepted, taken = run(machine, [Linear.random(1, rows=1, k=40, live=live)], "full")
    assert taken[0] - accepted[0] == BUILD[small.table_form] + 2 + loads(small)


@pytest.mark.parametrize(("tile", "build"), [(2, 5 + 9 * 14), (4, 5 + 9 * 7), (8, 5 + 9 * 4)])
def test_one_token_of_a_tile_is_built_by_all_builders(tile: int, build: int):
    """The first row comes sooner; chunks of one and of several live tokens follow in the same banks."""
    machine = dataclasses.replace(BYTE, tile=tile)
    lives = (1, tile, 1, 1, 2, 1)
    work = [Linear.random(i, rows=70, k=33, q=48 * i, live=live) for i, live in enumerate(lives)]
    accepted, taken = run(machine, work, "full")
    assert TernaryEngine(machine).solo_cycles == build
    assert taken[0] - accepted[0] == build + 2 + loads(machine)


@pytest.mark.parametrize(
    ("tables", "half", "tile", "build"),
    [(9, 4, 4, 5 + 9 * 4), (8, 4, 2, 5 + 9 * 7), (5, 2, 8, 5 + 9 * 2), (3, 0, 2, 5 + 9 * 14)],
)
def test_few_groups_of_one_token_are_built_by_two_tables_each(tables: int, half: int, tile: int, build: int):
    """Chunks built in all three ways follow one another in the same banks; the first row comes sooner."""
    machine = dataclasses.replace(PLACED, tile=tile, tables=tables)
    assert TernaryEngine(machine).twice_k == 5 * half
    few = max(1, half)
    sizes = (5 * few, 5 * few, 5 * few + 1, 5 * few - 3, 3, 11 * tables, 5 * few, 5 * few, 5 * tables - 2, 4)
    lives = (1, tile, 1, 1, 1, 1, 2, 1, 1, 1)
    work = [
        Linear.random(i, rows=3 + 4 * (i % 3), k=k, q=112 * i, live=live)
        for i, (k, live) in enumerate(zip(sizes, lives, strict=True))
    ]
    for pattern in ("full", "ragged"):
        accepted, taken = run(machine, work, pattern)
        assert TernaryEngine(machine).twice_cycles == build
        if pattern == "full":
            assert taken[0] - accepted[0] == build + 2 + -(-few // 2)  # groups come two a cycle


@pytest.mark.parametrize(
    ("more_rows", "tile", "live"), [(-29, 1, 1), (-1, 4, 4), (0, 1, 1), (1, 2, 2), (20, 1, 1)]
)
@FORMS
def test_chunk_period(small: MachineConfig, more_rows: int, tile: int, live: int):
    """A chunk of 3 tables takes max(rows, build + loads), once both banks are in use."""
    build = BUILD[small.table_form] + loads(small)
    rows = build + more_rows
    _, taken = run(
        dataclasses.replace(small, tile=tile), [Linear.random(rows, rows=rows, k=75, live=live)], "full"
    )
    begins = taken[::rows]
    assert [b - a for a, b in itertools.pairwise(begins[2:])] == [max(rows, build)] * 2


@pytest.mark.parametrize(("more_rows", "gap"), [(2, 0), (1, 1), (-29, 31)])
@pytest.mark.parametrize(("tile", "live"), [(1, 1), (4, 3)])
@FORMS
def test_gap_between_instructions(small: MachineConfig, more_rows: int, gap: int, tile: int, live: int):
    """The second instruction's tables are built while the first one's rows stream."""
    rows = BUILD[small.table_form] + loads(small) + more_rows
    second = Linear.random(1, rows=4, k=15, q=16, acc=512, live=live)
    pair = [Linear.random(0, rows=rows, k=15, live=tile + 1 - live), second]
    _, taken = run(dataclasses.replace(small, tile=tile), pair, "full")
    assert taken[rows] - taken[rows - 1] - 1 == gap
