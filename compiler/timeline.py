"""Cycles of a program on a machine, instruction by instruction: the overlay as units with queues.

The program is walked in the order in which it stands, as the front end does. Each instruction gets the cycle
in which it is passed on, issued (its ``wait_*`` bounds, the queues), begun and done; `compiler.cost` says how
long a unit takes, `compiler.cost_memory` when the tape has the bytes. Nothing is computed twice and nothing is
simulated cycle by cycle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hw.isa import (
    BY_NAME,
    EMIT_LOGITS,
    INSTRUCTION_BITS,
    MANY_TILES,
    NO_WAIT,
    WANT_HEAD,
    Feed,
    Index,
    Kind,
    Loop,
    Pass,
    Payload,
    Source,
    Unit,
    decode,
)
from hw.machine import MachineConfig

from . import cost
from .cost_memory import Memory, Tape

__all__ = ["FREE", "Place", "Run", "Timeline", "decoded"]

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
_UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
_WAITS = {
    Unit.MATMUL: "wait_matmul", Unit.VECTOR: "wait_vector",
    Unit.ATTENTION: "wait_attention", Unit.STORE: "wait_store",
}  # fmt: skip
#: `sim/dram.sv`: beats that one direction may move while the other waits.
_SHARE = 16
#: What can be made to cost nothing, to see what binds.
FREE = ("memory", "matmul", "vector", "attention", "latency")
_BYTES = {Kind.WEIGHTS: "weight_bytes", Kind.KV: "kv_read_bytes", Kind.OTHER: "other_bytes"}
_STORED = {Payload.KEY: "kv_write_bytes", Payload.VALUE: "kv_write_bytes",
           Payload.LOGITS: "logit_bytes", Payload.ACTIVATION: "spill_bytes"}  # fmt: skip


class Place(Protocol):
    """An entry of the token table, as `sim.entries.Entry`."""

    @property
    def token(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def base(self) -> int: ...
    @property
    def continues(self) -> bool: ...


@dataclass(frozen=True)
class Run:
    """What one walk of a program takes. cycles; counters: those of `hw.isa.COUNTERS` that do not depend on
    values; busy: cycles in which a unit takes words, rows or parts, by unit; starved: cycles for lack of tape.
    """

    cycles: float
    counters: dict[str, int]
    busy: dict[str, float]
    starved: float


def decoded(program: bytes) -> list[tuple[str, dict[str, int]]]:
    """Names and fields of a program of 24 bytes an instruction."""
    words = (program[i : i + INSTRUCTION_BYTES] for i in range(0, len(program), INSTRUCTION_BYTES))
    return [decode(int.from_bytes(word, "little")) for word in words]


@dataclass
class _Queue:
    """A unit: when its instructions were accepted and done, and when it can take the next."""

    accepted: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    free: float = 0.0


class Timeline:
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
        self._machine, self._memory, self._program = machine, memory, program
        self._no = {name: float(name not in free) for name in FREE}
        self._late = self._no["latency"]
        self._tape = Tape(machine, memory, "memory" in free)
        self._time = 0.0

    def step(self, entries: Sequence[Place], tile: int = 1, head: bool = True, logits: bool = False) -> Run:
        """One walk of the program for a chunk; steps follow one another as the token loop does."""
        many = len(entries) > tile
        self._predicates = 1 | many << MANY_TILES | head << WANT_HEAD | (head and logits) << EMIT_LOGITS
        self._entries, self._tile = entries, tile
        self._units = {unit: _Queue(free=self._time) for unit in _UNITS}
        self._issued: list[float] = []
        self._built = self._streamed = self._banks = self._time
        self._bank_ends = [self._time, self._time]
        self._outputs: list[float] = []
        self._counters = dict.fromkeys([*_BYTES.values(), *_STORED.values()], 0)
        self._counters |= dict.fromkeys(("instructions", "fetches", "lookups", "vector_elements"), 0)
        self._busy = dict.fromkeys(("matmul", "vector", "attention"), 0.0)
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
            self._counters[_BYTES[Kind(f["kind"])]] += length
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
        issue = max(issue, *(self._unfinished(u, f[_WAITS[u]]) for u in _UNITS))
        if len(queue.done) >= cost.UNIT_QUEUE + 2:
            issue = max(issue, queue.done[-cost.UNIT_QUEUE - 2] + 1)
        if len(queue.accepted) >= cost.UNIT_QUEUE:
            issue = max(issue, queue.accepted[-cost.UNIT_QUEUE] + 1)
        self._issued.append(issue)
        self._counters["instructions"] += 1
        ready = issue + cost.QUEUE_LATENCY * self._late
        act = getattr(self, f"_{unit.name.lower()}")
        accepted, done = act(name, f, acting, ready, queue)
        queue.accepted.append(accepted)
        queue.done.append(done)

    # --- the units: the cycle in which a command is accepted, and that of its `done` -----------------------

    def _take(self, size: int, cycles: float, start: float, unit: str) -> float:
        """Take bytes in so many cycles from `start` on; the cycle after the last."""
        self._busy[unit] += cycles
        cycles *= self._no[unit]
        return self._tape.take(size, size / cycles if cycles else float("inf"), start)

    def _matmul(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: _Queue
    ) -> tuple[float, float]:
        late, work = self._late, self._no["matmul"]
        if name != "MATMUL":
            accepted = max(ready, queue.done[-1] + 1 if queue.done else 0.0)
            c = cost.linear(self._machine, name, f, len(acting))
            end = self._take(c.pairs * c.pair_bytes, c.pairs * c.pair, accepted + c.head * late, "matmul")
            self._built = self._streamed = done = end - 1 + c.tail * late
            self._bank_ends = [done, done]
            return accepted, done
        c = cost.matmul(self._machine, f)
        accepted = loads = max(ready, self._built + 1, queue.free)
        loads += 2 * late
        for number, size in enumerate(c.chunks):
            built = max(loads + size * work, self._bank_ends[-2] + 1) + c.build * late
            end = self._take(c.rows * size, c.rows, max(built, self._streamed), "matmul")
            self._streamed = end
            self._bank_ends = [self._bank_ends[-1], end - 1]
            loads = built
        self._built = built - 1
        self._counters["lookups"] += c.bytes
        return accepted, end - 1 + c.tail * late

    def _vector(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: _Queue
    ) -> tuple[float, float]:
        tokens, late = len(acting), self._late
        accepted = max(ready, queue.done[-1] if queue.done else 0.0)
        if name == "NORM":
            c = cost.norm(f, tokens)
        else:
            c = (cost.map_ if name == "MAP" else cost.quantise)(self._machine, f, tokens)
            self._counters["vector_elements"] += f["n"] * tokens
        start = accepted + c.start * late
        if c.bytes:
            end = self._take(c.bytes, c.cycles, start, "vector")
        elif name == "MAP" and f["source"] == Source.ATTENTION:
            end = self._output(start, c.cycles)
            self._busy["vector"] += c.cycles
        else:
            end = start + c.cycles * self._no["vector"]
            self._busy["vector"] += c.cycles
        return accepted, end + c.tail * late

    def _output(self, start: float, cycles: float) -> float:
        """Words of attention's output, head by head as their scales come; the cycle after the last."""
        time, each = start, cycles / len(self._outputs)
        for scale in self._outputs:
            time = max(time, scale + 1) + each * self._no["vector"]
        self._units[Unit.ATTENTION].free = time + 1
        return time

    def _attention(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: _Queue
    ) -> tuple[float, float]:
        tokens, late = len(acting), self._late
        accepted = max(ready, (queue.done[-1] + 1) if queue.done else 0.0, queue.free)
        time = accepted + (1 + (tokens - 1)) * late  # the cycle of `start`
        stage = f["feed"] == Feed.STAGE
        c = cost.attend(self._machine, f, not stage)
        if stage:
            rows = c.row * self._no["attention"]
            self._busy["attention"] += c.row * tokens
            end = time + 3 * late + tokens * rows + (tokens - 1) * 4 * late
        else:
            if f["half"] == Pass.VALUE:
                first = self._keys + (cost.WEIGHT + f["group"] - 1) * late
                time = max(time, first)
            end = time
            for t, entry in enumerate(acting):
                if t and entry.continues:
                    continue
                count = entry.position
                begin = end + (1 if t == 0 else 2) * late
                end = self._take(count * c.row_bytes, count * c.row, begin, "attention") if count else begin
        done = end + (c.tail * late if f["last"] else 0)
        if f["half"] == Pass.KEY:
            self._keys = done
        elif f["last"]:
            heads = f["kv_heads"] * f["group"]
            step = (cost.DIVIDE + 1) * late
            scales = [done + cost.OUTPUT_SCALE * late + h * step for h in range(heads)]
            later = [scales[-1]] * (heads * (tokens - 1))
            self._outputs = scales + later
        return accepted, done

    def _store(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: _Queue
    ) -> tuple[float, float]:
        memory, machine, tokens = self._memory, self._machine, len(acting)
        accepted = max(ready, queue.done[-1] + 1 if queue.done else 0.0)
        payload = Payload(f["payload"])
        size = f["bytes"] * tokens
        self._counters[_STORED[payload]] += size
        words = payload in (Payload.LOGITS, Payload.ACTIVATION)
        spacing = machine.bus_bytes // 4 if words else 1
        stretch = 1024 / (1024 - memory.stall_w)
        runs = 1 if payload == Payload.LOGITS else tokens
        beats = cost.store_beats(machine, size // runs)
        time = accepted + (4 + 1024 / (1024 - memory.stall_aw)) * self._late
        if payload == Payload.LOGITS:
            matmul = self._units[Unit.MATMUL]
            begun = matmul.accepted[-1] if matmul.accepted else time
            time = max(time, begun)
        bursts = -(-beats // machine.burst_beats)
        each = beats * max(spacing, stretch) + 2 * bursts
        lost = beats * min(spacing, 1 + memory.turn) + memory.turn
        if beats * runs > _SHARE and spacing * stretch < 1 + memory.turn / _SHARE and self._tape.last > time:
            # Reads that wait get as many beats after each such share of writes, and the bus turns twice more.
            shares = (beats * runs - 1) // _SHARE / runs
            each += shares * (1 + memory.turn + _SHARE * 1024 / (1024 - memory.stall_r))
            lost += shares * memory.turn
        for _ in range(runs):
            self._tape.write(time, lost * self._no["memory"])
            time = self._tape.written(time, each * (1.0 if words else self._no["memory"]))
        if payload == Payload.LOGITS:
            time = max(time, self._units[Unit.MATMUL].done[-1] + min(beats, machine.burst_beats) * spacing)
        return accepted, time + (memory.write_latency + 2) * self._late
