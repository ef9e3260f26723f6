"""One program for all chunks: however prompts are cut into chunks, tiles and batches, the interpreter has the
golden model's KV rows, logits and next tokens.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from compiler.compile import Compiled, compile_program
from compiler.vectors import kv_memory, kv_rows
from hw.isa import EMIT_LOGITS, WANT_HEAD
from hw.machine import CI, MACHINES, MachineConfig
from models import numerics
from models.golden import GoldenModel, KVCache
from models.quantised import QuantisedModel
from sim.entries import Entry
from sim.interpreter import Interpreter

from ..models.random_model import random_model

SHAPES = {
    "rms": {},
    "l2": {"norm": "l2", "gains": False},
    "sub-norms": {"inner_gain": True, "activation": "relu2", "tied": False},
    "plain": {"inner_norm": False, "tied": False, "layers": 1},
}
#: Rows of KV memory: the sequences of a batch lie in one pool.
ROWS = 120


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors are tiny: threads of torch would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def entries_of(tokens: list[int], position: int, base: int) -> list[Entry]:
    """Neighbouring tokens of one sequence, the first of them beginning at `position`."""
    return [Entry(token, position + i, base, i > 0) for i, token in enumerate(tokens)]


class Bench:
    """A compiled model on an interpreter, and what the golden model says of each sequence."""

    def __init__(self, model: QuantisedModel, machine: MachineConfig, rows: int | None = ROWS) -> None:
        self.model, self.golden = model, GoldenModel(model)
        self.compiled: Compiled = compile_program(model, machine, rows)
        # Memory is random before the image is written.
        memory = np.random.default_rng(1).integers(0, 256, self.compiled.memory.total_bytes, np.uint8)
        memory[: len(self.compiled.image)] = self.compiled.image
        self.interpreter = Interpreter(machine, self.compiled.program, memory)

    def run(self, entries: list[Entry], tile: int, head: bool = True, **options: object) -> list[list[int]]:
        predicates = (1 << WANT_HEAD | 1 << EMIT_LOGITS) * head
        return self.interpreter.run(entries, tile=tile, predicates=predicates, **options)

    def logits(self, tokens: int) -> torch.Tensor:
        """binary32 [tokens, vocab], as stored for the last tile."""
        start, count = self.compiled.memory.regions["logits"].start, tokens * self.model.config.vocab
        data = self.interpreter.memory[start : start + 4 * count].copy()
        return torch.from_numpy(data.view(np.float32)).reshape(-1, tokens).T

    def check(self, ids: list[int], base: int = 0) -> torch.Tensor:
        """KV rows of the sequence `ids` at row `base` are the golden model's; its logits [tokens, vocab]."""
        cache = KVCache.empty(self.model.config)
        logits = self.golden.forward(ids, cache)
        found = kv_rows(
            self.interpreter.memory, self.compiled.memory, self.model.config.layers, len(ids), base
        )
        for wanted, rows in zip(kv_memory(cache, self.compiled.memory), found, strict=True):
            assert np.array_equal(wanted, rows)
        return logits


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert torch.equal(found.contiguous().view(torch.int32), wanted.contiguous().view(torch.int32))


def prefill(bench: Bench, ids: list[int], chunk: int, tile: int, base: int = 0) -> None:
    """Chunk after chunk, the head only in the last; then everything is compared."""
    for at in range(0, len(ids), chunk):
        part, last = ids[at : at + chunk], at + chunk >= len(ids)
        found = bench.run(entries_of(part, at, base), tile, last)
        assert [len(step) for step in found] == [int(last)]
    logits = bench.check(ids, base)
    live = (len(part) - 1) % tile + 1
    same(bench.logits(live), logits[-live:])
    assert found == [[numerics.argmax(logits[-1])]]
    assert bench.interpreter.next_token[:live] == [numerics.argmax(row) for row in logits[-live:]]


PROMPT = [1, *((7 * i + 3) % 50 for i in range(23))]


@pytest.mark.parametrize(
    ("shape", "tile"),
    [("rms", 1), ("rms", 2), ("rms", 4), ("rms", 8), ("l2", 4), ("plain", 2), ("sub-norms", 4)],
)
def test_chunks_and_tiles(shape: str, tile: int):
    """Prompts of several lengths in chunks of several sizes, tiles up to the machine's, uneven last ones."""
    bench = Bench(random_model(3, **SHAPES[shape]), dataclasses.replace(CI, tile=tile))
    for length, chunk, used in (
        (1, 1, tile),
        (tile + 1, 24, tile),
        (13, 7, tile),
        (11, 10, max(1, tile - 1)),
        (24, 24, tile),
    ):
        prefill(bench, PROMPT[:length], chunk, used, base=length)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_machines(machine: MachineConfig):
    model = random_model(4, dim=64, hidden=96, kv_heads=4)
    prefill(Bench(model, machine, None), PROMPT[:11], 6, machine.tile)


def test_rows_narrower_than_the_bus():
    """Spilled, embedding and RoPE rows that do not fill a beat leave no padding on the tape."""
    narrow = dataclasses.replace(MACHINES["narrow"], bus_bytes=64, burst_beats=16, lanes=4, tile=4)
    prefill(Bench(random_model(7, dim=24, heads=6, kv_heads=3), narrow), PROMPT[:9], 9, 4)


def test_wide_lanes():
    """Where the scalars of all matrices are loaded at once, a tile's first ones are not mistaken."""
    machine = dataclasses.replace(MACHINES["wide"], lanes=16, tile=4)
    prefill(Bench(random_model(8, dim=64, hidden=96, kv_heads=4), machine), PROMPT[:11], 11, 4)


def test_decode_after_prefill():
    """Steps that follow a chunk of several tiles: the program begins again with one token."""
    model = random_model(5)
    bench = Bench(model, CI)
    found = [step[0] for step in bench.run(entries_of(PROMPT[:10], 0, 3), 4, steps=6)]
    logits = bench.check([*PROMPT[:10], *found[:-1]], 3)
    assert found == [numerics.argmax(row) for row in logits[9:]]
    same(bench.logits(1), logits[-1:])


def test_batch():
    """Three sequences of different lengths and places; each goes on by itself."""
    model = random_model(6)
    bench = Bench(model, CI)
    prompts, bases = (PROMPT[:5], PROMPT[8:9], PROMPT[10:22]), (40, 2, 72)
    for prompt, base in zip(prompts, bases, strict=True):
        if prompt[:-1]:
            bench.run(entries_of(prompt[:-1], 0, base), 4, head=False)
    batch = [Entry(p[-1], len(p) - 1, base) for p, base in zip(prompts, bases, strict=True)]
    found = bench.run(batch, 4, steps=4, batch=True)
    for t, (prompt, base) in enumerate(zip(prompts, bases, strict=True)):
        ids = [*prompt, *(step[t] for step in found)]
        logits = bench.check(ids[:-1], base)
        assert [numerics.argmax(row) for row in logits[len(prompt) - 1 :]] == ids[len(prompt) :]
        same(bench.logits(3)[t : t + 1], logits[-1:])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_mixed_tile(order: tuple[int, int]):
    """Two tokens of one sequence and one of another share a tile."""
    bench = Bench(random_model(9), CI)
    ids, bases = ((PROMPT[:6], PROMPT[12:17])), (1, 50)
    new = (2, 1)
    for one, base, count in zip(ids, bases, new, strict=True):
        bench.run(entries_of(one[:-count], 0, base), 4, head=False)
    tile = [
        entry
        for i in order
        for entry in entries_of(ids[i][-new[i] :], len(ids[i]) - new[i], bases[i])
    ]  # fmt: skip
    bench.run(tile, 3)
    wanted = [bench.check(ids[i], bases[i])[-new[i] :] for i in order]
    same(bench.logits(3), torch.cat(wanted))


def test_sequences_meet_in_a_tile():
    """A chunk of two whole prompts, cut into tiles without regard to where one ends."""
    bench = Bench(random_model(10), CI)
    first, second = PROMPT[:6], PROMPT[9:16]
    bench.run([*entries_of(first, 0, 60), *entries_of(second, 0, 5)], 4)
    bench.check(first, 60)
    same(bench.logits(1), bench.check(second, 5)[-1:])


def test_decode_fetches_nothing_twice():
    """Tape bytes of one token: constants, embedding, RoPE row, layers and head, each once."""
    model = random_model(3, layers=3)
    bench = Bench(model, CI)
    bench.run([Entry(1, 0)], 4)
    c, counters = model.config, bench.interpreter.counters
    weights = 2 * c.dim * -(-c.dim // 5) + 2 * c.kv_dim * -(-c.dim // 5)
    weights += 2 * c.hidden * -(-c.dim // 5) + c.dim * -(-c.hidden // 5)
    layer = weights + 4 * (8 + 2 * c.dim)
    assert counters["weight_bytes"] == c.layers * layer + c.vocab * (c.dim + 4)
    assert counters["other_bytes"] == 4 * (16 + c.dim) + 4 * c.dim + 4 * c.head_size
    assert counters["spill_bytes"] == counters["kv_read_bytes"] == 0
    assert counters["fetches"] == 3 + 4 * c.layers + 1
