"""A machine that the host sees: registers by address, memory in a buffer that both share.

What the host does with them is `sim.register_backend`; here is only how a word and a byte get there, and that
no memory is given back which a running machine may still write.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hw.isa import COUNTER_BASE, COUNTER_INDEX, CSR_INDEX, ID_VALUE

from ..errors import LinkError
from .registers import byte_offset

__all__ = [
    "DeviceError",
    "DeviceMemory",
    "MappedReply",
    "MappedSession",
    "RegisterWindow",
    "driver",
    "require_idle",
]

#: Bits of STATUS.
_RUNNING, _PENDING = 1 << 0, 1 << 1
#: Seconds between two looks at STATUS: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 1e-3
#: Seconds that a run may take beyond its cycles.
_GRACE = 1.0
#: Seconds that a machine gets to end a run that nobody waits for any more.
SETTLE = 10.0
#: Sessions whose machine may still run. Drivers free a buffer that nobody refers to; these are referred to.
_HELD: "set[MappedSession]" = set()


class DeviceError(LinkError):
    """A board, its driver or its buffer is not as it must be; the text says what to do."""


@contextmanager
def driver(failed: str, remedy: str) -> Iterator[None]:
    """Makes a DeviceError of whatever a driver raises: what failed, what the driver said, what to do."""
    try:
        yield
    except DeviceError:
        raise
    except Exception as error:
        raise DeviceError(f"{failed}: {_said(error)}; {remedy}") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class RegisterWindow(Protocol):
    """Registers by byte offset, as PYNQ's MMIO has them."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> Any: ...


def _idle(running: Callable[[], bool]) -> bool:
    """Waits, at most `SETTLE` seconds, until the machine does not run; whether it does not."""
    end, pause = time.monotonic() + SETTLE, _FIRST_PAUSE
    while running():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def require_idle(registers: RegisterWindow, what: str, remedy: str) -> None:
    """DeviceError where the machine still runs after `SETTLE` seconds; `what` was to be done with it.

    Registers with another ID are no machine's and do not run; who compares the ID says what is wrong.
    """

    def running() -> bool:
        status, word = (int(registers.read(byte_offset(CSR_INDEX[name]))) for name in ("STATUS", "ID"))
        return bool(status & _RUNNING) and word & 0xFFFF_FFFF == ID_VALUE

    if not _idle(running):
        raise DeviceError(
            f"wanted a machine at rest, found one that still runs after {SETTLE:g} s, before {what}; "
            f"end the program that uses it, or {remedy}"
        )


class DeviceMemory(Protocol):
    """Bytes that the machine sees, by slices; and what has to be done around a run."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice) -> np.ndarray: ...

    def __setitem__(self, span: slice, values: np.ndarray) -> None: ...

    def to_device(self) -> None:
        """Before a run: what the host wrote is in the machine's memory."""
        ...

    def from_device(self) -> None:
        """After a run: what the host reads is what the machine wrote."""
        ...


@dataclass(frozen=True)
class MappedReply:
    """Result of a run: the machine's own count of its cycles, and the registers asked for."""

    cycles: int
    reads: dict[int, int]


class MappedSession:
    """Registers by word index, and runs that end with the machine's interrupt flag.

    Parameters
    ----------
    registers : RegisterWindow
    memory : DeviceMemory
    clock_mhz : float
        Of the machine: how long so many cycles take at most.
    release : callable
        Gives the buffer back: called once by `close`, when the machine does not run.
    reload : callable or None
        Stops a machine that does not end: loads its bitstream again. None: this board cannot.
    remedy : str
        What the user does where a machine does not end.
    """

    def __init__(
        self,
        registers: RegisterWindow,
        memory: DeviceMemory,
        clock_mhz: float,
        release: Callable[[], None] = lambda: None,
        reload: Callable[[], object] | None = None,
        remedy: str = "load the machine's bitstream again",
    ):
        self._registers, self.memory, self._clock_mhz = registers, memory, clock_mhz
        self._release: Callable[[], None] | None = release
        self._reload, self._remedy, self._failure = reload, remedy, ""

    def write(self, addr: int, value: int) -> None:
        """One register write; `addr` is a 32-bit word index."""
        if addr == CSR_INDEX["CONTROL"] and value & 1:
            _HELD.add(self)
        self._registers.write(byte_offset(addr), value)

    def write_all(self, writes: Iterable[tuple[int, int]]) -> None:
        """Writes in order."""
        for addr, value in writes:
            self.write(addr, value)

    def read(self, addr: int) -> int:
        """One register read."""
        return int(self._registers.read(byte_offset(addr))) & 0xFFFF_FFFF

    def read_all(self, addrs: Sequence[int]) -> list[int]:
        """Reads in order."""
        return [self.read(addr) for addr in addrs]

    def run(
        self, writes: Sequence[tuple[int, int]], reads: Sequence[int] = (), max_cycles: int = 100_000_000
    ) -> MappedReply:
        """Does `writes`, the last of which starts the machine; waits for its interrupt flag; reads `reads`.

        The flag is left pending. DeviceError where it does not come in the time of `max_cycles`, or where the
        machine still runs before the first of `writes`.
        """
        require_idle(self._registers, "the start of a run", self._remedy)
        *before, start = writes
        self.write_all(before)
        if self.read(CSR_INDEX["STATUS"]) & _PENDING:
            raise DeviceError("the interrupt is pending before the start; acknowledge it first")
        self.memory.to_device()
        self.write(*start)
        self._wait(max_cycles)
        self.memory.from_device()
        values = dict(zip(reads, self.read_all(reads), strict=True))
        at = COUNTER_BASE + 2 * COUNTER_INDEX["cycles"]
        low, high = self.read_all([at, at + 1])
        return MappedReply(high << 32 | low, values)

    def _wait(self, max_cycles: int) -> None:
        seconds = max_cycles / (self._clock_mhz * 1e6) + _GRACE
        end, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while self.read(CSR_INDEX["STATUS"]) & (_PENDING | _RUNNING) != _PENDING:
            if time.monotonic() > end:
                state = ", ".join(
                    f"{name} {self.read(CSR_INDEX[name]):#x}" for name in ("STATUS", "GENERATED", "ERROR")
                )
                self._failure = f"no interrupt within {seconds:.0f} s of the start; {state}"
                raise DeviceError(
                    f"{self._failure}; load the machine's bitstream again, and check the clock and the "
                    "address of its memory"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        _HELD.discard(self)

    def close(self) -> None:
        """Gives the buffer and the device back, after the end of a run that is not over. Safe to repeat.

        DeviceError where the machine cannot be stopped: the buffer is kept while the program lives.
        """
        release = self._release
        if release is None:
            return
        found = self._stop()
        if found:
            _HELD.add(self)
            before = f"; before that: {self._failure}" if self._failure else ""
            raise DeviceError(
                f"wanted a machine at rest, found {found}; its memory is kept until "
                f"this program ends, {self._remedy} before another uses it{before}"
            )
        _HELD.discard(self)
        self._release = None
        release()

    def _running(self) -> bool:
        status = self.read(CSR_INDEX["STATUS"])
        return bool(status & _RUNNING) and (self in _HELD or self.read(CSR_INDEX["ID"]) == ID_VALUE)

    def _stop(self) -> str:
        """Waits for the end of a run, or loads the bitstream again; what was found where neither helps."""
        try:
            if _idle(self._running):
                return ""
            found = f"that it still runs, STATUS {self.read(CSR_INDEX['STATUS']):#x} after {SETTLE:g} s"
        except Exception as error:  # of any driver: the state is not known
            found = f"no answer of it: {_said(error)}"
        if self._reload is not None:
            try:
                self._reload()
                if _idle(self._running):
                    return ""
                found += ", and after its bitstream was loaded again"
            except Exception as error:
                found += f", and its bitstream did not load again: {_said(error)}"
        return found
