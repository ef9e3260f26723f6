"""Reading the simulator's activity log: when every instruction, fetch and step ran, and what the bus did.

Cycles are numbered as in `sim.waves`: they are those of runs since the first doorbell.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from hw.isa import decode

from .activity_module import ACCOUNT, BUS, UNITS
from .errors import SimulationError

__all__ = [
    "ACCOUNT",
    "BUS",
    "EVENT",
    "UNITS",
    "Activity",
    "ActivityLog",
    "Command",
    "Fetch",
    "Sample",
    "Span",
]

#: Layout of ``activity.cpp``.
EVENT = np.dtype([("cycle", "<u8"), ("length", "<u4"), ("kind", "u1"), ("which", "u1"), ("layer", "<u2"),
                  ("a", "<u4"), ("b", "<u4"), ("data", "u1", (24,))])  # fmt: skip
COMMAND, DONE, FETCH, BUS_STATE, SAMPLE, STEP = range(6)
#: Source beside a simulator that can write the log.
WRITER = "activity.cpp"


@dataclass(frozen=True)
class Span:
    """Cycles `start` <= n < `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Command:
    """One instruction in a unit: taken from its queue in cycle `accepted`, its ``done`` in cycle `done`.

    first: entry of the tile's first token; tokens: that it acts for (1 where it is not tiled).
    """

    unit: str
    accepted: int
    done: int
    layer: int
    first: int
    tokens: int
    word: int

    def decoded(self) -> tuple[str, dict[str, int]]:
        """Name and fields."""
        return decode(self.word)


@dataclass(frozen=True)
class Fetch:
    """One run of memory: taken by the fetch engine in cycle `asked`; its beats came in `start` to `end` - 1.

    kind: of `hw.isa.Kind`.
    """

    asked: int
    start: int
    end: int
    kind: int
    layer: int
    address: int
    bytes: int


@dataclass(frozen=True)
class Sample:
    """Neighbouring cycles, at most 64, in which no instruction began or ended but at its ends.

    account: cycles by `ACCOUNT`, which add up to its length. level: words in the tape FIFO in its last cycle.
    """

    start: int
    end: int
    level: int
    read_beats: int
    write_beats: int
    account: tuple[int, ...]


@dataclass(frozen=True)
class Activity:
    """What one or more runs did, each list in order of time.

    bus: (state of `BUS`, cycles), neighbours of one state merged. steps: runs of the program.
    """

    commands: list[Command]
    fetches: list[Fetch]
    bus: list[tuple[int, Span]]
    samples: list[Sample]
    steps: list[Span]

    @classmethod
    def of(cls, events: np.ndarray) -> Self:
        """From the events of whole runs; `SimulationError` where an instruction did not end."""
        return cls(_commands(events), _fetches(events), *_bus_and_samples(events))

    def account(self) -> dict[str, int]:
        """Cycles by `ACCOUNT`."""
        sums = np.array([sample.account for sample in self.samples]).reshape(-1, len(ACCOUNT)).sum(0)
        return dict(zip(ACCOUNT, map(int, sums), strict=True))

    def in_turn(self, unit: str) -> list[tuple[Command, Span, Span | None]]:
        """Commands of a unit, the cycles in which each is the oldest there, and those before in which it was
        the second (MATMUL builds tables while the one before streams), if they are more than the cycle of
        that one's ``done``."""
        found, first, before = [], 0, 0
        for command in (one for one in self.commands if one.unit == unit):
            start = max(command.accepted, before)
            second = max(command.accepted, first)
            ahead = Span(second, start) if second + 1 < start else None
            first, before = start, command.done + 1
            found.append((command, Span(start, before), ahead))
        return found


def _commands(events: np.ndarray) -> list[Command]:
    """Units finish in order, so the n-th ``done`` is of the n-th command."""
    found: list[Command] = []
    for number, unit in enumerate(UNITS):
        mine = events[events["which"] == number]
        taken, dones = mine[mine["kind"] == COMMAND], mine[mine["kind"] == DONE]
        if len(taken) != len(dones):
            raise SimulationError(
                f"activity log: unit {unit} took {len(taken)} instructions and finished {len(dones)}; "
                "wanted a run that ended"
            )
        found += [
            Command(unit, int(c["cycle"]), int(d["cycle"]), int(c["layer"]), int(c["a"]), int(c["b"]) + 1,
                    int.from_bytes(c["data"].tobytes(), "little"))
            for c, d in zip(taken, dones, strict=True)
        ]  # fmt: skip
    return sorted(found, key=lambda one: (one.accepted, one.unit))


def _fetches(events: np.ndarray) -> list[Fetch]:
    rows = events[events["kind"] == FETCH]
    return [
        Fetch(int(row["data"][:8].view("<u8")[0]), int(row["cycle"]), int(row["cycle"]) + int(row["length"]),
              int(row["which"]), int(row["layer"]), int(row["a"]), int(row["b"]))
        for row in rows
    ]  # fmt: skip


def _bus_and_samples(events: np.ndarray) -> tuple[list[tuple[int, Span]], list[Sample], list[Span]]:
    def spans(kind: int) -> tuple[np.ndarray, list[Span]]:
        rows = events[events["kind"] == kind]
        starts, lengths = rows["cycle"].tolist(), rows["length"].tolist()
        return rows, [Span(start, start + length) for start, length in zip(starts, lengths, strict=True)]

    rows, cycles = spans(BUS_STATE)
    bus = list(zip(rows["which"].tolist(), cycles, strict=True))
    rows, cycles = spans(SAMPLE)
    account = len(ACCOUNT)
    samples = [
        Sample(span.start, span.end, level, data[account], data[account + 1], tuple(data[:account]))
        for span, level, data in zip(cycles, rows["a"].tolist(), rows["data"].tolist(), strict=True)
    ]
    return bus, samples, spans(STEP)[1]


class ActivityLog:
    """The log of one running simulator."""

    def __init__(self, executable: Path, path: Path):
        if not (executable.parent / WRITER).exists():
            raise SimulationError(
                f"wanted a simulator of sim.verilate.build_overlay, found no activity log in {executable}"
            )
        self._path = path

    @property
    def plusargs(self) -> list[str]:
        """Arguments of the simulator."""
        return [f"+activity={self._path}"]

    def take(self) -> Any:
        """Events (of type `EVENT`) since the last call; to be called while no run is under way."""
        events = np.fromfile(self._path, EVENT)
        os.truncate(self._path, 0)
        return events
