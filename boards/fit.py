"""Whether a machine fits a board's device, before anything is synthesised.

DSP blocks and block RAM are counted from how the components are built; look-up tables by a rule fitted to
synthesised machines (docs/boards.md has both beside each other; the rule is within 15 %). So what is refused
here cannot fit, and what is let through may still be refused after synthesis, by exact numbers.
"""

import math
from collections.abc import Iterable

from hw.machine import MACHINES, MachineConfig

from .board import Board, BoardError

__all__ = ["check_capacity", "check_fit", "estimate_resources", "fitting", "warning"]

#: How far the rule for look-up tables may be below the truth.
_LUT_ERROR = 0.15
#: Placing and routing need room: more of the look-up tables than this is not tried.
MOST_LUT = 0.85
#: What `python -m bench.resources` measured, module by module and unplaced, of machines for UltraScale+.
_MEASURED = {"kv260": {"lut": 97_828, "ff": 82_291, "ram": 20_248, "block": 110, "ultra": 48, "dsp": 562}}
#: Fields whose reduction saves most of a resource, with what they take.
_SAVERS = {
    "dsp": ("lanes (22 blocks each)", "attention_bytes (2 each, for each core)", "head_lanes", "tile"),
    "lut": ("lanes", "head_lanes", "activation_bits", "tables", "tile", "max_chunk"),
    "block": ("score_words", "activation_words", "max_query", "fifo_words"),
}


def estimate_resources(machine: MachineConfig) -> dict[str, int]:
    """Look-up tables, DSP blocks and block RAMs of an overlay on ECP5."""
    tokens = machine.tile
    cores = machine.attention_cores or tokens
    dsp = 22 * machine.lanes + 4 + cores * (17 + 2 * machine.attention_bytes) + 2
    dsp += 12 + machine.head_lanes * tokens + 16
    integer = (1000 if machine.activation_bits == 8 else 1900) * machine.head_lanes * tokens + 2100
    ternary = (570 * machine.tables + 400) * (1 + tokens) // 2
    attention = cores * (6300 + 200 * machine.attention_bytes) + 110 * machine.attention_bytes
    table = 28 * machine.max_chunk if machine.max_chunk > 16 else 256
    rest = 12_000 + 600 * machine.bus_bytes + 6_600 * machine.lanes + 70 * machine.top_k
    lut = integer + ternary + attention + table + rest
    # A block holds 18 Kbit, at most 36 bits a word; two ports to read are two copies.
    words = (
        (machine.score_words * cores, 72),
        (machine.activation_words * tokens, 64),
        (machine.fifo_words, 8 * machine.fifo_bytes + 16),
    )
    block = sum(math.ceil(depth * bits / 18_432) for depth, bits in words)
    return {"lut": lut, "dsp": dsp, "block": block}


def fitting(board: Board) -> list[str]:
    """Named machines that fit the board by the rule."""
    return [
        machine.name
        for machine in MACHINES.values()
        if machine.family == board.family and not _over(board, machine)
    ]


def _over(board: Board, machine: MachineConfig) -> dict[str, tuple[int, int]]:
    """What the machine has too much of: (needed at least, there is)."""
    if board.family != "ecp5":
        return {}
    there = board.capacity.values()
    needed = estimate_resources(machine)
    needed["lut"] = round(needed["lut"] * (1 - _LUT_ERROR))
    return {name: (need, there[name]) for name, need in needed.items() if need > there[name]}


def check_fit(board: Board, machine: MachineConfig) -> None:
    """BoardError for a machine of another family, or of more than the device has; it names those that fit
    and what would have to be smaller."""
    fits = fitting(board)
    advice = f"; these fit: {', '.join(fits)}" if fits else ""
    if machine.family != board.family:
        raise BoardError(
            f"machine {machine.name} is for {machine.family}, board {board.name} has {board.family}{advice}"
        )
    if over := _over(board, machine):
        raise BoardError(_refusal(board, machine.name, over, "at least ") + advice)


def warning(board: Board, machine: MachineConfig) -> str | None:
    """What a vendor's tool will most likely not place, by Yosys' counts without it; None where all fits."""
    there = board.capacity.values()
    used = _MEASURED.get(machine.name, {}) if machine.family == board.family == "xcup" else {}
    over = {kind: (count, there[kind]) for kind, count in used.items() if count > there[kind]}
    return f"by Yosys, unplaced, {_refusal(board, machine.name, over, '')}" if over else None


def check_capacity(board: Board, name: str, used: dict[str, int]) -> None:
    """The same for what synthesis found."""
    there = board.capacity.values()
    most = {kind: round(count * (MOST_LUT if kind == "lut" else 1)) for kind, count in there.items()}
    over = {kind: (used[kind], most[kind]) for kind in used if used[kind] > most[kind]}
    if over:
        raise BoardError(_refusal(board, name, over, ""))


def _refusal(board: Board, name: str, over: dict[str, tuple[int, int]], bound: str) -> str:
    """What does not fit, and what would have to shrink."""
    units = {"lut": "look-up tables", "dsp": "DSP blocks", "block": "block RAMs", "ff": "flip-flops"}
    parts = [f"{bound}{need:,} {units.get(kind, kind)} of {most:,}" for kind, (need, most) in over.items()]
    savers: Iterable[str] = dict.fromkeys(field for kind in over for field in _SAVERS.get(kind, ()))
    return (
        f"machine {name} does not fit {board.title} ({board.device}): it needs {', '.join(parts)}; "
        f"what saves: fewer {', '.join(savers)}"
    )
