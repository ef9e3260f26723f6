"""The memory side of a random program: FETCH and STORE instructions, and what lies where they point."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from hw.isa import Index, Kind, Payload
from hw.machine import MachineConfig

from .random_values import Values

#: One instruction: its name and the values of its fields.
Row = tuple[str, dict[str, int]]
_WORD = 1 << 32


class Rows:
    """Instructions so far, and the memory image that grows with them.

    Parameters
    ----------
    rng, values, machine : sources of choice and operands; sizes.
    memory : np.ndarray
        The image (uint8), random already; operands are written into it from `memory_base` on.
    token, position, predicates, steps : the registers of the first run, and the number of runs, each one
        position after the other.

    Members
    -------
    rows : the instructions, waits left out.
    predicate : that of the instructions emitted now.
    layers, layer : turns of the loop that is open (1: none); what the layer register holds outside of it.
    """

    def __init__(
        self,
        rng: random.Random,
        values: Values,
        machine: MachineConfig,
        memory: np.ndarray,
        memory_base: int,
        token: int,
        position: int,
        predicates: int,
        steps: int,
    ):
        self.rng, self.values, self.machine = rng, values, machine
        self.memory, self.base, self._end = memory, memory_base, 0
        self.token, self.position, self.predicates, self.steps = token, position, predicates | 1, steps
        self.rows: list[Row] = []
        self.predicate, self.layers, self.layer = 0, 1, 0

    def emit(self, name: str, **fields: int) -> None:
        """One more instruction, under the present predicate."""
        self.rows.append((name, fields | ({"predicate": self.predicate} if self.predicate else {})))

    def holds(self, predicate: int) -> bool:
        """Whether instructions under `predicate` are executed."""
        return bool(self.predicates >> predicate & 1)

    @contextmanager
    def under(self, predicate: int) -> Iterator[None]:
        """Everything emitted inside is under `predicate`; inside of another such block nothing changes."""
        outer = self.predicate
        self.predicate = outer or predicate
        yield
        self.predicate = outer

    def allocate(self, size: int) -> int:
        """A region on the bus: its address relative to the base, at times just below a 4 KiB boundary."""
        bus = self.machine.bus_bytes
        self._end = self._pad(self._end) + bus * self.rng.choice((0, 0, 1, 5))
        if self.rng.random() < 0.05:
            self._end += -(self._end + self.base) % 4096 + 4096 - bus * self.rng.randint(1, 3)
        start, self._end = self._end, self._end + size
        if self.base + self._end > len(self.memory):
            raise MemoryError(
                f"wanted {len(self.memory)} bytes of memory at most, found {self.base + self._end}"
            )
        return start

    def place(self, data: np.ndarray) -> int:
        """A region that holds `data`."""
        start = self.allocate(len(data))
        self.memory[self.base + start : self.base + start + len(data)] = data
        return start

    def _pad(self, size: int) -> int:
        return -(-size // self.machine.bus_bytes) * self.machine.bus_bytes

    def _stride(self, most: int) -> int:
        return self.machine.bus_bytes * self.rng.randrange(most // self.machine.bus_bytes)

    # --- FETCH --------------------------------------------------------------------------------------------

    def feed(self, size: int, make: Callable[[], np.ndarray]) -> None:
        """FETCH instructions that bring `size` bytes, from `make` for each copy that the index selects."""
        rng = self.rng
        index = rng.choice((Index.NONE, Index.LAYER, Index.POSITION, Index.TOKEN))
        copies = {Index.LAYER: self.layers, Index.POSITION: self.steps}.get(index, 1)
        contents = [make() for _ in range(copies)]
        cuts = sorted(rng.randrange(size + 1) for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))))
        for low, high in zip([0, *cuts], [*cuts, size], strict=True):
            self._fetch(index, [content[low:high] for content in contents])

    def _fetch(self, index: Index, parts: list[np.ndarray]) -> None:
        size = len(parts[0])
        room = self._pad(size) + self._stride(64 + 1)
        packed = np.zeros(room * (len(parts) - 1) + size, np.uint8)
        for i, part in enumerate(parts):
            packed[i * room : i * room + size] = part
        stride = room if len(parts) > 1 else self._stride(1 << 20)
        register = {
            Index.NONE: 0,
            Index.POSITION: self.position,
            Index.TOKEN: self.token,
            Index.LAYER: 0 if self.layers > 1 else self.layer,
        }[index]
        by_position = {}
        if self.steps == 1 and self.position and size % self.position == 0 and self.rng.random() < 0.5:
            size, by_position = size // self.position, {"per_position": 1}
        if size >= 1 << 24:
            raise MemoryError(f"wanted a FETCH below 2**24 bytes, found {size}")
        base = (self.place(packed) - register * stride) % _WORD
        self.emit(
            "FETCH", base=base, stride=stride, bytes=size, index=index, kind=self._kind(), **by_position
        )

    def empty_fetch(self) -> None:
        """A FETCH of nothing: no bytes, or any number of them times a POSITION of 0."""
        none = self.position == 0 and self.steps == 1
        self.emit(
            "FETCH",
            base=self._stride(1 << 16),
            stride=self._stride(1 << 16),
            index=self.rng.choice(list(Index)),
            bytes=self.rng.randrange(1 << 16) if none else 0,
            per_position=int(none),
            kind=self._kind(),
        )

    def feed_rows(self, start: int, layer_stride: int, row: int) -> None:
        """POSITION rows of a KV memory at `start`."""
        index = Index.LAYER if layer_stride else Index.NONE
        self.emit(
            "FETCH",
            base=start,
            stride=layer_stride,
            bytes=row,
            index=index,
            per_position=1,
            kind=self._kind(),
        )

    def _kind(self) -> int:
        return self.rng.choice(list(Kind))

    # --- STORE --------------------------------------------------------------------------------------------

    def store(self, payload: Payload, size: int, to: tuple[int, int, int] | None = None) -> None:
        """A STORE to a region of its own, or `to` (start, stride, step) at position 0."""
        rng, room = self.rng, self._pad(size)
        if to is None:
            stride = room if self.layers > 1 and rng.random() < 0.8 else 0
            layers = self.layers if stride else 1
            step = room * layers if self.steps > 1 else self._stride(1 << 12)
            start = self.allocate(room * layers * self.steps) - self.position * step
            if self.layers == 1:
                stride = self._stride(1 << 16)
                start -= self.layer * stride
            to = start, stride, step
        start, stride, step = to
        self.emit("STORE", base=start % _WORD, stride=stride, step=step, bytes=size, payload=payload)
