"""Steps to a program: fetches in front of each block, the loop around the layers, waits, 192-bit words."""

from hw import isa
from hw.isa import INSTRUCTION_BITS, Index, Kind, Payload
from hw.machine import MachineConfig
from models.config import ModelConfig

from .fit import CompileError
from .graph import BLOCKS
from .hazards import wait_bounds
from .lower import Step
from .memory_map import MemoryMap
from .tape import MAX_FETCH, Run

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
_REGION = {"prologue": "tape_prologue", "body": "tape_layers", "epilogue": "tape_epilogue"}
_KIND = {"prologue": Kind.OTHER, "body": Kind.WEIGHTS, "epilogue": Kind.WEIGHTS}

#: One instruction: its name and the values of its fields.
Row = tuple[str, dict[str, int]]


def _fetch(block: str, run: Run, memory: MemoryMap) -> list[Row]:
    """The FETCH instructions of one run."""
    side, strides = run.side, memory.strides
    if side in ("embedding", "rope"):
        index = Index.TOKEN if side == "embedding" else Index.POSITION
        return [
            (
                "FETCH",
                {
                    "base": memory.regions[side].start,
                    "stride": strides[side],
                    "bytes": memory.rows[side],
                    "index": index,
                    "kind": Kind.OTHER,
                },
            )
        ]
    if side:
        return [
            (
                "FETCH",
                {
                    "base": memory.regions[side].start,
                    "stride": strides[f"{side}_layer"],
                    "bytes": strides[side],
                    "index": Index.LAYER,
                    "per_position": 1,
                    "kind": Kind.KV,
                },
            )
        ]
    base = memory.regions[_REGION[block]].start + run.offset
    index = {"index": Index.LAYER, "stride": strides["layer"]} if block == "body" else {}
    return [
        ("FETCH", {"base": base + at, "bytes": min(MAX_FETCH, run.size - at), "kind": _KIND[block], **index})
        for at in range(0, run.size, MAX_FETCH)
    ]


def _located(step: Step, memory: MemoryMap) -> Row:
    """A step with its memory addresses."""
    if step.name != "STORE":
        return step.name, dict(step.fields)
    if step.fields["payload"] == Payload.LOGITS:
        return step.name, {**step.fields, "base": memory.regions["logits"].start}
    half = "key" if step.fields["payload"] == Payload.KEY else "value"
    return step.name, {
        **step.fields,
        "base": memory.regions[half].start,
        "stride": memory.strides[f"{half}_layer"],
        "step": memory.strides[half],
    }


def generate(
    config: ModelConfig,
    machine: MachineConfig,
    blocks: dict[str, list[Step]],
    fetches: dict[str, list[Run]],
    memory: MemoryMap,
) -> bytes:
    """The program: 24 bytes an instruction, little-endian."""
    rows: list[Row] = []
    for block in BLOCKS:
        if block == "body":
            rows.append(("LOOP", {"count": config.layers}))
        ahead = [row for run in fetches[block] for row in _fetch(block, run, memory)]
        if len(ahead) > isa.FETCH_AHEAD:
            raise CompileError(
                f"model {config.name!r}: tape of the {block}: wanted at most {isa.FETCH_AHEAD} fetches of "
                f"{MAX_FETCH} bytes before its first instruction (instruction set), found {len(ahead)}; "
                f"a smaller vocabulary or width would take fewer"
            )
        rows += ahead
        rows += [_located(step, memory) for step in blocks[block]]
        if block == "body":
            rows.append(("NEXT", {}))
    rows.append(("END", {}))
    if len(rows) > machine.program_words:
        raise CompileError(
            f"model {config.name!r} on machine {machine.name!r}: program: wanted at most "
            f"{machine.program_words} instructions (program_words), found {len(rows)}; "
            f"a machine with more program_words would take it"
        )
    words = [
        isa.encode(name, **(fields | waits))
        for (name, fields), waits in zip(rows, wait_bounds(rows), strict=True)
    ]
    return b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)
