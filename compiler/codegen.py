"""Steps to a program: fetches in front of each part, loops over layers and tiles, waits, 192-bit words."""

from hw import isa
from hw.isa import INSTRUCTION_BITS, Index, Kind, Loop, Payload
from hw.machine import MachineConfig
from models.config import ModelConfig

from .fit import CompileError
from .hazards import wait_bounds
from .lower import PARTS, Step
from .memory_map import MemoryMap
from .tape_layout import MAX_FETCH, Run

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
_REGION = {"prologue": "tape_prologue", "body": "tape_layers", "epilogue": "tape_epilogue"}
_KIND = {"prologue": Kind.OTHER, "body": Kind.WEIGHTS, "epilogue": Kind.WEIGHTS}

#: What the row index of a side fetch is, where its rows belong to tokens.
_INDEX = {"embedding": Index.TOKEN, "rope": Index.POSITION, "spill": Index.ENTRY}
#: Region that a STORE writes; its strides and step, where it has any, are named alike.
_STORED = {
    Payload.KEY: "key",
    Payload.VALUE: "value",
    Payload.LOGITS: "logits",
    Payload.ACTIVATION: "spill",
}
#: Registers of the loops that open before a part, and of those that close after it.
_OPEN = {"embedding": (Loop.TILE,), "again": (Loop.LAYER, Loop.TILE)}
_CLOSE = {"embedding": (Loop.TILE,), "body": (Loop.TILE, Loop.LAYER)}

#: One instruction: its name and the values of its fields.
Row = tuple[str, dict[str, int]]


def _fetch(block: str, run: Run, memory: MemoryMap) -> list[Row]:
    """The FETCH instructions of one run; `block`: of the tape."""
    side, strides, guard = run.side, memory.strides, {"predicate": run.predicate}
    if side:
        start = {"base": memory.regions[side].start, "tiled": 1, **guard}
        if side in _INDEX:
            rows = {"stride": strides[side], "bytes": memory.rows[side], "index": _INDEX[side]}
            return [("FETCH", {**start, **rows, "kind": Kind.OTHER})]
        rows = {"stride": strides[f"{side}_layer"], "bytes": strides[side], "index": Index.LAYER}
        return [("FETCH", {**start, **rows, "sequence": 1, "kind": Kind.KV})]
    base = memory.regions[_REGION[block]].start + run.offset
    fixed = {"kind": _KIND[block], **guard}
    if block == "body":
        fixed |= {"index": Index.LAYER, "stride": strides["layer"]}
    return [
        ("FETCH", {"base": base + at, "bytes": min(MAX_FETCH, run.size - at), **fixed})
        for at in range(0, run.size, MAX_FETCH)
    ]


def _located(step: Step, memory: MemoryMap) -> Row:
    """A step with its memory addresses."""
    if step.name != "STORE":
        return step.name, dict(step.fields)
    side = _STORED[Payload(step.fields["payload"])]
    strides = {"stride": memory.strides.get(f"{side}_layer", 0), "step": memory.strides.get(side, 0)}
    return step.name, {**step.fields, "base": memory.regions[side].start, **strides}


def _part(
    config: ModelConfig, part: str, steps: list[Step], fetches: list[Run], memory: MemoryMap
) -> list[Row]:
    """The instructions of one part: fetches, then what takes from them, inside the loops that it opens."""
    ahead = [row for run in fetches for row in _fetch(PARTS[part], run, memory)]
    if len(ahead) > isa.FETCH_AHEAD:
        raise CompileError(
            f"model {config.name!r}: tape of the {part}: wanted at most {isa.FETCH_AHEAD} fetches of "
            f"{MAX_FETCH} bytes before its first instruction (instruction set), found {len(ahead)}; "
            f"a smaller vocabulary or width would take fewer"
        )
    counts = {Loop.LAYER: {"count": config.layers}, Loop.TILE: {}}
    return [
        *(("LOOP", {"register": loop, **counts[loop]}) for loop in _OPEN.get(part, ())),
        *ahead,
        *(_located(step, memory) for step in steps),
        *(("NEXT", {"register": loop}) for loop in _CLOSE.get(part, ())),
    ]


def generate(
    config: ModelConfig,
    machine: MachineConfig,
    parts: dict[str, list[Step]],
    fetches: dict[str, list[Run]],
    memory: MemoryMap,
) -> bytes:
    """The program of all `PARTS`, for every chunk that the machine takes: 24 bytes an instruction."""
    rows = [row for part in PARTS for row in _part(config, part, parts[part], fetches[part], memory)]
    rows.append(("END", {}))
    if len(rows) > machine.program_words:
        raise CompileError(
            f"model {config.name!r} on machine {machine.name!r}: program: wanted at most "
            f"{machine.program_words} instructions (program_words), found {len(rows)}; "
            f"a machine with more program_words would take it"
        )
    words = [
        isa.encode(name, **(fields | waits))
        for (name, fields), waits in zip(rows, wait_bounds(rows, machine.tile), strict=True)
    ]
    return b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)
