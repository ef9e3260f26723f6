"""Matmul, the whole unit: programs of MATMUL, LINEAR and HEAD, every partial sum, logit, rank and event."""

import dataclasses
import itertools
import random
import warnings
from collections.abc import Sequence

import pytest
import torch
from amaranth.back import verilog
from amaranth.sim import Simulator

from hw.machine import CI, NARROW, WIDE, MachineConfig
from hw.matmul import MAX_UNFINISHED, Matmul
from models import numerics

from .tape_bench import PATTERNS, TapeBench
from .test_integer_linear import Matrix, check_top, packed_activations
from .test_ternary_engine import Linear

TINY = dataclasses.replace(CI, tables=3, head_lanes=4, accumulator_rows=256, tile=1, top_k=5)


def tape_of(work: Sequence[Linear | Matrix], tables: int) -> bytes:
    return b"".join(w.tape(tables) if isinstance(w, Linear) else w.tape for w in work)


class Bench:
    """Runs instructions on one Matmul: activations written before the first, sums read after each done."""

    def __init__(
        self, config: MachineConfig, work: Sequence[Linear | Matrix], pattern: str, ready: float
    ) -> None:
        self.config, self.work, self.ready = config, work, ready
        self.rng = random.Random(len(work))
        self.dut = Matmul(config)
        content = tape_of(work, config.tables) + bytes(99)
        self.tape = TapeBench(self.dut, config.unit_bytes, content, pattern, seed=5)
        self.logits: list[int] = []
        self.lookups = self.integer_products = self.active = 0
        self.issued = self.finished = self.most_unfinished = 0

    def run(self) -> "Bench":
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(self.issue)
        sim.add_testbench(self.finish)
        sim.add_testbench(self.observe, background=True)
        sim.add_testbench(self.scalars, background=True)
        sim.add_testbench(self.tape.run, background=True)
        sim.run()
        self.check_totals()
        return self

    async def issue(self, ctx) -> None:
        dut, lanes = self.dut, self.config.lanes
        ctx.set(dut.predicates, 1)
        ctx.set(dut.q_write.en, 1)
        for w in self.work:
            for token, activations in enumerate(w.activations.tolist()):
                ctx.set(dut.q_write.token, token)
                bits = self.config.activation_bits
                for i in range(0, len(activations), lanes):
                    values = activations[i : i + lanes]
                    if isinstance(w, Linear):  # the low 8 bits count
                        values = [v + 256 * self.rng.randrange(16) for v in values]
                    ctx.set(dut.q_write.address, w.q + i)
                    ctx.set(dut.q_write.data, packed_activations(values, bits))
                    await ctx.tick()
        ctx.set(dut.q_write.en, 0)
        for w in self.work:
            while self.rng.random() < 0.3:
                await ctx.tick()
            ctx.set(dut.unit.command.p.word, w.word if isinstance(w, Linear) else w.word(emit=0))
            ctx.set(dut.unit.command.p.more, w.activations.shape[0] - 1)
            ctx.set(dut.unit.command.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.unit.command.ready)
            self.issued += 1
            ctx.set(dut.unit.command.valid, 0)

    async def finish(self, ctx) -> None:
        """The results of an instruction can be read from the cycle after its done, whatever is under way, but
        TOP only while no other HEAD is. Tokens that were not live have what they had."""
        dut, lanes, tile = self.dut, self.config.lanes, self.config.tile
        sums = [[0] * self.config.accumulator_rows for _ in range(tile)]
        next_token = [0] * tile
        done = 0
        for w in self.work:
            now = 0
            while not now and self.finished <= done:
                _, _, now = await ctx.tick().sample(dut.unit.done)
            done += 1
            if isinstance(w, Matrix) and w.name == "HEAD":
                next_token[: w.live] = [numerics.argmax(row) for row in w.logits]
                assert [ctx.get(dut.next_token[t]) for t in range(tile)] == next_token
                if w is self.work[-1]:
                    await check_top(ctx, dut, w.logits, self.config)
                continue
            if isinstance(w, Matrix):
                rows, results = w.codes.shape[0], w.logits.view(torch.int32)
            else:
                rows, results = w.trits.shape[0], numerics.integer_linear(w.activations, w.trits)
            for t, expected in enumerate(results.tolist()):
                sums[t][w.acc : w.acc + rows] = expected
            ctx.set(dut.accumulator.en, 1)
            for first, t in itertools.product(range(0, rows, lanes), range(tile)):
                ctx.set(dut.accumulator.token, t)
                ctx.set(dut.accumulator.address, w.acc + first)
                await ctx.tick()
                data = ctx.get(dut.accumulator.data).to_bytes(4 * lanes, "little")
                found = [
                    int.from_bytes(data[i : i + 4], "little", signed=True) for i in range(0, 4 * lanes, 4)
                ]
                count = min(lanes, rows - first)
                wanted = sums[t][w.acc + first : w.acc + first + count]
                assert found[:count] == wanted, f"instruction {done - 1}, token {t}, rows from {first}"
            ctx.set(dut.accumulator.en, 0)

    async def observe(self, ctx) -> None:
        dut, owed = self.dut, 0  # bytes of accepted instructions that were not taken
        sizes = iter([len(tape_of([w], self.config.tables)) for w in self.work])
        while True:
            ready = self.rng.random() < self.ready
            ctx.set(dut.logits.ready, ready)
            (_, _, done, valid, logit, first, trits, second, codes, lookups, products, active, holds, offered,
             accepts) = await ctx.tick().sample(
                dut.unit.done, dut.logits.valid, dut.logits.payload, dut.tape[0].take, dut.tape[0].want,
                dut.tape[-1].take, dut.tape[-1].want,  # the same one where there is one
                dut.lookups, dut.integer_products, dut.active, dut.holds_tape, dut.unit.command.valid,
                dut.unit.command.ready,
            )  # fmt: skip
            take = trits if first else codes if second else 0
            assert holds or not (offered or owed)
            owed += (next(sizes) if offered and accepts else 0) - take
            alone = isinstance(self.work[-1], Linear) and self.finished == len(self.work)
            assert not (alone and holds), "kept the tape"
            self.finished += done
            self.most_unfinished = max(self.most_unfinished, self.issued - self.finished)
            if valid and ready:
                self.logits.append(logit)
            self.lookups += lookups
            self.integer_products += products
            self.active += active
            assert active == (take > 0)
            assert take in {0, lookups, 4, 8} or (take == self.config.head_lanes and products % take == 0)

    async def scalars(self, ctx) -> None:
        values: dict[int, int] = {}
        for w in self.work:
            if isinstance(w, Matrix):
                assert not values.keys() & w.scalars.keys()
                values |= w.scalars
        async for index in ctx.changed(self.dut.scalar.index):
            ctx.set(self.dut.scalar.value, values.get(index[0], 0xDEADBEEF))

    def check_totals(self) -> None:
        linears = [w for w in self.work if isinstance(w, Linear)]
        matrices = [w for w in self.work if isinstance(w, Matrix)]
        assert self.finished == self.issued == len(self.work)
        assert self.most_unfinished <= MAX_UNFINISHED
        assert self.tape.position == len(tape_of(self.work, self.config.tables))
        assert self.lookups == sum(w.trits.shape[0] * -(-w.trits.shape[1] // 5) for w in linears)
        assert self.integer_products == sum(w.products for w in matrices)
        assert self.active == sum(take > 0 for take in self.tape.takes)
        assert self.logits == [bits for w in matrices if w.name == "HEAD" for bits in w.emitted]


def program(
    seed: int, config: MachineConfig, shapes: Sequence[tuple[str, int, int]]
) -> list[Linear | Matrix]:
    """Instructions of (kind, rows, k) for any number of tokens that the machine has, activations one after
    another, partial sums with random gaps. LINEAR and HEAD: in turns int8 and int4, without groups and
    with."""
    rng = random.Random(seed)
    work: list[Linear | Matrix] = []
    q = acc = integer = 0
    for i, (kind, rows, k) in enumerate(shapes):
        make, live = seed * 100 + i, rng.randint(1, config.tile)
        if kind == "MATMUL":
            work.append(Linear.random(make, rows, k, q=q, acc=acc, live=live))
        else:
            integer += 1
            work.append(
                Matrix.random(
                    make, rows, k, config.head_lanes, kind, live, bits=(8, 4)[integer % 2],
                    group=integer % 3, minima=integer % 3 == 2,
                    levels=127 if config.activation_bits == 8 else 2047, q=q, acc=acc,
                )
            )  # fmt: skip
        if kind != "HEAD":
            acc += (-(-rows // config.lanes) + rng.randrange(3)) * config.lanes
        q += -(-k // 16) * 16
    assert q <= config.quantised_words
    assert acc <= config.accumulator_rows
    return work


MIXED = [
    ("MATMUL", 1, 33), ("MATMUL", 2, 16), ("MATMUL", 1, 31), ("HEAD", 5, 8), ("MATMUL", 3, 1),
    ("LINEAR", 5, 9), ("LINEAR", 6, 16), ("HEAD", 1, 4), ("LINEAR", 1, 3), ("HEAD", 2, 16),
    ("MATMUL", 37, 46), ("MATMUL", 40, 15), ("LINEAR", 3, 23), ("MATMUL", 1, 75), ("HEAD", 3, 12),
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("tile", "bits"), [(1, 12), (2, 8), (4, 12)])
def test_mixed_program(tile: int, bits: int, pattern: str):
    config = dataclasses.replace(TINY, tile=tile, activation_bits=bits)
    Bench(config, program(tile, config, MIXED), pattern, ready=0.5).run()


@pytest.mark.parametrize("pattern", ["full", "scarce"])
def test_tokens_that_are_not_live(pattern: str):
    """An instruction overwrites rows of earlier ones for other tokens, while the one before is under way."""
    config = dataclasses.replace(TINY, tile=4)
    work = [
        Matrix.random(i, 10, 31, 4, "LINEAR", live, q=32 * i, acc=8 + 12 * (i % 2), bits=4)
        if i in (1, 2, 5)
        else Linear.random(i, rows=10, k=31, q=32 * i, acc=8 + 12 * (i % 2), live=live)
        for i, live in enumerate((4, 1, 3, 2, 4, 2, 1))
    ]
    Bench(config, work, pattern, ready=1.0).run()


@pytest.mark.parametrize("config", [CI, NARROW, WIDE], ids=lambda machine: machine.name)
def test_machines(config: MachineConfig):
    """Remainders of a chunk, exact chunks and more rows than a build hides, on each named machine."""
    width = 5 * config.tables
    shapes = [("MATMUL", 20, width), ("MATMUL", 70, width + 1), ("MATMUL", 2, 64)]
    shapes += [("LINEAR", 3, 2 * config.head_lanes - 1), ("HEAD", 4, 2 * config.head_lanes)]
    Bench(config, program(2, config, shapes), "ragged", ready=0.7).run()


def test_single_rows_follow_each_other():
    """Chunks of one row hit the same partial sum as fast as the tape lets them."""
    work = [Linear.random(i, rows=1, k=15 * 4, q=64 * i, acc=4 * i) for i in range(4)]
    Bench(TINY, work, "scarce", ready=1.0).run()


def test_most_unfinished():
    """Instructions of one chunk on a slow tape: as many are accepted as there is room for."""
    work = [Linear.random(i, rows=24, k=15, q=16 * i, acc=24 * i) for i in range(5)]
    assert Bench(TINY, work, "scarce", ready=1.0).run().most_unfinished == MAX_UNFINISHED


@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_sums(sign: int):
    k = 2 * 5 * CI.tables + 3
    extreme = Linear(torch.full((CI.tile, k), 127), torch.full((3, k), sign), q=0, acc=8)
    assert numerics.integer_linear(extreme.activations, extreme.trits).abs().max() == 127 * k
    Bench(CI, [extreme], "full", ready=1.0).run()


@pytest.mark.parametrize(("tile", "live"), [(1, (1, 1, 1)), (4, (2, 4, 1))])
def test_instructions_overlap(tile: int, live: Sequence[int]):
    """While one MATMUL streams, the tables of the next are built: the tape is taken from without a gap."""
    work = [Linear.random(i, rows=48, k=15, q=16 * i, acc=48 * i, live=live[i]) for i in range(3)]
    bench = Bench(dataclasses.replace(TINY, tile=tile), work, "full", ready=1.0).run()
    begin = next(i for i, take in enumerate(bench.tape.takes) if take)
    assert bench.tape.takes[begin : begin + 3 * 48] == [3] * (3 * 48)
    assert bench.most_unfinished > 1


@pytest.mark.parametrize("tile", [1, 4])
def test_verilog(tile: int):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = verilog.convert(Matmul(dataclasses.replace(TINY, tile=tile)))
    assert "module top" in text
    assert "[-1:0]" not in text, "a signal without bits"
