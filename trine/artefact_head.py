"""What an artefact says of model, machine and program: read and verified without its image and its model."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from compiler.assembler import INSTRUCTION_BYTES, AssemblyError, disassemble
from compiler.fit import place
from compiler.memory_map import MemoryMap, map_memory
from hw.artefact import ArtefactError, Head, read_head
from hw.machine import MachineConfig
from models.config import ModelConfig

__all__ = [
    "REMEDY", "OpenedHead", "check_head", "error_at", "is_count", "open_head", "program_complaint", "sound",
]  # fmt: skip

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
class OpenedHead:
    """What `hw.artefact.read_head` gives, and what it means."""

    head: Head
    config: ModelConfig
    memory: MemoryMap


def open_head(path: Path, machine: MachineConfig | None = None) -> OpenedHead:
    """The head of the artefact in `path`, made for `machine` if given; ArtefactError unless it is sound.

    An estimate needs no weights: image, model, tokenizer and test vectors, most of the file, are neither read
    nor compared with their hashes. `trine.artefact.open_artefact` sees damage there.
    """
    head = read_head(path, machine)
    config = sound(path, "a model configuration", lambda: ModelConfig.from_json(head.config))
    return OpenedHead(head, config, check_head(path, head, config))


def check_head(path: Path, head: Head, config: ModelConfig) -> MemoryMap:
    """The memory map; ArtefactError unless program, model, machine and memory map belong together."""
    if complaint := program_complaint(head.program, head.machine.program_words):
        raise ArtefactError(f"{path}: member 'program.bin': {complaint}; {REMEDY}")
    sound(path, "a model that fits the machine", lambda: place(config, head.machine))
    return _memory_map(path, head, config)


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


def error_at(path: Path, wanted: object, found: object) -> ArtefactError:
    return ArtefactError(f"{path}: wanted {wanted}, found {found}; {REMEDY}")


def sound(path: Path, wanted: str, make: Callable[[], _T]) -> _T:
    """What `make` returns; ArtefactError where it fails on junk."""
    try:
        return make()
    except _JUNK as error:
        raise error_at(path, wanted, f"{type(error).__name__}: {error}") from error


def is_count(value: object, limit: int = 2**32) -> bool:
    """Whether a JSON value is an integer below `limit`."""
    return type(value) is int and 0 <= value < limit


def _memory_map(path: Path, head: Head, config: ModelConfig) -> MemoryMap:
    """The memory map must be what the compiler makes of model and machine; the tape's sizes are its own."""
    found = head.memory_map

    def size(name: str) -> int:
        value = found["regions"][name]["size"]
        if not is_count(value):
            raise ValueError(f"{name} of {value!r} bytes")
        return value

    def fresh() -> MemoryMap:
        body = size("tape_layers") // config.layers
        if not is_count(found["kv_rows"]):
            raise ValueError(f"kv_rows of {found['kv_rows']!r}")
        return map_memory(
            config, head.machine, size("tape_prologue"), body, size("tape_epilogue"), found["kv_rows"]
        )

    made = sound(path, "a memory map", fresh)
    wanted = made.to_json()
    for key in (*wanted, *found):
        if wanted.get(key) != found.get(key):
            text = repr(found.get(key))
            raise error_at(path, f"{key!r} of the memory map as the model and machine need it", text[:80])
    if head.image_bytes != wanted["image_bytes"]:
        raise error_at(path, f"an image of {wanted['image_bytes']} bytes", head.image_bytes)
    return made
