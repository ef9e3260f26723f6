"""The interpreter: executes a program on a memory image, instruction by instruction, with `models.numerics`.

It reads the program and the memory, nothing else, and says what a machine does with them: registers, memory,
and every counter that is not about time.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from hw.isa import (
    BY_NAME,
    COUNTERS,
    ERRORS,
    MANY_TILES,
    STOP_TOKENS,
    Kind,
    Payload,
    Unit,
)
from hw.machine import MachineConfig
from models import numerics

from .entries import Entry
from .interpreter_chunk import Chunk
from .interpreter_memory import fetch_runs, store_runs
from .interpreter_program import InterpreterError, Registers, decoded
from .interpreter_tape import Tape, UsageError, Write
from .interpreter_units import Units

EXACT = tuple(counter.name for counter in COUNTERS if counter.exact)
_KINDS = {Kind.WEIGHTS: "weight_bytes", Kind.KV: "kv_read_bytes", Kind.OTHER: "other_bytes"}
_PAYLOADS = {
    Payload.KEY: "kv_write_bytes",
    Payload.VALUE: "kv_write_bytes",
    Payload.LOGITS: "logit_bytes",
    Payload.ACTIVATION: "spill_bytes",
}

#: Called after each executed instruction: index in the program, name, fields, layer, first entry and further
#: tokens as in the command of the machine, and what it wrote: (memory, token or None where tokens share it,
#: first element, raw values). Memories: ACT, CONST, SCALAR, STAT_TOTAL, STAT_MAXIMUM, Q, ACC, QUERY,
#: QUERY_SCALE, STAGE_K, STAGE_V (bytes), TOP ([n, 2]: id and binary32 logit), MEMORY (bytes, from an address
#: on).
Observer = Callable[[int, str, dict[str, int], int, int, int, list[Write]], None]


class MachineError(RuntimeError):
    """The run ended with an error that the machine reports.

    Members
    -------
    code, layer: as in CSR ERROR.
    """

    def __init__(self, code: int, layer: int, where: str) -> None:
        self.code, self.layer = code, layer
        super().__init__(f"machine error {code} in layer {layer}: {ERRORS[code]} ({where})")


class Interpreter:
    """One machine with its memory.

    Parameters
    ----------
    machine: sizes of the on-chip memories, and the bus for counting beats.
    program: bytes, 24 an instruction, or 192-bit words.
    memory: uint8 [n], read and written in place.
    memory_base: added to every address.

    Members
    -------
    units: the state of the execution units (`sim.interpreter_units.Units`).
    entries: the live entries of the token table; after a step with a HEAD the tokens that follow it.
    generated, output: steps finished since the doorbell; the output log, `max_context` entries.
    error: CSR ERROR of the last run: 0, or code + layer << 8.
    counters: by name, those of `hw.isa.COUNTERS` that are exact; they add up over steps.
    observer: told of each instruction, see `Observer`; None costs nothing.
    """

    def __init__(
        self, machine: MachineConfig, program: bytes | Sequence[int], memory: np.ndarray, memory_base: int = 0
    ) -> None:
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise InterpreterError(f"memory: wanted uint8 [n], found {memory.dtype} {list(memory.shape)}")
        self.machine, self.memory, self.memory_base = machine, memory, memory_base
        self._program = decoded(machine, program)
        self.units = Units(machine)
        self.error = self.generated = 0
        self.output = [0] * machine.max_context
        self.counters = dict.fromkeys(EXACT, 0)
        self.observer: Observer | None = None
        self._chunk: Chunk | None = None
        self._registers: Registers
        self._headed = False  #: this step has had a HEAD
        self._tape = Tape(memory)

    def clear_counters(self) -> None:
        """CSR CONTROL bit 2."""
        self.counters = dict.fromkeys(EXACT, 0)

    @property
    def entries(self) -> list[Entry]:
        return list(self._chunk.entries) if self._chunk else []

    @property
    def next_token(self) -> list[int]:
        """NEXT_TOKEN of each token of the tile."""
        return self.units.next_token

    def top(self, t: int) -> tuple[list[int], list[float]]:
        """TOP[t] of the last HEAD: ids and logits, as many as it had rows, at most the machine's `top_k`."""
        ids, values = self.units.top[t]
        return ids.tolist(), values.tolist()

    # --- steps --------------------------------------------------------------------------------------------

    def step(self, token: int, position: int, predicates: int = 1) -> int:
        """Run the program once for one token and return NEXT_TOKEN."""
        self.run([Entry(token, position)], tile=1, predicates=predicates)
        return self.next_token[0]

    @torch.inference_mode()
    def run(
        self,
        entries: Sequence[Entry],
        *,
        tile: int,
        steps: int = 1,
        stops: Sequence[int] = (),
        batch: bool = False,
        predicates: int = 1,
    ) -> list[list[int]]:
        """One doorbell, up to `steps` steps: the tokens that each found, one, or in a batch one an entry.

        A step without a HEAD finds none and must be the only one. Raises MachineError, InterpreterError.
        """
        self.error = self.generated = 0
        if steps < 1 or len(stops) > STOP_TOKENS:
            raise InterpreterError(
                f"run: wanted 1 or more steps, at most {STOP_TOKENS} stop tokens, "
                f"found {steps} and {len(stops)}"
            )
        try:
            chunk = self._chunk = Chunk(self.machine, entries, tile, batch)
        except UsageError as error:
            raise InterpreterError(f"run: {error}") from error
        results, stopped = [], [False] * (len(entries) if batch else 1)
        for step in range(steps):
            self._once(chunk, predicates)
            self.counters["steps"] += 1
            self.counters["tokens"] += len(chunk.entries)
            found: list[int] = []
            if self._headed:
                last = (len(chunk.entries) - 1) % tile
                at = range(last + 1) if batch else (last,)
                found = [self.next_token[t] for t in at]
                stopped = [was or token in stops for was, token in zip(stopped, found, strict=True)]
            elif steps > 1:
                raise InterpreterError(
                    "run: wanted a HEAD in each of several steps, found a step without one"
                )
            for t, token in enumerate(found):
                self.output[(step * len(found) + t) % self.machine.max_context] = token
            if found:
                chunk.follow(found)
            results.append(found)
            self.generated += 1
            if all(stopped):
                break
        return results

    def _once(self, chunk: Chunk, predicates: int) -> None:
        """One run of the program."""
        many = len(chunk.entries) > chunk.tile
        self._predicates = (predicates | 1) & ~(1 << MANY_TILES) | many << MANY_TILES
        registers = self._registers = Registers(chunk)
        self._headed = False
        self._tape.clear()
        self.units.begin()
        self.units.writes.wanted = self.observer is not None
        at = 0
        for _ in range(10_000_000):
            if at >= len(self._program):
                raise InterpreterError(
                    "program: wanted END before its last instruction was passed, found none"
                )
            index, (name, fields) = at, self._program[at]
            layer, first = registers.layer, registers.first
            at += 1
            if not self._predicates >> fields["predicate"] & 1:
                continue
            live = chunk.live(first)
            acting = live if fields.get("tiled") else live[:1]
            where = f"instruction {index} ({name}), layer {layer}, entry {first}"
            try:
                if name == "END":
                    self._finish()
                elif name == "LOOP":
                    at = registers.loop(fields, at)
                elif name == "NEXT":
                    at = registers.next(fields, at)
                else:
                    self._execute(name, fields, acting, where)
            except UsageError as error:
                raise InterpreterError(f"{where}: {error}") from error
            if name == "HEAD":
                self._headed = True
            if self.observer:
                self.observer(index, name, fields, layer, first, len(acting) - 1, self.units.writes.take())
            if name == "END":
                return
        raise InterpreterError("program: wanted END within ten million instructions, found none")

    # --- instructions -------------------------------------------------------------------------------------

    def _execute(self, name: str, fields: dict[str, int], acting: Sequence[Entry], where: str) -> None:
        if name == "unknown":
            self._fail(4, where)
        if name == "FETCH":
            self._fetch(fields, acting, where)
            return
        self.counters["instructions"] += 1
        if BY_NAME[name].unit == Unit.STORE:
            self._store(fields, acting, where)
        elif name == "NORM":
            if self.units.norm(fields, len(acting)):
                self._fail(1, where)
        else:
            self._unit(name, fields, acting)

    def _unit(self, name: str, f: dict[str, int], acting: Sequence[Entry]) -> None:
        counters, units, tape, live = self.counters, self.units, self._tape, len(acting)
        if name == "MATMUL":
            units.matmul(f, tape, live)
            counters["lookups"] += f["rows"] * -(-f["k"] // numerics.TRITS_PER_BYTE)
        elif name == "LINEAR":
            counters["integer_products"] += units.linear(f, tape, live)
        elif name == "HEAD":
            emit = bool(self._predicates >> f["emit"] & 1)
            counters["integer_products"] += units.head(f, tape, emit, live)
        elif name == "ATTEND":
            saturated, products = units.attention.attend(f, tape, units.stage, acting)
            counters["score_saturations"] += saturated
            counters["attention_products"] += products
        else:
            (units.map if name == "MAP" else units.quantise)(f, tape, live)
            counters["vector_elements"] += f["n"] * live

    def _start(self, address: int, size: int, code: int, where: str) -> int:
        """Where [address, address + size) is in memory; a machine error if it is outside, unless empty."""
        start = self.memory_base + address & 0xFFFFFFFF
        if size and start + size > len(self.memory):
            self._fail(code, f"{where}: address 0x{start:08x}, {size} bytes, memory of {len(self.memory)}")
        if size and start % self.machine.bus_bytes:
            raise UsageError(f"wanted a start on {self.machine.bus_bytes} bytes, found 0x{start:08x}")
        return start

    def _fetch(self, f: dict[str, int], acting: Sequence[Entry], where: str) -> None:
        layer, first = self._registers.layer, self._registers.first
        self.counters["fetches"] += 1
        for i, (address, size) in enumerate(fetch_runs(f, layer, first, acting)):
            self._tape.append(self._start(address, size, 2, where), size, joined=i > 0)
            self.counters[_KINDS[Kind(f["kind"])]] += size
            self.counters["read_beats"] += -(-size // self.machine.bus_bytes)

    def _store(self, f: dict[str, int], acting: Sequence[Entry], where: str) -> None:
        layer, first = self._registers.layer, self._registers.first
        runs = store_runs(f, layer, first, acting)
        for (address, size), data in zip(runs, self.units.payload(f, len(acting)), strict=True):
            start = self._start(address, size, 3, where)
            if size and self._tape.holds(start, size):
                raise UsageError(f"0x{start:08x}: wanted memory that no FETCH before has yet to deliver")
            self.memory[start : start + size] = data
            self.counters[_PAYLOADS[Payload(f["payload"])]] += size
            self.units.writes.common("MEMORY", start, data)

    # --- endings ------------------------------------------------------------------------------------------

    def _fail(self, code: int, where: str) -> None:
        self.error = code | (self._registers.layer & 0xFFFF) << 8
        raise MachineError(code, self._registers.layer, where)

    def _finish(self) -> None:
        if self._tape.left:
            raise UsageError(f"wanted an empty tape, found {self._tape.left} bytes nobody took")
        if left := self.units.leftovers():
            raise UsageError(left)
