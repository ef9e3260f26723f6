"""What the interpreter's units share: the tape, spans of on-chip memories, and the error for misuse."""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from hw.isa import FETCH_AHEAD


class UsageError(ValueError):
    """An instruction that means nothing here; the interpreter adds which one it was."""


class Tape:
    """Fetched bytes in order. Memory is read when bytes are taken, as a view where they lie together."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._runs, self.left = memory, deque[tuple[int, int, int]](), 0
        self._fetches = 0

    def clear(self) -> None:
        """Forget everything fetched."""
        self._runs.clear()
        self.left = 0

    def append(self, start: int, size: int, *, joined: bool = False) -> None:
        """Bytes [start, start + size) of memory come next; `joined`: of the same FETCH as the run before."""
        self._fetches += not joined
        if not size:
            return
        held = {fetch for _, _, fetch in self._runs} | {self._fetches}
        if len(held) > FETCH_AHEAD:
            raise UsageError(
                f"wanted at most {FETCH_AHEAD} fetches that nobody has taken from, found one more"
            )
        self._runs.append((start, size, self._fetches))
        self.left += size

    def take(self, size: int) -> tuple[int, np.ndarray]:
        """The next `size` bytes (uint8), and the address of the first."""
        if size > self.left:
            raise UsageError(f"wanted {size} bytes of tape, found {self.left} fetched before it")
        self.left -= size
        address, parts = self._runs[0][0] if size else 0, []
        while size:
            start, length, fetch = self._runs.popleft()
            part = min(size, length)
            parts.append(self._memory[start : start + part])
            if part < length:
                self._runs.appendleft((start + part, length - part, fetch))
            size -= part
        return address, parts[0] if len(parts) == 1 else np.concatenate(parts or [self._memory[:0]])

    def holds(self, start: int, size: int) -> bool:
        """Whether some of the bytes [start, start + size) of memory are fetched and not taken."""
        return any(at < start + size and start < at + length for at, length, _ in self._runs)


def span(memory: Tensor | np.ndarray, first: int, size: int) -> slice:
    """Elements [first, first + size) of an on-chip memory, which are its last axis."""
    if first + size > memory.shape[-1]:
        raise UsageError(
            f"wanted elements {first} to {first + size - 1} of an on-chip memory of {memory.shape[-1]}"
        )
    return slice(first, first + size)


#: What an instruction wrote: memory, token (None where tokens share it), first element, raw values.
Write = tuple[str, int | None, int, np.ndarray]


class Writes:
    """What an instruction writes on chip, for an observer; nothing is kept while `wanted` is not set."""

    def __init__(self) -> None:
        self.wanted, self.found = False, list[Write]()

    def each(self, memory: str, first: int, rows: Tensor | np.ndarray) -> None:
        """Row t of `rows` [tokens, n] went to elements [first, first + n) of token t."""
        if self.wanted:
            self.found += [(memory, t, first, raw(row)) for t, row in enumerate(rows)]

    def common(self, memory: str, first: int, values: Tensor | np.ndarray) -> None:
        """`values` went to a memory that tokens share."""
        if self.wanted:
            self.found.append((memory, None, first, raw(values).reshape(-1)))

    def take(self) -> list[Write]:
        """What was found since the last call."""
        found, self.found = self.found, []
        return found


def raw(values: Tensor | np.ndarray) -> np.ndarray:
    """A copy: binary32 as uint32 bit patterns, integers as they are."""
    array = values.numpy() if isinstance(values, torch.Tensor) else values
    array = np.array(array, order="C")
    return array.view(np.uint32) if array.dtype == np.float32 else array
