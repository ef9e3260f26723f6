"""Checks by programs on a machine with a mutant, against the interpreter; a memory that fails."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from hw.isa import INSTRUCTION_BITS, MANY_TILES, PREDICATES, encode
from hw.machine import MachineConfig
from sim.dram import DramParams
from sim.random_check import MEMORY_BYTES, Outcome, RandomCase, difference, measure, predict
from tests.random.program import random_program

from . import observe
from .observe import Caught, MutantSession, Trace

__all__ = ["FaultCheck", "ProgramsCheck", "filled"]

_BYTES = INSTRUCTION_BITS // 8


class ProgramsCheck:
    """Random programs of some seeds, and others, in one session: memory, tokens found, errors, counters.

    Every fourth fills the program memory: instructions that are skipped stand before it.
    """

    def __init__(
        self,
        machine: MachineConfig,
        dram: DramParams,
        seeds: Iterable[int],
        more: Iterable[RandomCase] = (),
    ):
        self.machine, self.dram = machine, dram
        cases = [random_program(seed, machine) for seed in seeds]
        cases = [filled(case, machine) if i % 4 == 3 else case for i, case in enumerate(cases)]
        self.cases = [(case, predict(case, machine)) for case in (*cases, *more)]

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """As of `observe.Check`."""
        trace: Trace = []
        with (
            observe.simulation(),
            MutantSession(executable, number, MEMORY_BYTES, self.dram) as session,
        ):
            for i, (case, predicted) in enumerate(self.cases):
                session.most = observe.most_cycles(design, i)
                trace.append(_agree(case, predicted, self.machine, session))
        return trace


def _agree(
    case: RandomCase, predicted: Outcome, machine: MachineConfig, session: MutantSession
) -> dict[str, int]:
    """Counters of a run that gives what was predicted."""
    measured = measure(case, machine, session)
    found = difference(predicted, measured)
    if found is not None:
        how = observe.COUNTERS if found.startswith("counter") else observe.RESULT
        raise Caught(how, f"program {case.seed}: {found}")
    if not predicted.error:
        observe.account(measured.counters, f"program {case.seed}")
    return measured.counters


def filled(case: RandomCase, machine: MachineConfig) -> RandomCase:
    """The program at the end of program memory, after instructions under a predicate that is off."""
    off = next(
        (bit for bit in range(1, PREDICATES) if bit != MANY_TILES and not case.predicates >> bit & 1), None
    )
    if off is None:
        return case
    room = machine.program_words - len(case.program) // _BYTES
    skipped = encode("NORM", predicate=off).to_bytes(_BYTES, "little")
    return dataclasses.replace(case, program=room * skipped + case.program)


class FaultCheck:
    """A memory that answers one beat, or one write, with an error: the error, then a good run.

    The error ends a random program that reads and writes enough; its next run must be what was predicted.
    """

    def __init__(self, machine: MachineConfig, dram: DramParams, first_seed: int):
        self.machine, self.dram, seed = machine, dram, first_seed
        while True:
            self.case = random_program(seed, machine)
            self.predicted = predict(self.case, machine)
            counts = self.predicted.counters
            if not self.predicted.error and counts["spill_bytes"] > 500 and counts["read_beats"] > 300:
                break
            seed += 1
        self.read_fault = counts["read_beats"] // 2

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """As of `observe.Check`."""
        trace: Trace = []
        for fault, code in ((f"+fault_read={self.read_fault}", 2), ("+fault_write=2", 3)):
            with (
                observe.simulation(),
                MutantSession(executable, number, MEMORY_BYTES, self.dram, [fault]) as session,
            ):
                session.most = observe.most_cycles(design, len(trace))
                failed = measure(self.case, self.machine, session)
                if failed.error & 0xFF != code:
                    raise Caught(observe.RESULT, f"wanted error {code}, found {failed.error & 0xFF}")
                trace.append({**failed.counters, "layer": failed.error >> 8})
                session.most = observe.most_cycles(design, len(trace))
                trace.append(_agree(self.case, self.predicted, self.machine, session))
        return trace
