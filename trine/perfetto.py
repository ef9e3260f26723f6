"""A run on RTL as a Perfetto file: the trace-event JSON that ui.perfetto.dev and chrome://tracing open.

Every interval is from the RTL's activity log (`sim.activity_log`). A cycle is shown as a period of the
machine's clock: cycle n begins at n / clock, rounded to whole ns; the arguments have exact cycles.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from compiler.assembler import INSTRUCTION_BYTES, line
from hw.isa import Function, Kind, Pass, Payload, Target
from sim.activity_account import shares
from sim.activity_log import ACCOUNT, BUS, UNITS, Activity, Command, Sample, Span

__all__ = ["WINDOW", "trace_events"]

#: Cycles between values of a counter track, at least.
WINDOW = 64
#: Rows in the order in which they are shown; a unit's second row has instructions begun behind another one.
ROWS = ("runs of the program", "fetch", "bus",
        *(row for unit in UNITS for row in (unit, f"{unit}: begun behind another")))  # fmt: skip
_ROW = {name: i + 1 for i, name in enumerate(ROWS)}
_BUS = dict(zip(BUS, ("busy", "full", "wait", "idle"), strict=True))
_ROLE = {
    "MAP": ("function", Function),
    "QUANTISE": ("target", Target),
    "ATTEND": ("half", Pass),
    "STORE": ("payload", Payload),
}


class _Writer:
    """Makes events of one clock."""

    def __init__(self, clock_mhz: float):
        self._ns = 1000 / clock_mhz

    def at(self, cycle: int) -> float:
        """Microseconds, the format's unit, to whole ns."""
        return round(cycle * self._ns) / 1000

    def slice(self, row: str, name: str, span: Span, **args: Any) -> dict[str, Any]:
        """An interval; in whole ns its end is the beginning of the cycle after it."""
        start, end = self.at(span.start), self.at(span.end)
        return {
            "ph": "X",
            "pid": 1,
            "tid": _ROW[row],
            "name": name,
            "ts": start,
            "dur": round(end - start, 3),
            "args": {"cycle": span.start, "cycles": span.end - span.start, **args},
        }

    def counter(self, name: str, cycle: int, **values: float) -> dict[str, Any]:
        """A point of a counter track."""
        return {"ph": "C", "pid": 1, "name": name, "ts": self.at(cycle), "args": values}


def trace_events(
    activity: Activity, program: bytes, *, machine: str, clock_mhz: float, bus_bytes: int
) -> list[dict[str, Any]]:
    """All trace events of a run. program: the artefact's, which names the index of each instruction."""
    write = _Writer(clock_mhz)
    words = [program[at : at + INSTRUCTION_BYTES] for at in range(0, len(program), INSTRUCTION_BYTES)]
    index = _indices(activity.commands, [int.from_bytes(word, "little") for word in words])
    events = list(_names(machine))
    for number, span in enumerate(activity.steps):
        events.append(write.slice("runs of the program", f"step {number}", span, step=number))
    for fetch in activity.fetches:
        events.append(
            write.slice("fetch", Kind(fetch.kind).name.lower(), Span(fetch.start, fetch.end),
                        bytes=fetch.bytes, address=fetch.address, layer=fetch.layer,
                        asked_in_cycle=fetch.asked)
        )  # fmt: skip
    for state, span in activity.bus:
        events.append(write.slice("bus", _BUS[BUS[state]], span))
    own = {id(share.command): share.cycles for share in shares(activity)}
    for unit in UNITS:
        for command, span, ahead in activity.in_turn(unit):
            args = _arguments(command, index[id(command)], own[id(command)])
            name = _name(command)
            events.append(write.slice(unit, name, span, **args))
            if ahead is not None:
                events.append(write.slice(f"{unit}: begun behind another", name, ahead, **args))
    events += _counters(write, activity.samples, bus_bytes)
    return events


def _names(machine: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": f"machine {machine}"}}
    for name, row in _ROW.items():
        yield {"ph": "M", "pid": 1, "tid": row, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": 1, "tid": row, "name": "thread_sort_index", "args": {"sort_index": row}}


def _indices(commands: Sequence[Command], words: Sequence[int]) -> dict[int, int | None]:
    """Place in the program of each command, by its id; None where several instructions are the same word."""
    places: dict[int, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word, []).append(place)
    found = {}
    for command in commands:
        these = places.get(command.word, [])
        found[id(command)] = these[0] if len(these) == 1 else None
    return found


def _name(command: Command) -> str:
    name, fields = command.decoded()
    if name in ("MATMUL", "LINEAR", "HEAD"):
        return f"{name} {fields['rows']} x {fields['k']}"
    if name in _ROLE:
        field, values = _ROLE[name]
        return f"{name} {values(fields[field]).name}"
    return name


def _arguments(command: Command, index: int | None, own: tuple[int, ...]) -> dict[str, Any]:
    name, fields = command.decoded()
    cycles = {f"{kind}_cycles": count for kind, count in zip(ACCOUNT, own, strict=True) if count}
    return {
        "instruction": line(name, fields), "index": index, "layer": command.layer,
        "first": command.first, "tokens": command.tokens,
        "accepted_in_cycle": command.accepted, "done_in_cycle": command.done, **cycles,
    }  # fmt: skip


def _counters(write: _Writer, samples: Sequence[Sample], bus_bytes: int) -> Iterator[dict[str, Any]]:
    """Level of the tape FIFO, bytes a cycle, share of each kind of cycle, about every `WINDOW` cycles."""
    group: list[Sample] = []
    for number, sample in enumerate(samples):
        group.append(sample)
        cycles = sum(one.end - one.start for one in group)
        if cycles < WINDOW and number + 1 < len(samples):
            continue
        start = group[0].start
        yield write.counter("tape FIFO, words", start, words=group[0].level)
        read, written = (sum(getattr(one, name) for one in group) for name in ("read_beats", "write_beats"))
        yield write.counter("read, bytes a cycle", start, bytes=round(read * bus_bytes / cycles, 3))
        yield write.counter("written, bytes a cycle", start, bytes=round(written * bus_bytes / cycles, 3))
        account = [sum(one.account[i] for one in group) for i in range(len(ACCOUNT))]
        shown = {kind: round(100 * count / cycles, 1) for kind, count in zip(ACCOUNT, account, strict=True)}
        yield write.counter("where the cycles go, %", start, **shown)
        group = []
