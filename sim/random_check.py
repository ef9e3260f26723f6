"""A random program on interpreter and RTL: what they must have in common, and the first difference."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hw.isa import COUNTER_BASE, COUNTERS, CSR_INDEX, INSTRUCTION_WORDS
from hw.machine import MachineConfig
from hw.sequencer import PROGRAM_STRIDE

from .dram import DDR3, IDEAL, DramParams
from .errors import SimulationError
from .interpreter import Interpreter, MachineError
from .random_program import MEMORY_BYTES, RandomCase, random_program
from .session import RtlSession
from .verilate import Progress, build_overlay

#: Cycles after which a run counts as hung.
RUN_LIMIT = 3_000_000
#: Slow, stalling, often refreshing.
ROUGH = DramParams(
    latency=90,
    write_latency=70,
    turn=9,
    refresh_every=150,
    refresh_cycles=30,
    stall_r=300,
    stall_ar=500,
    stall_aw=500,
    stall_w=500,
)
MEMORIES = (DDR3, IDEAL, ROUGH)


@dataclass(frozen=True)
class Outcome:
    """What is seen from outside after the last run. After an error only that counts, memory is undefined."""

    error: int
    next_token: int
    counters: dict[str, int]
    memory: np.ndarray


def predict(case: RandomCase, machine: MachineConfig) -> Outcome:
    """The interpreter's outcome."""
    memory = case.memory.copy()
    interpreter = Interpreter(machine, case.program, memory, case.memory_base)
    try:
        for i in range(case.steps):
            interpreter.step(case.token, case.position + i, case.predicates)
    except MachineError:
        pass
    return Outcome(interpreter.error, interpreter.next_token, interpreter.counters, memory)


def load_program(session: RtlSession, program: bytes) -> None:
    """Program memory, through PROGRAM_ADDRESS and PROGRAM_DATA."""
    writes = []
    for i, row in enumerate(np.frombuffer(program, "<u4").reshape(-1, INSTRUCTION_WORDS)):
        writes.append((CSR_INDEX["PROGRAM_ADDRESS"], PROGRAM_STRIDE * i))
        writes += [(CSR_INDEX["PROGRAM_DATA"], int(word)) for word in row]
    session.write_all(writes)


def measure(case: RandomCase, session: RtlSession) -> Outcome:
    """The RTL's outcome; the session's memory has the case's size. SimulationError if it hangs or dies."""
    csr = CSR_INDEX
    session.memory[:] = case.memory
    load_program(session, case.program)
    counter_reads = range(COUNTER_BASE, COUNTER_BASE + 2 * len(COUNTERS))
    values: dict[int, int] = {}
    for i in range(case.steps):
        clear = 0b100 if i == 0 else 0
        writes = [
            (csr["CONTROL"], 0b010 | clear),
            (csr["TOKEN"], case.token),
            (csr["POSITION"], case.position + i),
            (csr["PREDICATES"], case.predicates),
            (csr["MEMORY_BASE"], case.memory_base),
            (csr["CONTROL"], 1),
        ]
        reads = [csr["NEXT_TOKEN"], csr["ERROR"], *counter_reads]
        values = session.run(writes, reads, RUN_LIMIT).reads
        if values[csr["ERROR"]]:
            break
    counters = {
        counter.name: values[COUNTER_BASE + 2 * i] | values[COUNTER_BASE + 2 * i + 1] << 32
        for i, counter in enumerate(COUNTERS)
        if counter.exact
    }
    return Outcome(values[csr["ERROR"]], values[csr["NEXT_TOKEN"]], counters, session.memory)


def difference(predicted: Outcome, measured: Outcome) -> str | None:
    """The first difference: error, memory, NEXT_TOKEN (if a HEAD was executed), counters; None if equal."""
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
    if predicted.counters["head_products"] and predicted.next_token != measured.next_token:
        return f"NEXT_TOKEN: isa {predicted.next_token}, rtl {measured.next_token}"
    for name, wanted in predicted.counters.items():
        if measured.counters[name] != wanted:
            return f"counter {name}: isa {wanted}, rtl {measured.counters[name]}"
    return None


def _error(value: int) -> str:
    return f"{value & 0xFF} in layer {value >> 8}" if value else "none"


class Checker:
    """Random programs on one machine, in one simulator process as long as it lives.

    The timing of the memory changes with the seed, each `BLOCK` of seeds having its own.

    Members
    -------
    errors : programs that ended with an error, the same one on both sides.
    """

    BLOCK = 50

    def __init__(self, machine: MachineConfig, progress: Progress = lambda _: None):
        self.machine, self.errors = machine, 0
        self._executable = build_overlay(machine, progress)
        self._session: RtlSession | None = None
        self._block = -1

    def session(self, seed: int) -> RtlSession:
        """The open simulator for a seed."""
        if self._session is None or self._block != seed // self.BLOCK:
            self.close()
            self._block = seed // self.BLOCK
            dram = MEMORIES[self._block % len(MEMORIES)]
            self._session = RtlSession(self._executable, MEMORY_BYTES, dram, self._block)
        return self._session

    def compare(self, case: RandomCase, predicted: Outcome) -> str | None:
        """The first difference of the RTL from what was predicted, with the seed; None if there is none."""
        try:
            found = difference(predicted, measure(case, self.session(case.seed)))
        except SimulationError as error:  # it hangs, or has died
            self.close()
            found = str(error)
        return f"seed {case.seed} on {self.machine.name!r}: {found}" if found else None

    def check(self, seed: int) -> str | None:
        """The program of a seed on both; as `compare`."""
        case = random_program(seed, self.machine)
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
