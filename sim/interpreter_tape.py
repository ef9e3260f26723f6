"""What the interpreter's units share: the tape, spans of on-chip memories, and the error for misuse."""

from collections import deque

import numpy as np
from torch import Tensor

from hw.isa import FETCH_AHEAD


class UsageError(ValueError):
    """An instruction that means nothing here; the interpreter adds which one it was."""


class Tape:
    """Fetched bytes in order. Memory is read when bytes are taken, as a view where they lie together."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._runs, self.left = memory, deque[tuple[int, int]](), 0

    def clear(self) -> None:
        """Forget everything fetched."""
        self._runs.clear()
        self.left = 0

    def append(self, start: int, size: int) -> None:
        """Bytes [start, start + size) of memory come next."""
        if len(self._runs) == FETCH_AHEAD and size:
            raise UsageError(
                f"wanted at most {FETCH_AHEAD} fetches that nobody has taken from, found one more"
            )
        if size:
            self._runs.append((start, size))
            self.left += size

    def take(self, size: int) -> tuple[int, np.ndarray]:
        """The next `size` bytes (uint8), and the address of the first."""
        if size > self.left:
            raise UsageError(f"wanted {size} bytes of tape, found {self.left} fetched before it")
        self.left -= size
        address, parts = self._runs[0][0] if size else 0, []
        while size:
            start, length = self._runs.popleft()
            part = min(size, length)
            parts.append(self._memory[start : start + part])
            if part < length:
                self._runs.appendleft((start + part, length - part))
            size -= part
        return address, parts[0] if len(parts) == 1 else np.concatenate(parts or [self._memory[:0]])


def span(memory: Tensor | np.ndarray, first: int, size: int) -> slice:
    """Elements [first, first + size) of an on-chip memory."""
    if first + size > len(memory):
        raise UsageError(
            f"wanted elements {first} to {first + size - 1} of an on-chip memory of {len(memory)}"
        )
    return slice(first, first + size)
