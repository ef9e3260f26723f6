"""The dependency limit: how short a decode token could be if only the order of its computations mattered.

Each instruction takes what it takes alone on this machine, with all its bytes of the tape there; it begins
when those whose results it reads are done. Units may do any number of instructions at once, and memory costs
nothing. The longest chain is what the machine's latencies and rates leave; what a token takes beyond it is
waiting for memory, for busy units, or for operands that are still to be overwritten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hw.isa import BY_NAME, WANT_HEAD, Dest, Feed, Loop, Pass, Source, Unit
from hw.machine import MachineConfig

from . import cost
from .hazards import accesses
from .timeline_units import Place, Queue, UnitTimes

__all__ = ["Link", "dependency_chain"]

#: From ``done`` of what is waited for to the command at the unit, if nothing else is before it: issue and the
#: unit's queue. Behind an instruction of their own unit commands are waiting there: the vector unit takes the
#: next one in the cycle of ``done``, attention a cycle later.
ISSUE = 1 + cost.UNIT_LATENCY
_NEXT = {Unit.VECTOR: 0, Unit.ATTENTION: 1}
#: Resources that carry no result from one instruction to another.
_NO_RESULT = ("TAPE", "LOGITS")


@dataclass(frozen=True)
class Link:
    """An instruction of the chain. begin, end: cycles since the token began, its issue included."""

    name: str
    fields: dict[str, int]
    layer: int
    begin: float
    end: float


class _Plenty:
    """A tape on which all bytes lie ready."""

    now = starved = last = 0.0
    beats = 0

    def take(self, size: int, rate: float, start: float) -> float:
        return start + size / rate


class _Alone(UnitTimes):
    """What an instruction takes on a machine that does nothing else."""

    def __init__(self, machine: MachineConfig) -> None:
        super().__init__(machine, _NoMemory(), ())
        self._tape = _Plenty()  # pyright: ignore[reportAttributeAccessIssue]  as much of a tape as is used

    def cycles(self, name: str, f: dict[str, int], token: Place, heads: int) -> float:
        """From the command to ``done``. ``heads``: whose output a MAP from attention waits for."""
        unit = BY_NAME[name].unit
        self._begin(0.0)
        self._built = self._keys = float("-inf")
        self._bank_ends = [self._built, self._built]
        if name == "MAP" and f["source"] == Source.ATTENTION:
            self._outputs = [cost.output_scale(self._machine) + float(h) for h in range(heads)]
        act = {Unit.MATMUL: self._matmul, Unit.VECTOR: self._vector, Unit.ATTENTION: self._attention}[unit]
        return act(name, f, [token], 0.0, Queue())[1]


class _NoMemory:
    """Timing of a memory that nothing asks."""

    latency = write_latency = turn = refresh_every = refresh_cycles = 0
    stall_r = stall_ar = stall_aw = stall_w = 0


def dependency_chain(
    machine: MachineConfig, program: Sequence[tuple[str, dict[str, int]]], token: Place
) -> list[Link]:
    """The longest chain of a decode token through a program as `compiler.timeline.decoded` gives it, first to
    last; the end of its last link is the limit, in cycles."""
    alone = _Alone(machine)
    written: dict[str, list[tuple[int, int, int]]] = {}  #: by resource: low, high, link that wrote it
    links: list[Link] = []
    before: list[int] = []
    heads = 1
    for name, f, layer in _walked(program):
        unit = BY_NAME[name].unit
        if unit not in (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION):
            continue
        touched = [access for access in accesses(name, f) if access.resource not in _NO_RESULT]
        sources = [
            link
            for access in touched
            if not access.write
            for low, high, link in written.get(access.resource, ())
            if low < access.high and access.low < high
        ]
        # The passes of attention keep their order: the stage's rows follow those of the tape.
        if name == "ATTEND":
            heads = f["kv_heads"] * f["group"]
            if f["feed"] == Feed.STAGE:
                sources.append(len(links) - 1 - [link.name for link in reversed(links)].index("ATTEND"))

        def accepted(link: int, unit: Unit = unit) -> float:
            """When the unit can take the command, as far as that source goes."""
            same = BY_NAME[links[link].name].unit == unit
            return links[link].end + (_NEXT.get(unit, ISSUE) if same else ISSUE)

        last = max(sources, key=accepted, default=-1)
        begin, start = (links[last].end, accepted(last)) if last >= 0 else (0.0, float(ISSUE))
        links.append(Link(name, f, layer, begin, start + alone.cycles(name, f, token, heads)))
        before.append(last)
        for access in touched:
            if access.write:
                _overwrite(written.setdefault(access.resource, []), access.low, access.high, len(links) - 1)
    at = max(range(len(links)), key=lambda link: links[link].end)
    chain = []
    while at >= 0:
        chain.append(links[at])
        at = before[at]
    return chain[::-1]


def _overwrite(found: list[tuple[int, int, int]], low: int, high: int, link: int) -> None:
    """Elements [low, high) now come from `link`."""
    kept = []
    for a, b, one in found:
        kept += [(a, min(b, low), one)] * (a < low) + [(max(a, high), b, one)] * (b > high)
    found[:] = [*((a, b, one) for a, b, one in kept if a < b), (low, high, link)]


def _walked(program: Sequence[tuple[str, dict[str, int]]]) -> list[tuple[str, dict[str, int], int]]:
    """Name, fields and layer of each instruction that one decode token executes, in order."""
    predicates = 1 | 1 << WANT_HEAD
    out: list[tuple[str, dict[str, int], int]] = []
    at = layer = start = count = 0
    while program[at][0] != "END":
        name, f = program[at]
        at += 1
        if name == "LOOP" and f["register"] == Loop.LAYER:
            start, count, layer = at, f["count"], 0
        elif name == "NEXT" and f["register"] == Loop.LAYER:
            layer += 1
            at = start if layer < count else at
        elif name not in ("LOOP", "NEXT") and predicates >> f["predicate"] & 1:
            out.append((name, f, layer))
    return out


def what(link: Link) -> str:
    """A few words that tell instructions of one name apart."""
    f = link.fields
    if link.name in ("MATMUL", "LINEAR", "HEAD"):
        return f"{link.name} {f['rows']} x {f['k']}"
    if link.name == "ATTEND":
        return f"ATTEND {Pass(f['half']).name.lower()} from {Feed(f['feed']).name.lower()}"
    if link.name == "MAP":
        source, dest = Source(f["source"]).name.lower(), Dest(f["dest"]).name.lower()
        return f"MAP {source} to {dest}, {f['n']}"
    return f"{link.name} {f['n']}" if "n" in f else link.name
