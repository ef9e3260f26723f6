"""Where everything lies on the tape, in the order in which the program takes it (bytes: `compiler.tape`)."""

from collections.abc import Iterable
from dataclasses import dataclass

from hw.integer_shape import IntegerShape
from hw.machine import MachineConfig
from hw.trits import TRITS_PER_BYTE

from .fit import align
from .lower import SIDE, Content, Step
from .memory_map import REGION_ALIGN

__all__ = ["MAX_FETCH", "Run", "content_size", "runs"]

#: Longest FETCH, a multiple of every bus width.
MAX_FETCH = 2**26 - REGION_ALIGN


@dataclass(frozen=True)
class Run:
    """Neighbouring contents that one fetch brings: a side fetch, or bytes of the block's segment.

    offset: first byte in the block's part of the tape, a multiple of 64; size: bytes. Side fetches: 0.
    predicate: of all instructions that take from it.
    """

    contents: tuple[Content, ...]
    offset: int = 0
    size: int = 0
    predicate: int = 0

    @property
    def side(self) -> str | None:
        """Which side fetch, if it is one."""
        return self.contents[0].kind if self.contents[0].kind in SIDE else None


def content_size(machine: MachineConfig, step: Step) -> int:
    """Bytes that a step takes, without making them; 0 for side fetches."""
    f, content = step.fields, step.content
    if content is None or content.kind in SIDE:
        return 0
    if step.name == "MATMUL":
        return f["rows"] * -(-f["k"] // TRITS_PER_BYTE)
    return 4 * f["n"] if step.name == "MAP" else IntegerShape.of(machine, f).bytes


def runs(machine: MachineConfig, steps: Iterable[Step], start: int = 0) -> tuple[list[Run], int]:
    """The fetches of one part in tape order from byte `start` of its block's tape, and the byte behind them.

    Both bytes are multiples of 64.
    """
    found: list[Run] = []
    offset, size, open_, predicate = start, 0, [], 0
    for step in (*steps, None):
        if step is not None and step.content is None:
            continue
        side = step is not None and step.content is not None and step.content.kind in SIDE
        other = step is None or step.fields.get("predicate", 0) != predicate
        if open_ and (side or other):
            found.append(Run(tuple(open_), offset, size, predicate))
            offset, size, open_ = offset + align(size, REGION_ALIGN), 0, []
        if step is None or step.content is None:
            break
        predicate = step.fields.get("predicate", 0)
        if side:
            found.append(Run((step.content,), predicate=predicate))
        else:
            open_.append(step.content)
            size += content_size(machine, step)
    return found, offset
