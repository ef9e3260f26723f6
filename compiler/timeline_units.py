"""When the units of a machine begin and finish their instructions, from `compiler.cost` and the tape."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hw.isa import Feed, Kind, Pass, Payload, Source, Unit
from hw.machine import MachineConfig

from . import cost
from .cost_memory import Memory, Tape

__all__ = ["BYTES", "FREE", "UNITS", "Place", "Queue", "UnitTimes"]

UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: What can be made to cost nothing, to see what binds.
FREE = ("memory", "matmul", "vector", "attention", "latency")
BYTES = {Kind.WEIGHTS: "weight_bytes", Kind.KV: "kv_read_bytes", Kind.OTHER: "other_bytes"}
_STORED = {Payload.KEY: "kv_write_bytes", Payload.VALUE: "kv_write_bytes",
           Payload.LOGITS: "logit_bytes", Payload.ACTIVATION: "spill_bytes"}  # fmt: skip
#: `sim/dram.sv`: beats that one direction may move while the other waits.
_SHARE = 16


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


@dataclass
class Queue:
    """A unit: when its instructions were accepted and done, and when it can take the next."""

    accepted: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    free: float = 0.0


class UnitTimes:
    """The execution units of one machine.

    A method for each takes an instruction, and the cycle in which it stands in front of the unit, and returns
    the cycle in which the unit accepts it and that of its ``done``.

    Parameters
    ----------
    machine, memory: sizes, timing.
    free: members of `FREE` that cost nothing.
    """

    def __init__(self, machine: MachineConfig, memory: Memory, free: Sequence[str]) -> None:
        self._machine, self._memory = machine, memory
        self._no = {name: float(name not in free) for name in FREE}
        self._late = self._no["latency"]
        self._tape = Tape(machine, memory, "memory" in free)

    def _begin(self, now: float) -> None:
        """A walk of the program begins: nothing is under way."""
        self._units = {unit: Queue(free=now) for unit in UNITS}
        self._built = self._streamed = self._keys = now
        self._bank_ends = [now, now]
        self._outputs: list[float] = []
        self._counters = dict.fromkeys([*BYTES.values(), *_STORED.values()], 0)
        self._counters |= dict.fromkeys(("instructions", "fetches", "lookups", "vector_elements"), 0)
        self._busy: dict[str, float] = {"matmul": 0.0, "vector": 0.0, "attention": 0.0}

    def _take(self, size: int, cycles: float, start: float, unit: str) -> float:
        """Take bytes in so many cycles from `start` on; the cycle after the last."""
        self._busy[unit] += cycles
        cycles *= self._no[unit]
        return self._tape.take(size, size / cycles if cycles else float("inf"), start)

    def _matmul(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: Queue
    ) -> tuple[float, float]:
        late, work = self._late, self._no["matmul"]
        if name != "MATMUL":
            accepted = max(ready, queue.done[-1] + 1 if queue.done else 0.0)
            c = cost.linear(self._machine, name, f, len(acting))
            end = self._take(c.pairs * c.pair_bytes, c.pairs * c.pair, accepted + c.head * late, "matmul")
            self._built = self._streamed = done = end - 1 + c.tail * late
            self._bank_ends = [done, done]
            return accepted, done
        c = cost.matmul(self._machine, f, len(acting))
        accepted = loads = max(ready, self._built + 1, queue.free)
        loads += 2 * late
        for size in c.chunks:
            built = max(loads + c.load(size) * work, self._bank_ends[-2] + 1) + c.build * late
            end = self._take(c.rows * size, c.rows, max(built, self._streamed), "matmul")
            self._streamed = end
            self._bank_ends = [self._bank_ends[-1], end - 1]
            loads = built
        self._built = built - 1
        self._counters["lookups"] += c.bytes
        return accepted, end - 1 + c.tail * late

    def _vector(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: Queue
    ) -> tuple[float, float]:
        tokens, late = len(acting), self._late
        accepted = max(ready, queue.done[-1] if queue.done else 0.0)
        if name == "NORM":
            c = cost.norm(self._machine, f, tokens)
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
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: Queue
    ) -> tuple[float, float]:
        tokens, late = len(acting), self._late
        accepted = max(ready, (queue.done[-1] + 1) if queue.done else 0.0, queue.free)
        time = accepted + (1 + (tokens - 1)) * late  # the cycle of `start`
        stage = f["feed"] == Feed.STAGE
        if not stage:  # what was issued before has the tape first
            time = max(time, self._streamed)
        runs = _runs(acting)
        c = cost.attend(self._machine, f, not stage)
        if stage:
            # A row is seen by its token and those that continue it.
            rows = sum(cost.attend(self._machine, f, False, n + 1).row for run in runs for n in range(run))
            self._busy["attention"] += rows
            end = time + 3 * late + rows * self._no["attention"] + (tokens - 1) * 4 * late
        else:
            if f["half"] == Pass.VALUE:
                first = self._keys + (cost.WEIGHT + f["group"] - 1) * late
                time = max(time, first)
            end, t = time, 0
            for run in runs:
                count = acting[t].position
                begin = end + (1 if t == 0 else 2) * late
                row = cost.attend(self._machine, f, True, run).row
                end = self._take(count * c.row_bytes, count * row, begin, "attention") if count else begin
                t += run
        done = end + (c.tail * late if f["last"] else 0)
        if f["half"] == Pass.KEY:
            self._keys = done
        elif f["last"]:
            heads = f["kv_heads"] * f["group"]
            # A scale a cycle, in each core; those of other cores are computed meanwhile.
            self._outputs = [
                done + (cost.output_scale(self._machine) + h) * late for h in range(heads * tokens)
            ]
        return accepted, done

    def _store(
        self, name: str, f: dict[str, int], acting: Sequence[Place], ready: float, queue: Queue
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
        lost = beats + memory.turn * _turns(beats, bursts, spacing, memory.turn)
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


def _turns(beats: int, bursts: int, spacing: int, turn: int) -> int:
    """How often writes of a beat every ``spacing`` cycles turn the bus while reads wait (`sim/dram.sv`).

    A beat after a turn owes 1 + turn cycles, the next ones a cycle each; reads go on when all are paid, and
    the beat behind them turns the bus again. With a beat every other cycle the debt ends in the cycle of one,
    from where reads and writes alternate to the end of the burst without a turn.
    """
    if spacing == 1:
        return 1
    return bursts if spacing == 2 else max(bursts, -(-beats // ((1 + turn) // (spacing - 1) + 1)))


def _runs(acting: Sequence[Place]) -> list[int]:
    """Tokens of each sequence of a tile, which see the same older rows."""
    starts = [t for t, entry in enumerate(acting) if t == 0 or not entry.continues]
    return [end - start for start, end in zip(starts, [*starts[1:], len(acting)], strict=True)]
