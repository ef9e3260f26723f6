"""What a check of mutants is, and what it can find."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sim.dram import DramParams
from sim.errors import SimulationError, SimulationTimeoutError
from sim.session import RtlSession, RunReply

#: What shows a mutant: a wrong result (memory, tokens, error, register); a wrong count (of what does not
#: depend on time, or an account that does not add up); no interrupt; the end of the simulation (AXI rules,
#: addresses beyond the memory); or nothing but other numbers of cycles than the design's, in the same memory.
RESULT, COUNTERS, HANG, STOPPED, TIMING = "result", "counters", "hang", "checker", "timing"

#: Of each doorbell, counters and cycles by name.
Trace = list[dict[str, int]]

_BUS = ("read_beats", "bus_full", "bus_wait", "bus_idle")
_UNITS = ("matmul_active", "matmul_starved", "attention_active", "attention_starved", "vector_only",
          "vector_starved", "overhead")  # fmt: skip
#: What AXI checker and memory say when they stop a simulation.
_STOPPED = re.compile(r"\b(AXI|DRAM): .*")
#: Cycles of a doorbell at most where the design's are not known.
_MOST = 1_000_000


class Caught(Exception):  # noqa: N818  not an error: the aim of a check
    """A machine that is not the design: what shows it, and where."""

    def __init__(self, how: str, text: str):
        super().__init__(text)
        self.how, self.text = how, text


class Check(Protocol):
    """One stimulus, with what the design must answer."""

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """The trace of mutant `number`; `Caught` where it gives anything that the design must not.

        `design` is the trace of mutant 0: a doorbell that takes far longer counts as a hang.
        """
        ...


@contextmanager
def simulation() -> Iterator[None]:
    """Turns what a simulation raises into `Caught`."""
    try:
        yield
    except SimulationTimeoutError as error:
        raise Caught(HANG, str(error)) from error
    except SimulationError as error:
        if "the simulator ended" not in str(error):
            raise Caught(RESULT, str(error)) from error
        stopped = _STOPPED.search(str(error))
        if stopped is None:
            raise  # a fault of the bench must not pass for a kill
        raise Caught(STOPPED, stopped[0]) from error


def most_cycles(design: Trace | None, doorbell: int) -> int:
    """After so many a doorbell counts as hung."""
    return _MOST if design is None else 2 * design[doorbell]["cycles"] + 3000


def account(counts: Mapping[str, int], where: str) -> None:
    """Every cycle is in one class of what the bus did, and in one of what the units did."""
    for name, parts in (("bus", _BUS), ("units", _UNITS)):
        total = sum(counts[part] for part in parts)
        if total != counts["cycles"]:
            raise Caught(
                COUNTERS, f"{where}: {counts['cycles']} cycles, {total} of them by what the {name} did"
            )


def different(design: Trace, found: Trace) -> str | None:
    """The first counter in which two traces differ."""
    for doorbell, (a, b) in enumerate(zip(design, found, strict=True)):
        for name, value in a.items():
            if b[name] != value:
                return f"doorbell {doorbell}: {name} {b[name]}, of the design {value}"
    return None


class MutantSession(RtlSession):
    """A session with one mutant alive, whose runs end after `most` cycles."""

    def __init__(
        self, executable: Path, number: int, size: int, dram: DramParams, plusargs: Sequence[str] = ()
    ):
        self.most = _MOST
        super().__init__(executable, size, dram, plusargs=[f"+mutant={number}", *plusargs])

    def run(
        self, writes: Sequence[tuple[int, int]], reads: Sequence[int] = (), max_cycles: int = 100_000_000
    ) -> RunReply:
        """As `RtlSession.run`."""
        return super().run(writes, reads, min(max_cycles, self.most))
