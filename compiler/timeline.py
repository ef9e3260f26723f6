"""Cycles of a program on a machine, instruction by instruction: the overlay as units with queues.

The program is walked in the order in which it stands, as the front end does. Each instruction gets the cycle
in which it is passed on, issued (its ``wait_*`` bounds, the queues), begun and done; `compiler.cost` says how
long a unit takes, `compiler.cost_memory` when the tape has the bytes. Nothing is simulated cycle by cycle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hw.isa import (
    BY_NAME,
    EMIT_LOGITS,
    INSTRUCTION_BITS,
    MANY_TILES,
    NO_WAIT,
    WANT_HEAD,
    Index,
    Kind,
    Loop,
    Unit,
    decode,
)
from hw.machine import MachineConfig

from . import cost
from .cost_memory import Memory
from .timeline_units import BYTES, FREE, UNITS, Place, UnitTimes

__all__ = ["FREE", "Place", "Run", "Timeline", "decoded"]

INSTRUCTIONBYTES = INSTRUCTION_BITS // 8
_WAITS = {
    Unit.MATMUL: "wait_matmul", Unit.VECTOR: "wait_vector",
    Unit.ATTENTION: "wait_attention", Unit.STORE: "wait_store",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one walk of a program takes.

    cycles; counters: those of `hw.isa.COUNTERS` that do not depend on values; busy: cycles in which a unit
    takes words, rows or parts, by unit; starved: cycles for lack of tape.
    """

    cycles: float
    counters: dict[str, int]
    busy: dict[str, float]
    starved: float


def decoded(program: bytes) -> list[tuple[str, dict[str, int]]]:
    """Names and fields of a program of 24 bytes an instruction."""
    words = (program[i : i + INSTRUCTIONBYTES] for i in range(0, len(program), INSTRUCTIONBYTES))
    return [decode(int.from_bytes(word, "little")) for word in words]


class Timeline(UnitTimes):
    """One machine with its memory, before a doorbell.

    Parameters
    ----------
    machine, memory: sizes, timing.
    program: as `decoded` gives it.
    free: members of `FREE` that cost nothing.
    layers: repetitions of the loop over layers at most (0: all), for extrapolation.
    """

    def __init__(
        self,
        machine: MachineConfig,
        memory: Memory,
        program: Sequence[tuple[str, dict[str, int]]],
        free: Sequence[str] = (),
        layers: int = 0,
    ) -> None:
        self._layers = layers or 1 << 16
        self._layer_now = 0  #: LAYER register of the instruction at hand
        super().__init__(machine, memory, free)
        self._program = program
        self._time = 0.0

    def step(self, entries: Sequence[Place], tile: int = 1, head: bool = True, logits: bool = False) -> Run:
        """One walk of the program for a chunk; steps follow one another as the token loop does."""
        many = len(entries) > tile
        self._predicates = 1 | many << MANY_TILES | head << WANT_HEAD | (head and logits) << EMIT_LOGITS
        self._entries, self._tile = entries, tile
        self._issued: list[float] = []
        self._begin(self._time)
        start, beats, starved = self._time, self._tape.beats, self._tape.starved
        first_run = len(self._tape.accepted) + 0
        self._runs, self._first_run = 0, first_run
        self._front = start
        self._walk()
        ended = max(
            self._front + 2, self._tape.last + 6, *(q.done[-1] + 2 for q in self._units.values() if q.done)
        )
        tokens = len(entries)
        self._time = ended + tokens + 2 if self._late else ended
        self._counters |= {"read_beats": self._tape.beats - beats, "steps": 1, "tokens": tokens}
        return Run(self._time - start, self._counters, self._busy, self._tape.starved - starved)

    # --- the front end ------------------------------------------------------------------------------------

    def _walk(self) -> None:
        at, layer, first = 0, 0, 0
        starts, counts = {}, {}
        while True:
            name, f = self._program[at]
            at += 1
            if f["predicate"] and not self._predicates >> f["predicate"] & 1:
                self._front += cost.FRONT_END * self._late
                continue
            if name == "END":
                return
            if name == "LOOP":
                starts[f["register"]], counts[f["register"]] = at, min(f["count"], self._layers)
                layer, first = (0, first) if f["register"] == Loop.LAYER else (layer, 0)
                self._front += cost.FRONT_END * self._late
                continue
            if name == "NEXT":
                self._front += cost.FRONT_END * self._late
                if f["register"] == Loop.LAYER:
                    layer += 1
                    at = starts[f["register"]] if layer < counts[f["register"]] else at
                elif first + self._tile < len(self._entries):
                    first, at = first + self._tile, starts[f["register"]]
                continue
            live = self._entries[first : first + self._tile]
            acting = live if f["tiled"] else live[:1]
            if name == "FETCH":
                self._fetch(f, layer, first, acting)
            else:
                self._layer_now = layer
                self._command(name, f, acting)

    def _fetch(self, f: dict[str, int], layer: int, first: int, acting: Sequence[Place]) -> None:
        """Runs to the fetch engine, in the order of the tokens."""
        self._counters["fetches"] += 1
        time = self._front + 2 * self._late
        time = max(time, self._unfinished(Unit.STORE, f["wait_store"]))
        index, size = f["index"], f["bytes"]
        if f["sequence"]:
            heads = [e for t, e in enumerate(acting) if not (t and e.continues)]
            runs = [(f["base"] + layer * f["stride"] + size * e.base, size * e.position) for e in heads]
        elif index in (Index.NONE, Index.LAYER):
            runs = [(f["base"] + (layer * f["stride"] if index == Index.LAYER else 0), size)]
        else:
            of: dict[int, Callable[[int, Place], int]] = {
                Index.POSITION: lambda _, e: e.position,
                Index.TOKEN: lambda _, e: e.token,
                Index.ENTRY: lambda t, _: first + t,
            }
            runs = [(f["base"] + of[index](t, e) * f["stride"], size) for t, e in enumerate(acting)]
        depth = 8 * self._machine.tile
        for address, length in runs:
            time += cost.FETCH_RUN * self._late
            if length:
                number = self._first_run + self._runs
                if self._runs >= depth:
                    time = max(time, self._tape.accepted_all(number - depth + 1) + 1)
                self._tape.append(time + cost.QUEUE_LATENCY * self._late, address, length)
                self._runs += 1
            self._counters[BYTES[Kind(f["kind"])]] += length
        self._front = time + 1 * self._late

    def _unfinished(self, unit: Unit, bound: int) -> float:
        """The first cycle in which at most `bound` of the unit's instructions so far are unfinished."""
        done = self._units[unit].done
        return done[-1 - bound] + 1 if bound < NO_WAIT and len(done) > bound else 0.0

    def _command(self, name: str, f: dict[str, int], acting: Sequence[Place]) -> None:
        """To the issue queue, to the unit, to its end."""
        unit = BY_NAME[name].unit
        queue, depth = self._units[unit], self._machine.queue_depth
        passed = self._front + 2 * self._late
        if len(self._issued) >= depth:
            passed = max(passed, self._issued[-depth] + 1)
        self._front = passed + 1 * self._late
        issue = passed + cost.QUEUE_LATENCY * self._late
        if self._issued:
            issue = max(issue, self._issued[-1] + 1 * self._late)
        issue = max(issue, *(self._unfinished(u, f[_WAITS[u]]) for u in UNITS))
        if len(queue.done) >= cost.UNIT_QUEUE + 2:
            issue = max(issue, queue.done[-cost.UNIT_QUEUE - 2] + 1)
        if len(queue.accepted) >= cost.UNIT_QUEUE:
            issue = max(issue, queue.accepted[-cost.UNIT_QUEUE] + 1)
        self._issued.append(issue)
        self._counters["instructions"] += 1
        ready = issue + cost.UNIT_LATENCY * self._late
        act = getattr(self, f"_{unit.name.lower()}")
        accepted, done = act(name, f, acting, ready, queue)
        queue.accepted.append(accepted)
        queue.done.append(done)
