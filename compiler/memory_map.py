"""Where everything lies in memory: regions on 64-byte boundaries, and the strides between rows and layers."""

from dataclasses import asdict, dataclass, field
from typing import Any

from hw.machine import MachineConfig
from models.config import ModelConfig

from .fit import CompileError, align

REGION_ALIGN = 64
#: Addresses are 32 bits.
MEMORY_LIMIT = 2**32
#: Rows of KV memory in a layer are numbered in 20 bits.
KV_ROWS_LIMIT = 2**20


@dataclass(frozen=True)
class Region:
    """`size` bytes from `start`; `initial` says whether the image fills them before the first token."""

    start: int
    size: int
    initial: bool


@dataclass(frozen=True)
class MemoryMap:
    """Byte addresses relative to MEMORY_BASE.

    regions: by name, in order of address (`docs/architecture.md`).
    strides: bytes from one to the next: "embedding", "rope", "key", "value", "spill" rows; "key_layer",
        "value_layer"; "layer" of the tape.
    rows: bytes of a row that mean something: "embedding", "rope", "key" (scales and codes), "value", "spill".
    image_bytes: bytes that the image fills; K, V, logits and spill lie behind.
    total_bytes: all memory that a machine needs.
    kv_rows: rows of K, and of V, of one layer: the pool that all sequences share.
    """

    regions: dict[str, Region] = field(default_factory=dict)
    strides: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    image_bytes: int = 0
    total_bytes: int = 0
    kv_rows: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def map_memory(
    config: ModelConfig,
    machine: MachineConfig,
    prologue: int,
    layer: int,
    epilogue: int,
    kv_rows: int | None = None,
) -> MemoryMap:
    """The map, given the bytes of the tape's prologue, one layer of it (a multiple of 64) and epilogue.

    kv_rows: rows of KV memory in a layer, for all sequences together; None: one context.
    """
    c, bus = config, machine.bus_bytes
    kv_rows = c.context if kv_rows is None else kv_rows
    if not c.context <= kv_rows <= KV_ROWS_LIMIT:
        raise CompileError(
            f"model {c.name!r}: KV memory: wanted {c.context} (a context) to {KV_ROWS_LIMIT} rows "
            f"(instruction set), found {kv_rows}; choose kv_rows between the two"
        )
    rows = {
        "embedding": 4 * c.dim,
        "rope": 4 * c.head_size,
        "key": 8 * c.kv_heads + c.kv_dim,
        "value": c.kv_dim,
        "spill": 4 * c.dim,
    }
    strides = {
        "embedding": align(rows["embedding"], bus),
        "rope": align(rows["rope"], bus),
        "key": align(rows["key"], bus),
        "value": align(rows["value"], bus),
        "spill": align(rows["spill"], bus),
        "layer": layer,
    }
    for half in ("key", "value"):
        strides[f"{half}_layer"] = align(kv_rows * strides[half], REGION_ALIGN)
    sizes = {
        "embedding": c.vocab * strides["embedding"],
        "rope": c.context * strides["rope"],
        "tape_prologue": prologue,
        "tape_layers": c.layers * layer,
        "tape_epilogue": epilogue,
        "key": c.layers * strides["key_layer"],
        "value": c.layers * strides["value_layer"],
        "logits": 4 * c.vocab * machine.tile,
        "spill": machine.max_chunk * strides["spill"],
    }
    regions, at, image = {}, 0, 0
    for name, size in sizes.items():
        initial = name not in ("key", "value", "logits", "spill")
        regions[name] = Region(at, size, initial)
        at = align(at + size, REGION_ALIGN)
        image = at if initial else image
    if at > MEMORY_LIMIT:
        raise CompileError(
            f"model {c.name!r}: the whole model and its KV memory: wanted at most {MEMORY_LIMIT} bytes "
            f"(32-bit addresses), found {at}; shorten the context, lower kv_rows or take a smaller model"
        )
    if max(strides.values()) >= 2**28 or max(strides[row] for row in ("key", "value", "spill")) >= 2**24:
        raise CompileError(
            f"model {c.name!r}: every layer: wanted strides below 2^28 bytes (instruction set), found "
            f"{strides}; no machine of this version takes it"
        )
    return MemoryMap(regions, strides, rows, image, at, kv_rows)
