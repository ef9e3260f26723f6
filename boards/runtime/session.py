"""A machine that the host sees: registers by address, memory in a buffer that both share.

What the host does with them is `sim.register_backend`; here is only how a word and a byte get there.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hw.isa import COUNTER_BASE, COUNTER_INDEX, CSR_INDEX

from ..errors import LinkError
from .registers import byte_offset

__all__ = ["DeviceError", "DeviceMemory", "MappedReply", "MappedSession", "RegisterWindow"]

#: Bits of STATUS.
_PENDING = 1 << 1
#: Seconds between two looks at STATUS: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 1e-3
#: Seconds that a run may take beyond its cycles.
_GRACE = 1.0


class DeviceError(LinkError):
    """A board, its driver or its buffer is not as it must be; the text says what to do."""


class RegisterWindow(Protocol):
    """Registers by byte offset, as PYNQ's MMIO has them."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> Any: ...


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
        Called once by `close`.
    """

    def __init__(
        self,
        registers: RegisterWindow,
        memory: DeviceMemory,
        clock_mhz: float,
        release: Callable[[], None] = lambda: None,
    ):
        self._registers, self.memory, self._clock_mhz = registers, memory, clock_mhz
        self._release: Callable[[], None] | None = release

    def write(self, addr: int, value: int) -> None:
        """One register write; `addr` is a 32-bit word index."""
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

        The flag is left pending. DeviceError where it does not come in the time of `max_cycles`.
        """
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
        while not self.read(CSR_INDEX["STATUS"]) & _PENDING:
            if time.monotonic() > end:
                state = ", ".join(
                    f"{name} {self.read(CSR_INDEX[name]):#x}" for name in ("STATUS", "GENERATED", "ERROR")
                )
                raise DeviceError(
                    f"no interrupt within {seconds:.0f} s of the start; {state}; load the machine's "
                    "bitstream again, and check the clock and the address of its memory"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Gives the buffer and the device back. Safe to repeat."""
        release, self._release = self._release, None
        if release is not None:
            release()
