"""The interpreter against the golden model: tokens, logits, KV rows, counters; and its errors."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.assembler import assemble
from compiler.compile import Compiled, compile_program
from compiler.frontends import load_checkpoint
from compiler.vectors import kv_digest, kv_memory, kv_rows, make_vectors
from hw.isa import EMIT_LOGITS
from hw.machine import CI, MACHINES, MachineConfig
from models import numerics
from models.golden import GoldenModel, KVCache
from models.quantised import SITES, QuantisedModel
from sim.interpreter import Interpreter, InterpreterError, MachineError

from ..models.random_model import random_model

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


def logits_of(interpreter: Interpreter, compiled: Compiled) -> torch.Tensor:
    region = compiled.memory.regions["logits"]
    data = interpreter.memory[region.start : region.start + region.size]
    return torch.from_numpy(data.copy().view(np.float32))


def compare(model: QuantisedModel, machine: MachineConfig, prompt: list[int], count: int) -> list[int]:
    """Generate on the interpreter, then ask the golden model about the whole sequence at once; the ids."""
    compiled = compile_program(model, machine)
    interpreter, cache = loaded(compiled, machine), KVCache.empty(model.config)
    ids, found = list(prompt), []
    for position in range(len(prompt) + count - 1):
        token = interpreter.step(ids[position], position, 1 << EMIT_LOGITS)
        found.append(logits_of(interpreter, compiled))
        if position + 1 == len(ids):
            ids.append(token)
    logits = GoldenModel(model).forward(ids[:-1], cache)
    for position, (wanted, got) in enumerate(zip(logits, found, strict=True)):
        assert torch.equal(got.view(torch.int32), wanted.view(torch.int32)), position
    assert ids[len(prompt) :] == [numerics.argmax(row) for row in logits[len(prompt) - 1 :]]
    for wanted, rows in zip(
        kv_memory(cache, compiled.memory),
        kv_rows(interpreter.memory, compiled.memory, model.config.layers, cache.length),
        strict=True,
    ):
        assert np.array_equal(wanted, rows)
    return ids


@pytest.mark.parametrize("bus_bytes", [32, 64])
def test_rows_narrower_than_the_bus(bus_bytes: int):
    """Embedding and RoPE rows that do not fill a beat leave no padding on the tape."""
    machine = dataclasses.replace(MACHINES["narrow"], bus_bytes=bus_bytes, burst_beats=16, lanes=4)
    compare(random_model(7, dim=24, heads=6, kv_heads=3, tied=False), machine, [1, 5, 9], 4)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
@pytest.mark.parametrize("shape", SHAPES)
def test_random_models_equal_golden(shape: str, machine: MachineConfig):
    options = dict(SHAPES[shape])
    if machine.attention_bytes > 8:  # a head of 8 is too small for the wide machine
        options |= {"dim": 64, "hidden": 96}
    compare(random_model(3, **options), machine, [1, 7, 9], 3)


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
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_real_checkpoint(shared: Path, machine: MachineConfig):
    model = load_checkpoint(shared / "checkpoints" / "bit_model_1M.bin")
    ids = compare(model, machine, [1, 403, 407, 261, 378], 32)
    float_reference = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
                       396, 267, 337, 335, 311, 267]  # fmt: skip
    assert ids[:24] == float_reference


def test_vectors_are_reproduced():
    model = random_model(8)
    compiled = compile_program(model, CI)
    vectors = make_vectors(model, compiled.memory, [1, 4, 5], 4)
    interpreter = loaded(compiled, CI)
    ids, tokens, hashes = list(vectors["prompt"]), [], []
    for position in range(vectors["kv_tokens"]):
        token = interpreter.step(ids[position], position, 1 << EMIT_LOGITS)
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
        interpreter.step(position + 1, position, 1 << EMIT_LOGITS if position == 3 else 1)
    n = interpreter.counters
    rows = {"q": c.dim, "k": c.kv_dim, "v": c.kv_dim, "o": c.dim, "up": c.hidden, "gate": c.hidden}
    bytes_ = sum(r * -(-c.dim // 5) for r in rows.values()) + c.dim * -(-c.hidden // 5)
    assert n["lookups"] == 4 * c.layers * bytes_
    assert n["head_products"] == 4 * c.vocab * c.dim
    assert n["attention_products"] == sum(2 * c.dim * (p + 1) * c.layers for p in range(4))
    assert n["kv_write_bytes"] == 4 * c.layers * (8 * c.kv_heads + 2 * c.kv_dim)
    assert n["kv_read_bytes"] == sum(p * c.layers * (8 * c.kv_heads + 2 * c.kv_dim) for p in range(4))
    assert n["logit_bytes"] == 4 * c.vocab
    assert n["score_saturations"] == 0
    interpreter.clear_counters()
    assert set(interpreter.counters.values()) == {0}


def test_saturated_squares_end_the_run():
    model = random_model(3)
    wide = model.with_grids({**model.grids, "mlp": -90})
    interpreter = loaded(compile_program(wide, CI), CI)
    with pytest.raises(MachineError, match="sum of squares saturated") as caught:
        interpreter.step(1, 0)
    assert (caught.value.code, caught.value.layer) == (1, 0)
    assert interpreter.error == 1


#: Programs on a memory of 256 zero bytes, and what is wrong with them.
ILLEGAL = {
    "more than was fetched": ("FETCH bytes=8\nMAP source=TAPE n=4\nEND", "wanted 16 bytes of tape, found 8"),
    "left over": ("FETCH bytes=8\nEND", "8 bytes nobody took"),
    "no end": ("NORM d=1", "END"),
    "outside a memory": ("MAP n=4 d=60000\nEND", "on-chip memory"),
    "no attention output": ("MAP source=ATTENTION n=4\nEND", "attention output"),
    "logits nobody takes": ("FETCH bytes=20\nHEAD rows=1 k=16\nEND", "no STORE took"),
    "logits nobody made": ("STORE bytes=4 payload=LOGITS\nEND", "found none"),
    "trits": ("FETCH base=64 bytes=4\nMATMUL rows=4 k=5\nEND", "0 to 242"),
    "misaligned": ("FETCH base=4 bytes=4\nEND", "start on 8 bytes"),
    "values without scores": ("ATTEND half=VALUE feed=STAGE kv_heads=1 group=1 head_size=8\nEND", "scores"),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal_programs(case: str):
    text, message = ILLEGAL[case]
    memory = np.zeros(256, np.uint8)
    memory[64:] = 255
    interpreter = Interpreter(CI, assemble(text), memory)
    with pytest.raises(InterpreterError, match=message):
        interpreter.step(0, 0)


def test_machine_errors():
    outside = Interpreter(CI, assemble("FETCH base=256 bytes=8\nEND"), np.zeros(256, np.uint8))
    with pytest.raises(MachineError, match="answered a read"):
        outside.step(0, 0)
    unknown = Interpreter(CI, [63], np.zeros(256, np.uint8))
    with pytest.raises(MachineError, match="unknown opcode"):
        unknown.step(0, 0)


def test_predicates_skip():
    program = assemble("FETCH bytes=8 predicate=2\nMAP source=TAPE n=4 predicate=2\nEND")
    interpreter = Interpreter(CI, program, np.zeros(256, np.uint8))
    interpreter.step(0, 0, 1)
    assert interpreter.counters["fetches"] == interpreter.counters["instructions"] == 0


def test_loop_and_memory_base():
    """Layer strides, positions and MEMORY_BASE reach the addresses."""
    text = """LOOP count=3
      FETCH base=16 stride=32 bytes=16 index=LAYER
      MAP source=TAPE n=4 dest=ACTIVATION statistics=1
      QUANTISE target=VALUE n=4
      STORE base=512 stride=32 step=8 bytes=4 payload=VALUE
    NEXT
    END"""
    memory = np.zeros(1024, np.uint8)
    for layer in range(3):
        floats = np.float32([layer + 1, 0, -layer - 1, 0.5])
        memory[64 + 16 + 32 * layer :][:16] = floats.view(np.uint8)
    interpreter = Interpreter(CI, assemble(text), memory, memory_base=64)
    interpreter.step(0, 2)
    stored = [memory[64 + 512 + 32 * layer + 16 :][:4].view(np.int8).tolist() for layer in range(3)]
    assert stored == [[127, 0, -127, 64], [127, 0, -127, 32], [127, 0, -127, 21]]


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
