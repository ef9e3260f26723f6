"""One way to open an artefact for every verb: read, verified, and all its parts fit together."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compiler.assembler import INSTRUCTION_BYTES, AssemblyError, disassemble
from compiler.fit import place
from compiler.memory_map import map_memory
from hw.artefact import Artefact, ArtefactError
from hw.machine import MachineConfig
from models.config import ModelConfig
from models.quantised import QuantisedModel
from models.tokenizer import Tokenizer

REMEDY = "the file was changed: compile the model again"
#: What reading junk may raise; an artefact may come from anywhere.
_JUNK = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Opened:
    """An artefact and what its members hold."""

    artefact: Artefact
    config: ModelConfig
    model: QuantisedModel
    tokenizer: Tokenizer


def open_artefact(path: Path, machine: MachineConfig | None = None) -> Opened:
    """The artefact in `path`, made for `machine` if given; ArtefactError unless all of it is sound."""
    artefact = Artefact.read(path, machine)
    config = _sound(path, "a model configuration", lambda: ModelConfig.from_json(artefact.config))
    model = _sound(path, "a quantised model", lambda: QuantisedModel.load(artefact.model))
    tokenizer = _sound(path, "a tokenizer", lambda: Tokenizer.from_bytes(artefact.tokenizer))
    if model.config != config:
        raise _error(path, "one model configuration", "another in member 'model.safetensors'")
    if complaint := tokenizer_complaint(tokenizer, config):
        raise ArtefactError(f"{path}: {complaint}; {REMEDY}")
    if complaint := program_complaint(artefact.program, artefact.machine.program_words):
        raise ArtefactError(f"{path}: member 'program.bin': {complaint}; {REMEDY}")
    _sound(path, "a model that fits the machine", lambda: place(config, artefact.machine))
    _memory_map(path, artefact, config)
    if artefact.vectors is not None:
        _vectors(path, artefact.vectors, config)
    return Opened(artefact, config, model, tokenizer)


def tokenizer_complaint(tokenizer: Tokenizer, config: ModelConfig) -> str | None:
    """What is wrong where a tokenizer is not the model's; a model without EOS takes any."""
    eos = tokenizer.eos if config.eos is None else config.eos
    wanted, found = (config.vocab, config.bos, eos), (tokenizer.vocab_size, tokenizer.bos, tokenizer.eos)
    if found == wanted:
        return None
    return (
        f"tokenizer: wanted {wanted[0]} tokens with BOS {wanted[1]} and EOS {wanted[2]} "
        f"for model {config.name!r}, found {found[0]} with BOS {found[1]} and EOS {found[2]}"
    )


def program_complaint(program: bytes, limit: int | None = None) -> str | None:
    """What is wrong with a program: bytes that are none, more than `limit` instructions, no END."""
    count = len(program) // INSTRUCTION_BYTES
    if not program or (limit is not None and count > limit):
        most = "or more" if limit is None else f"to {limit} (program_words)"
        return f"program: wanted 1 {most} instructions, found {count}"
    try:
        lines = disassemble(program).splitlines()
    except AssemblyError as error:
        return f"wanted a program, found {error}"
    if lines[-1].split()[0] != "END" or "predicate=" in lines[-1]:
        return f"program: wanted END as its last instruction, always executed, found {lines[-1].strip()!r}"
    return None


def _error(path: Path, wanted: object, found: object) -> ArtefactError:
    return ArtefactError(f"{path}: wanted {wanted}, found {found}; {REMEDY}")


def _sound(path: Path, wanted: str, make: Callable[[], _T]) -> _T:
    """What `make` returns; ArtefactError where it fails on junk."""
    try:
        return make()
    except _JUNK as error:
        raise _error(path, wanted, f"{type(error).__name__}: {error}") from error


def _count(value: object, limit: int = 2**32) -> bool:
    """Whether a JSON value is an integer below `limit`."""
    return type(value) is int and 0 <= value < limit


def _memory_map(path: Path, artefact: Artefact, config: ModelConfig) -> None:
    """The memory map must be what the compiler makes of model and machine; the tape's sizes are its own."""
    found = artefact.memory_map

    def size(name: str) -> int:
        value = found["regions"][name]["size"]
        if not _count(value):
            raise ValueError(f"{name} of {value!r} bytes")
        return value

    def fresh() -> dict[str, Any]:
        body = size("tape_layers") // config.layers
        if not _count(found["kv_rows"]):
            raise ValueError(f"kv_rows of {found['kv_rows']!r}")
        made = map_memory(
            config, artefact.machine, size("tape_prologue"), body, size("tape_epilogue"), found["kv_rows"]
        )
        return made.to_json()

    wanted = _sound(path, "a memory map", fresh)
    for key in (*wanted, *found):
        if wanted.get(key) != found.get(key):
            text = repr(found.get(key))
            raise _error(path, f"{key!r} of the memory map as the model and machine need it", text[:80])
    if len(artefact.image) != wanted["image_bytes"]:
        raise _error(path, f"an image of {wanted['image_bytes']} bytes", len(artefact.image))


def _vectors(path: Path, vectors: dict[str, Any], config: ModelConfig) -> None:
    """Test vectors must be such that they can be computed anew."""

    def ids(value: object) -> bool:
        return isinstance(value, list) and bool(value) and all(_count(one, config.vocab) for one in value)

    for name in ("prompt", "tokens"):
        if not ids(vectors.get(name)):
            text = repr(vectors.get(name))
            raise _error(path, f"test vectors with token ids as {name!r}", text[:80])
    count = len(vectors["prompt"]) + len(vectors["tokens"]) - 1
    if count > config.context:
        raise _error(path, f"test vectors of at most {config.context} tokens", count)
