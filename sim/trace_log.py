"""Reading the simulator's event log: every write and every `done`, in order of cycles.

Events of one cycle: writes first, then dones, each in the order of the tables of `sim.trace_ports`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from hw.isa import Unit

from .errors import SimulationError
from .trace_ports import DONE, EVENT_HEAD, LAYOUT, UNITS


@dataclass(frozen=True)
class Kind:
    """One kind of write: to which memory, how many elements of how many bits, whether each has a strobe."""

    memory: str
    bits: int
    elements: int
    strobes: bool

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Unsigned type of an element."""
        return np.dtype(f"<u{self.bits // 8}")


@dataclass(frozen=True)
class Layout:
    """Form of one machine's log.

    Members
    -------
    event: structured type: cycle (u8, as in `sim.waves`), address (u4, first element), kind (u1), token (u1),
        data (bytes).
    kinds: of writes; a `done` has the kind DONE + index in `UNITS`.
    sizes: elements of each memory for one token, at which addresses wrap; 0 for MEMORY, bytes of the DRAM.
    """

    event: np.dtype[np.void]
    kinds: tuple[Kind, ...]
    sizes: dict[str, int]

    @classmethod
    def load(cls, text: str) -> Self:
        """From the JSON of `sim.trace_ports.layout`."""
        values = json.loads(text)
        event = np.dtype([
            ("cycle", "<u8"), ("address", "<u4"), ("kind", "u1"), ("token", "u1"), ("unused", "<u2"),
            ("data", "u1", (values["event_bytes"] - EVENT_HEAD,)),
        ])  # fmt: skip
        return cls(event, tuple(Kind(**kind) for kind in values["kinds"]), values["sizes"])

    @classmethod
    def of(cls, executable: Path) -> Self:
        """Of a simulator; `SimulationError` where it has no log."""
        try:
            return cls.load((executable.parent / LAYOUT).read_text())
        except FileNotFoundError:
            raise SimulationError(
                f"wanted a simulator of sim.verilate.build_overlay, found no event log in {executable}"
            ) from None

    def unit(self, kind: int) -> Unit | None:
        """Whose `done` a kind is; None for a write."""
        return UNITS[kind - DONE] if kind >= DONE else None


class TraceLog:
    """The log of one running simulator.

    Members
    -------
    layout : Layout
    """

    def __init__(self, layout: Layout, path: Path):
        self.layout, self._path = layout, path

    def take(self) -> np.ndarray:
        """Events (of type `layout.event`) since the last call; they are removed from the file.

        To be called while no run is under way: the simulator writes them at the end of a run at the latest.
        """
        events = np.fromfile(self._path, self.layout.event)
        os.truncate(self._path, 0)
        return events
