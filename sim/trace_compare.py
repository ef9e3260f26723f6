"""Instruction by instruction: what the RTL wrote to its memories, against what the interpreter wrote.

Units finish in order, and a `done` says that everything its instruction writes is written: so at each `done`
of the event log the memories are compared where the unit's next instruction in program order writes. The
first difference in order of time is named by the instruction that made it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from hw.isa import BY_NAME, Unit

from .interpreter_tape import Write
from .trace_log import Layout
from .trace_ports import DONE, UNITS
from .trace_shadow import Shadow, Writes

#: Which unit writes a memory, and the memories that tokens share.
WRITER = {
    "ACC": Unit.MATMUL, "MEMORY": Unit.STORE,
    **dict.fromkeys(
        ("ACT", "CONST", "SCALAR", "STAT_TOTAL", "STAT_MAXIMUM", "Q", "QUERY", "QUERY_SCALE", "STAGE_K",
         "STAGE_V"),
        Unit.VECTOR,
    ),
}  # fmt: skip
COMMON = ("CONST", "SCALAR", "MEMORY")
#: Instructions of a unit that may have begun to write before an earlier one is done.
AHEAD = 2


@dataclass(frozen=True)
class Record:
    """One executed instruction, as `sim.interpreter.Interpreter.observer` is told of it."""

    index: int
    name: str
    fields: dict[str, int]
    layer: int
    first: int
    more: int
    writes: list[Write]


@dataclass(frozen=True)
class Wrong:
    """The first thing that is wrong.

    `what` is ``value`` (other bits), ``missing`` (not written by this instruction), ``stray`` (a write where
    no instruction under way writes), ``extra`` (a `done` too many) or ``unfinished`` (none for an
    instruction that the interpreter executed). `cycle` is that of the `done` or of the stray write, as in
    `sim.waves`; None for ``unfinished``. `first` is the entry of the tile's first token, `token` counts from
    it; both None where they do not apply, as `index`, `name` and `layer` for an ``extra`` one. `wanted` and
    `found` are raw bits, None for no write.
    """

    what: str
    unit: str
    cycle: int | None = None
    index: int | None = None
    name: str | None = None
    layer: int | None = None
    first: int | None = None
    token: int | None = None
    memory: str | None = None
    element: int | None = None
    wanted: int | None = None
    found: int | None = None

    def __str__(self) -> str:
        place = f"unit {self.unit}"
        if self.index is not None:
            place = f"instruction {self.index} ({self.name}), layer {self.layer}, tile at entry {self.first}"
        if self.what == "extra":
            return (
                f"{place} in cycle {self.cycle}: done, but every instruction of the program was done before"
            )
        if self.what == "unfinished":
            return f"{place}: executed by the interpreter, never done"
        where = f"{self.memory}[{self.element}]" + ("" if self.token is None else f" of token {self.token}")
        wanted = "no write" if self.wanted is None else f"{self.wanted:#x}"
        found = "no write" if self.found is None else f"{self.found:#x}"
        return f"{place}: {where}: wanted {wanted}, found {found} (cycle {self.cycle})"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


class Recorder:
    """An observer of the interpreter that keeps what it is told."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def __call__(
        self, index: int, name: str, fields: dict[str, int], layer: int, first: int, more: int,
        writes: list[Write],
    ) -> None:  # fmt: skip
        self._records.append(Record(index, name, fields, layer, first, more, writes))

    def take(self) -> list[Record]:
        """The records since the last call."""
        records, self._records = self._records, []
        return records


class TraceCompare:
    """Compares, run by run; what is in the memories stays from run to run.

    Parameters
    ----------
    layout : Layout
        Of the log. Memories that it does not have are not compared.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        dtypes = {kind.memory: kind.dtype for kind in layout.kinds}
        self._shadows = {name: Shadow(layout.sizes[name], dtype) for name, dtype in dtypes.items()}
        self._dones: dict[Unit, int] = dict.fromkeys(UNITS, 0)

    def run(self, events: np.ndarray, records: Sequence[Record]) -> Wrong | None:
        """One run: the first difference in order of time, or None.

        `events` is what `TraceLog.take` gives after it; `records` are all instructions of the run in order.
        After a difference the object is of no further use.
        """
        queues: dict[Unit, deque[Record]] = {unit: deque() for unit in UNITS}
        for record in records:
            if (unit := BY_NAME[record.name].unit) in queues:
                queues[unit].append(record)
        dones = np.flatnonzero(events["kind"] >= DONE)
        segments = np.cumsum(events["kind"] >= DONE)
        writes = {name: self._writes(name, events, segments) for name in self._shadows}
        shown, checked = dict.fromkeys(writes, 0), dict.fromkeys(writes, 0)
        for segment, event in enumerate(dones):
            self._show(writes, shown, segment)
            unit = UNITS[events["kind"][event] - DONE]
            cycle = int(events["cycle"][event])
            if not queues[unit]:
                return Wrong("extra", unit.name, cycle)
            wrong = self._stray(unit, queues[unit], writes, shown, checked)
            wrong = wrong or self._compare(unit, queues[unit][0], cycle)
            if wrong is not None:
                return wrong
            queues[unit].popleft()
            self._dones[unit] += 1
        self._show(writes, shown, len(dones))
        record = next((record for record in records if _waits(record, queues)), None)
        if record is not None:
            return Wrong("unfinished", BY_NAME[record.name].unit.name, **_place(record))
        for unit in UNITS:
            if wrong := self._stray(unit, queues[unit], writes, shown, checked):
                return wrong
        return None

    def _writes(self, memory: str, events: np.ndarray, segments: np.ndarray) -> Writes:
        kinds = {i: kind for i, kind in enumerate(self.layout.kinds) if kind.memory == memory}
        return Writes(events, segments, kinds, self._shadows[memory])

    def _show(self, writes: dict[str, Writes], shown: dict[str, int], segment: int) -> None:
        """Shadows as they are at the end of a segment."""
        for memory, each in writes.items():
            begin, end = shown[memory], each.until(segment)
            if begin == end:
                continue
            shadow, index = self._shadows[memory], each.index[begin:end]
            shadow.value[index] = each.value[begin:end]  # of several to one element the last stays
            shadow.stamp[index] = 1 + self._dones[WRITER[memory]]
            shown[memory] = end

    def _stray(
        self, unit: Unit, queue: deque[Record], writes: dict[str, Writes], shown: dict[str, int],
        checked: dict[str, int],
    ) -> Wrong | None:  # fmt: skip
        """A write of `unit` since its last `done` that belongs to none of its next instructions."""
        for memory, shadow in self._shadows.items():
            if WRITER[memory] != unit or checked[memory] == shown[memory]:
                continue
            each, begin, end = writes[memory], checked[memory], shown[memory]
            checked[memory] = end
            wanted = [
                shadow.at(token or 0, first + np.arange(len(values)))
                for record in islice(queue, 1 + AHEAD)
                for name, token, first, values in record.writes
                if name == memory
            ]
            allowed = np.concatenate([np.zeros(0, np.int64), *wanted])
            outside = np.flatnonzero(~np.isin(each.index[begin:end], allowed))
            if len(outside):
                at = begin + int(outside[0])
                token, element = shadow.place(int(each.index[at]))
                return Wrong(
                    "stray", unit.name, int(each.cycle[at]), **(_place(queue[0]) if queue else {}),
                    token=None if memory in COMMON else token, memory=memory, element=element,
                    found=int(each.value[at]),
                )  # fmt: skip
        return None

    def _compare(self, unit: Unit, record: Record, cycle: int) -> Wrong | None:
        """What `record` should have written, against the shadows."""
        for memory, token, first, values in record.writes:
            if memory not in self._shadows:
                continue
            shadow = self._shadows[memory]
            index = shadow.at(token or 0, first + np.arange(len(values)))
            wanted = np.asarray(values).astype(np.int64).astype(shadow.dtype)
            old = shadow.stamp[index] < max(1, 1 + self._dones[unit] - AHEAD)
            differ = np.flatnonzero(old | (shadow.value[index] != wanted))
            if len(differ):
                at = int(differ[0])
                return Wrong(
                    "missing" if old[at] else "value", unit.name, cycle, **_place(record), token=token,
                    memory=memory, element=first + at, wanted=int(wanted[at]),
                    found=None if old[at] else int(shadow.value[index[at]]),
                )  # fmt: skip
        return None


def _waits(record: Record, queues: dict[Unit, deque[Record]]) -> bool:
    """It is the next one of its unit."""
    queue = queues.get(BY_NAME[record.name].unit)
    return bool(queue) and queue[0] is record


def _place(record: Record) -> dict[str, Any]:
    return {"index": record.index, "name": record.name, "layer": record.layer, "first": record.first}
