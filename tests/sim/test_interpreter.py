"""The interpreter against the golden model: tokens, logits, KV rows, counters; and its errors."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.compile import Compiled, compile_program
from compiler.frontends import load_checkpoint
from compiler.vectors import kv_digest, kv_memory, kv_rows, make_vectors
from hw.isa import EMIT_LOGITS, WANT_HEAD
from hw.machine import CI, MACHINES, MachineConfig
from models import numerics
from models.golden import GoldenModel, KVCache
from models.quantised import SITES, QuantisedModel
from sim.entries import Entry
from sim.interpreter import Interpreter, MachineError

from ..models.random_model import INTEGER_MODELS, Form, integer_forms, random_model

#: Head and logits wanted.
SHOWN = 1 << EMIT_LOGITS | 1 << WANT_HEAD
#: Machines that random models of a few elements fit.
SMALL = ("ci", "narrow", "wide", "kv260")
SHAPES = {
    "rms": {},
    "l2": {"norm": "l2", "gains": False},
    "plain": {"inner_norm": False, "tied": False},
    "no gains": {"gains": False, "kv_heads": 4},
    "one layer": {"layers": 1, "kv_heads": 1},
    "grouped": {"dim": 64, "hidden": 80, "kv_heads": 2, "layers": 3},
}


def loaded(compiled: Compiled, machine: MachineConfig, seed: int = 1) -> Interpreter:
    """An interpreter whose memory was random before the image was written."""
    memory = np.random.default_rng(seed).integers(0, 256, compiled.memory.total_bytes, dtype=np.uint8)
    memory[: len(compiled.image)] = compiled.image
    return Interpreter(machine, compiled.program, memory)


def logits_of(interpreter: Interpreter, compiled: Compiled, tokens: int = 1) -> torch.Tensor:
    """binary32 [vocab], or [tokens, vocab] of a tile."""
    start = compiled.memory.regions["logits"].start
    vocab = compiled.memory.regions["embedding"].size // compiled.memory.strides["embedding"]
    data = interpreter.memory[start : start + 4 * vocab * tokens].copy().view(np.float32)
    rows = torch.from_numpy(data).reshape(vocab, tokens).T
    return rows[0] if tokens == 1 else rows


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.equal(found.contiguous().view(torch.int32), wanted.contiguous().view(torch.int32))


def same_rows(interpreter: Interpreter, compiled: Compiled, cache: KVCache, base: int = 0) -> bool:
    """Whether the KV memory from row `base` on holds what the cache holds."""
    layers = len(cache.k)
    rows = kv_rows(interpreter.memory, compiled.memory, layers, cache.length, base)
    return all(map(np.array_equal, kv_memory(cache, compiled.memory), rows))


def chunk(tokens: list[int], position: int = 0, base: int = 0) -> list[Entry]:
    """Neighbouring tokens of one sequence."""
    return [Entry(token, position + i, base, i > 0) for i, token in enumerate(tokens)]


def compare(model: QuantisedModel, machine: MachineConfig, prompt: list[int], count: int) -> list[int]:
    """Generate on the interpreter, then ask the golden model about the whole sequence at once; the ids."""
    compiled = compile_program(model, machine)
    interpreter, cache = loaded(compiled, machine), KVCache.empty(model.config)
    ids, found = list(prompt), []
    for position in range(len(prompt) + count - 1):
        token = interpreter.step(ids[position], position, SHOWN)
        found.append(logits_of(interpreter, compiled))
        if position + 1 == len(ids):
            ids.append(token)
    logits = GoldenModel(model).forward(ids[:-1], cache)
    for position, (wanted, got) in enumerate(zip(logits, found, strict=True)):
        assert same(got, wanted), position
    assert ids[len(prompt) :] == [numerics.argmax(row) for row in logits[len(prompt) - 1 :]]
    assert same_rows(interpreter, compiled, cache)
    return ids


@pytest.mark.parametrize("bus_bytes", [32, 64])
def test_rows_narrower_than_the_bus(bus_bytes: int):
    """Embedding and RoPE rows that do not fill a beat leave no padding on the tape."""
    machine = dataclasses.replace(MACHINES["narrow"], bus_bytes=bus_bytes, burst_beats=16, lanes=4)
    compare(random_model(7, dim=24, heads=6, kv_heads=3, tied=False), machine, [1, 5, 9], 4)


@pytest.mark.parametrize("machine", (MACHINES[name] for name in SMALL), ids=SMALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_random_models_equal_golden(shape: str, machine: MachineConfig):
    options = dict(SHAPES[shape])
    compare(random_model(3, **options), machine, [1, 7, 9], 3)


#: Groups of whole units on a machine of 32 head lanes; k is no multiple of them.
BROAD = {"integer": integer_forms(Form(4, 32, True)), "activations": dict.fromkeys(SITES, 12), "dim": 64,
         "hidden": 88}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "machine"),
    [*((name, name_) for name in INTEGER_MODELS for name_ in ("ci", "narrow")), ("broad", "wide")],
)
def test_integer_models_equal_golden(model: str, machine: str):
    options = (INTEGER_MODELS | {"broad": BROAD})[model]
    compare(random_model(3, **options), MACHINES[machine], [1, 7, 9], 3)


def test_a_machine_of_int8_activations():
    machine = dataclasses.replace(CI, activation_bits=8)
    compare(random_model(4, **INTEGER_MODELS["int8"]), machine, [1, 7], 2)


def test_grids_differ_by_site():
    grids = {site: -44 - 2 * i for i, site in enumerate(SITES)}
    compare(random_model(5).with_grids(grids), CI, [1, 2], 4)


def test_odd_kv_heads_pad_rows():
    model = random_model(4, dim=96, hidden=64, heads=6, kv_heads=3, layers=1)
    compare(model, MACHINES["wide"], [1, 2, 3], 4)


def test_context_to_its_end():
    compare(random_model(6, context=8), CI, [1], 8)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("machine", (MACHINES[name] for name in SMALL), ids=SMALL)
def test_real_checkpoint(shared: Path, machine: MachineConfig):
    model = load_checkpoint(shared / "checkpoints" / "bit_model_1M.bin")
    ids = compare(model, machine, [1, 403, 407, 261, 378], 32)
    float_reference = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
                       396, 267, 337, 335, 311, 267]  # fmt: skip
    assert ids[:24] == float_reference


@pytest.mark.parametrize("shape", ["rms", "l2", "no gains", "grouped", "int4", "mixed"])
@pytest.mark.parametrize("tile", [1, 3, 4])
def test_chunks_equal_golden(shape: str, tile: int):
    """Any cut into chunks and tiles gives the logits and KV rows of one token at a time; then the steps."""
    model = random_model(9, **(SHAPES | INTEGER_MODELS)[shape])
    compiled = compile_program(model, CI)
    interpreter, cache = loaded(compiled, CI), KVCache.empty(model.config)
    tokens = [1, 7, 9, 3, 3, 20, 11, 5, 2, 31, 8, 4]
    logits = GoldenModel(model).forward(tokens, cache)
    at = 0
    for size in (5, 1, 6):
        found = interpreter.run(chunk(tokens[at : at + size], at), tile=tile, predicates=SHOWN)
        at += size
        last = (size - 1) % tile + 1
        shown = logits_of(interpreter, compiled, last).reshape(last, -1)
        assert same(shown, logits[at - last : at])
        ids = [numerics.argmax(row) for row in shown]
        assert found == [ids[-1:]]
        assert interpreter.next_token[:last] == ids
        assert [interpreter.top(t)[0][0] for t in range(last)] == ids
    assert same_rows(interpreter, compiled, cache)

    steps = [token for token, _ in GoldenModel(model).generate([ids[-1]], 6, cache)]
    found = interpreter.run([Entry(ids[-1], at)], tile=tile, steps=6, predicates=SHOWN)
    assert found == [[token] for token in steps]
    assert interpreter.entries == [Entry(steps[-1], at + 6)]
    assert same_rows(interpreter, compiled, cache)
    assert interpreter.counters["steps"] == 3 + 6
    assert interpreter.counters["tokens"] == 12 + 6


def test_without_head():
    """A chunk of a prompt that goes on: no head, no weights of it."""
    model = random_model(9)
    compiled = compile_program(model, CI)
    interpreter, cache = loaded(compiled, CI), KVCache.empty(model.config)
    assert interpreter.run(chunk([1, 7, 9, 3, 3]), tile=2) == [[]]
    assert interpreter.counters["integer_products"] == 0
    logits = GoldenModel(model).forward([1, 7, 9, 3, 3, 6], cache)
    assert interpreter.step(6, 5, 1 << WANT_HEAD) == numerics.argmax(logits[-1])
    assert same_rows(interpreter, compiled, cache)


def test_batch_equals_its_sequences():
    model = random_model(9)
    compiled = compile_program(model, CI, 64)
    interpreter = loaded(compiled, CI)
    golden, caches = GoldenModel(model), [KVCache.empty(model.config) for _ in range(3)]
    prompts, bases, following, entries = [[1, 5, 3], [2, 2, 9, 8, 4], [6]], [17, 32, 0], [], []
    for prompt, base, cache in zip(prompts, bases, caches, strict=True):
        interpreter.run(chunk(prompt, 0, base), tile=2, predicates=1 << WANT_HEAD)
        following.append([token for token, _ in golden.generate(prompt, 5, cache)])
        entries.append(Entry(following[-1][0], len(prompt), base))
    found = interpreter.run(entries, tile=4, steps=4, batch=True, predicates=1 << WANT_HEAD)
    assert found == [list(tokens) for tokens in zip(*(row[1:] for row in following), strict=True)]
    for base, cache in zip(bases, caches, strict=True):
        assert same_rows(interpreter, compiled, cache, base)
    assert interpreter.output[:12] == [token for step in found for token in step]
    assert interpreter.entries == [
        Entry(row[-1], len(prompt) + 4, base)
        for row, prompt, base in zip(following, prompts, bases, strict=True)
    ]


def test_vectors_are_reproduced():
    model = random_model(8)
    compiled = compile_program(model, CI)
    vectors = make_vectors(model, compiled.memory, [1, 4, 5], 4)
    interpreter = loaded(compiled, CI)
    ids, tokens, hashes = list(vectors["prompt"]), [], []
    for position in range(vectors["kv_tokens"]):
        token = interpreter.step(ids[position], position, SHOWN)
        if position + 1 == len(ids):
            ids.append(token)
            tokens.append(token)
            hashes.append(hashlib.sha256(logits_of(interpreter, compiled).numpy().tobytes()).hexdigest())
    assert tokens == vectors["tokens"]
    assert hashes == vectors["logits_sha256"]
    rows = kv_rows(interpreter.memory, compiled.memory, model.config.layers, vectors["kv_tokens"])
    assert kv_digest(*rows) == vectors["kv_sha256"]


def test_counters_follow_from_the_shape():
    model = random_model(2, layers=3)
    c, compiled = model.config, compile_program(model, CI)
    interpreter = loaded(compiled, CI)
    for position in range(4):
        interpreter.step(position + 1, position, SHOWN if position == 3 else 1 << WANT_HEAD)
    n = interpreter.counters
    rows = {"q": c.dim, "k": c.kv_dim, "v": c.kv_dim, "o": c.dim, "up": c.hidden, "gate": c.hidden}
    bytes_ = sum(r * -(-c.dim // 5) for r in rows.values()) + c.dim * -(-c.hidden // 5)
    assert n["lookups"] == 4 * c.layers * bytes_
    assert n["integer_products"] == 4 * c.vocab * c.dim
    assert n["attention_products"] == sum(2 * c.dim * (p + 1) * c.layers for p in range(4))
    assert n["kv_write_bytes"] == 4 * c.layers * (8 * c.kv_heads + 2 * c.kv_dim)
    assert n["kv_read_bytes"] == sum(p * c.layers * (8 * c.kv_heads + 2 * c.kv_dim) for p in range(4))
    assert n["logit_bytes"] == 4 * c.vocab
    assert n["score_saturations"] == 0
    interpreter.clear_counters()
    assert set(interpreter.counters.values()) == {0}


def test_products_of_integers():
    """Of whole pairs and units: 12-bit activations or not, the last unit of k = 56 or 44 is filled up."""
    mixed, int4 = (random_model(2, layers=3, vocab=51, **INTEGER_MODELS[name]) for name in ("mixed", "int4"))
    for model, layer, head in (
        (mixed, 32 * 32 + 56 * 32 + 32 * 64, 52 * 32),  # o, gate, down: 4 units of 16
        (int4, 2 * 32 * 32 + 2 * 16 * 32 + 2 * 44 * 32 + 32 * 48, 52 * 32),
    ):
        interpreter = loaded(compile_program(model, CI), CI)
        interpreter.run(chunk([1, 5, 3]), tile=2, predicates=1 << WANT_HEAD)
        assert interpreter.counters["integer_products"] == 3 * 3 * layer + head  # of the last tile, one token


def test_saturated_squares_end_the_run():
    model = random_model(3)
    wide = model.with_grids({**model.grids, "mlp": -90})
    interpreter = loaded(compile_program(wide, CI), CI)
    with pytest.raises(MachineError, match="sum of squares saturated") as caught:
        interpreter.step(1, 0)
    assert (caught.value.code, caught.value.layer) == (1, 0)
    assert interpreter.error == 1


def test_imports_nothing_of_compiler_or_models_but_numerics(root: Path):
    """In a process where any other module of theirs cannot be imported, the interpreter still runs."""
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top, _, rest = name.partition(".")
        if top in ("compiler", "trine", "boards") or (top == "models" and rest not in ("", "numerics")):
            raise ImportError(f"refused: {name}")
sys.meta_path.insert(0, Refuse())
import numpy as np
from hw.isa import encode
from hw.machine import CI
from sim.interpreter import Interpreter
program = [encode("FETCH", bytes=16), encode("MAP", source=3, n=4), encode("END")]
interpreter = Interpreter(CI, program, np.zeros(64, np.uint8))
print(interpreter.step(0, 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"
