"""A random program on interpreter and RTL: what they must have in common, and the first difference."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from hw.isa import COUNTERS, CSR_INDEX
from hw.machine import MachineConfig

from . import host
from .dram import DDR3, IDEAL
from .entries import Entry
from .errors import SimulationError
from .interpreter import Interpreter, MachineError, Observer
from .machine_grid import ROUGH
from .session import RtlSession
from .verilate import Progress, build_overlay

#: Bytes of memory that every random program runs in.
MEMORY_BYTES = 1 << 19
#: Cycles after which a run counts as hung.
RUN_LIMIT = 10_000_000
MEMORIES = (DDR3, IDEAL, ROUGH)


@dataclass(frozen=True)
class RandomCase:
    """One program with everything that decides what it does.

    Members
    -------
    rows: the instructions without waits. memory: uint8, the image before the run.
    entries, tile, steps, batch, stops, predicates, memory_base: registers. found: each step finds tokens.
    """

    seed: int
    program: bytes
    rows: tuple[tuple[str, dict[str, int]], ...]
    memory: np.ndarray
    memory_base: int
    entries: tuple[Entry, ...]
    tile: int
    steps: int
    batch: bool
    stops: tuple[int, ...]
    predicates: int
    found: bool


@dataclass(frozen=True)
class Found:
    """The tokens of a run: the output log, the token table after it, TOP of each token of the last tile."""

    generated: int
    output: list[int]
    table: list[Entry]
    tops: list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Outcome:
    """What is seen from outside after a run; `found` is None without a HEAD.

    After an error only that counts, the rest is undefined. `tokens`: what each step found (interpreter only).
    """

    error: int
    found: Found | None
    counters: dict[str, int]
    memory: np.ndarray
    tokens: list[list[int]] = field(default_factory=list)


def predict(case: RandomCase, machine: MachineConfig, observer: Observer | None = None) -> Outcome:
    """The interpreter's outcome."""
    memory = case.memory.copy()
    interpreter = Interpreter(machine, case.program, memory, case.memory_base)
    interpreter.observer = observer
    try:
        tokens = interpreter.run(case.entries, tile=case.tile, steps=case.steps, stops=case.stops,
                                 batch=case.batch, predicates=case.predicates)  # fmt: skip
    except MachineError:
        return Outcome(interpreter.error, None, interpreter.counters, memory)
    if not case.found:
        return Outcome(0, None, interpreter.counters, memory, tokens)
    after = interpreter.entries
    live = _last_tile(case, len(tokens))
    tops = [interpreter.units.top[t] for t in range(live)]
    found = Found(
        len(tokens),
        [token for step in tokens for token in step][-machine.max_context :],
        [*after, *case.entries[len(after) :]],
        [(ids.tolist(), values.numpy().view(np.uint32).tolist()) for ids, values in tops],
    )
    return Outcome(0, found, interpreter.counters, memory, tokens)


def _last_tile(case: RandomCase, steps: int) -> int:
    """Tokens of the last tile of the last step."""
    return (len(case.entries) - 1) % case.tile + 1 if case.batch or steps == 1 else 1


def measure(case: RandomCase, machine: MachineConfig, session: RtlSession) -> Outcome:
    """The RTL's outcome; the session's memory has the case's size. SimulationError if it hangs or dies."""
    csr = CSR_INDEX
    session.memory[:] = case.memory
    writes = [
        *host.program_writes(case.program),
        (csr["CONTROL"], 0b110),
        *host.chunk_writes(case.entries, tile=case.tile, steps=case.steps, stops=case.stops,
                           batch=case.batch, predicates=case.predicates),
        (csr["MEMORY_BASE"], case.memory_base),
        (csr["CONTROL"], 1),
    ]  # fmt: skip
    reads = [csr["ERROR"], csr["GENERATED"], *host.COUNTER_READS]
    values = session.run(writes, reads, RUN_LIMIT).reads
    counters = host.counters_of(values)
    if values[csr["ERROR"]] or not case.found:
        return Outcome(values[csr["ERROR"]], None, counters, session.memory)
    generated = values[csr["GENERATED"]]
    count = generated * (len(case.entries) if case.batch else 1)
    last = range(max(0, count - machine.max_context), count)
    tops = [host.top(session, t, machine.top_k) for t in range(_last_tile(case, generated))]
    found = Found(
        generated,
        [host.output_token(session, i) for i in last],
        host.table(session, len(case.entries)),
        [(ids, values.view(np.uint32).tolist()) for ids, values in tops],
    )
    return Outcome(0, found, counters, session.memory)


def difference(predicted: Outcome, measured: Outcome) -> str | None:
    """The first difference: error, memory, tokens found, exact counters; None if equal."""
    if predicted.error != measured.error:
        return f"ERROR: isa {_error(predicted.error)}, rtl {_error(measured.error)}"
    if predicted.error:
        return None
    at = np.flatnonzero(predicted.memory != measured.memory)
    if len(at):
        first = int(at[0])
        return (
            f"memory at 0x{first:06x}: isa 0x{predicted.memory[first]:02x}, "
            f"rtl 0x{measured.memory[first]:02x}; "
            f"{len(at)} bytes differ, the last at 0x{int(at[-1]):06x}"
        )
    if predicted.found is not None and measured.found is not None:
        a, b = predicted.found, measured.found
        for name, wanted, got in (
            ("GENERATED", [a.generated], [b.generated]),
            ("OUTPUT", a.output, b.output),
            ("entry", a.table, b.table),
            *(
                (f"TOP of token {t} rank", _pairs(x), _pairs(y))
                for t, (x, y) in enumerate(zip(a.tops, b.tops, strict=False))
            ),
        ):
            if (text := _first(name, wanted, got)) is not None:
                return text
    for counter in COUNTERS:
        if counter.exact and measured.counters[counter.name] != predicted.counters[counter.name]:
            wanted, got = predicted.counters[counter.name], measured.counters[counter.name]
            return f"counter {counter.name}: isa {wanted}, rtl {got}"
    return None


def _pairs(top: tuple[list[int], list[int]]) -> list[str]:
    return [f"{index} (0x{bits:08x})" for index, bits in zip(*top, strict=True)]


def _first(name: str, wanted: Sequence[object], found: Sequence[object]) -> str | None:
    """The first place in which two lists differ."""
    for i in range(max(len(wanted), len(found))):
        a, b = (values[i] if i < len(values) else "none" for values in (wanted, found))
        if a != b:
            return f"{name} {i}: isa {a}, rtl {b}"
    return None


def _error(value: int) -> str:
    return f"{value & 0xFF} in layer {value >> 8}" if value else "none"


class Checker:
    """Random programs on one machine, in one simulator process as long as it lives.

    The timing of the memory changes with the seed, each `BLOCK` of seeds having its own. `executable` is
    another simulator of the machine, not to be built; `plusargs` are further arguments of it.

    Members
    -------
    errors : programs that ended with an error, the same one on both sides.
    measured : what the RTL gave last.
    """

    BLOCK = 50

    def __init__(
        self,
        machine: MachineConfig,
        progress: Progress = lambda _: None,
        executable: Path | None = None,
        plusargs: Sequence[str] = (),
    ) -> None:
        self.machine, self.errors = machine, 0
        self.measured: Outcome | None = None
        self._plusargs = plusargs
        self._executable = executable or build_overlay(machine, progress)
        self._session: RtlSession | None = None
        self._block = -1

    def session(self, seed: int) -> RtlSession:
        """The open simulator for a seed."""
        if self._session is None or self._block != seed // self.BLOCK:
            self.close()
            self._block = seed // self.BLOCK
            dram = MEMORIES[self._block % len(MEMORIES)]
            self._session = RtlSession(
                self._executable, MEMORY_BYTES, dram, self._block, plusargs=self._plusargs
            )
        return self._session

    def compare(self, case: RandomCase, predicted: Outcome) -> str | None:
        """The first difference of the RTL from what was predicted, with the seed; None if there is none."""
        try:
            self.measured = measure(case, self.machine, self.session(case.seed))
            found = difference(predicted, self.measured)
        except SimulationError as error:  # it hangs, or has died
            self.close()
            found = str(error)
        return f"seed {case.seed} on {self.machine.name!r}: {found}" if found else None

    def check(self, case: RandomCase) -> str | None:
        """A program on both; as `compare`."""
        predicted = predict(case, self.machine)
        self.errors += predicted.error != 0
        return self.compare(case, predicted)

    def close(self) -> None:
        """End the simulator."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
