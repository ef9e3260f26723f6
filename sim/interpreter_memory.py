"""Which bytes of memory FETCH and STORE touch: (address, size) of each run, addresses before MEMORY_BASE."""

from collections.abc import Sequence

from hw.isa import Index, Payload

from .entries import Entry
from .interpreter_chunk import sequences
from .interpreter_tape import UsageError


def fetch_runs(f: dict[str, int], layer: int, first: int, entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Runs of a FETCH that acts for `entries`, of which the first is entry `first` of the chunk."""
    index, size = Index(f["index"]), f["bytes"]
    if f["descriptor"]:
        raise UsageError("descriptor is 1; this version has none")
    if f["sequence"]:
        if index != Index.LAYER:
            raise UsageError(f"sequence: wanted index LAYER, found {index.name}")
        starts = [entries[tokens.start] for tokens in sequences(entries)]
        address = f["base"] + layer * f["stride"]
        return [(address + size * entry.base, size * entry.position) for entry in starts]
    if index in (Index.NONE, Index.LAYER):
        return [(f["base"] + (layer * f["stride"] if index == Index.LAYER else 0), size)]
    registers = {
        Index.POSITION: [entry.position for entry in entries],
        Index.TOKEN: [entry.token for entry in entries],
        Index.ENTRY: range(first, first + len(entries)),
    }
    return [(f["base"] + register * f["stride"], size) for register in registers[index]]


def store_runs(f: dict[str, int], layer: int, first: int, entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Runs of a STORE: one for each of `entries`, of logits one for all."""
    address, size = f["base"] + layer * f["stride"], f["bytes"]
    if f["payload"] == Payload.LOGITS:
        return [(address, size * len(entries))]
    if f["payload"] == Payload.ACTIVATION:
        rows: Sequence[int] = range(first, first + len(entries))
    else:
        rows = [entry.base + entry.position for entry in entries]
    return [(address + row * f["step"], size) for row in rows]
