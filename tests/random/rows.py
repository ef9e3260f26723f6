"""The memory side of a random program: FETCH and STORE instructions, and what lies where they point."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hw.isa import Index, Kind, Loop, Payload
from hw.machine import MachineConfig

from .plan import Plan
from .scope import Scope, Turn
from .values import Values

#: One instruction: its name and the values of its fields.
Row = tuple[str, dict[str, int]]
#: Operand bytes (uint8) of the length asked for.
Make = Callable[[int], np.ndarray]
_WORD = 1 << 32
#: Bytes of one table of operands, or of the rows of one STORE.
_LARGE = 1 << 14


@dataclass(frozen=True)
class Region:
    """Where a STORE writes: its base, bytes of a row, from row to row and from layer to layer."""

    base: int
    stride: int
    step: int
    size: int


class Rows:
    """Instructions so far, and the memory image that grows with them.

    Parameters
    ----------
    rng, values, machine : sources of choice and operands; sizes.
    memory : np.ndarray
        The image (uint8), random already; operands are written into it from the plan's `memory_base` on.
    plan : Plan

    Members
    -------
    rows : the instructions, waits left out.
    predicate : that of the instructions emitted now.
    scope : the loops they stand in.
    """

    def __init__(
        self, rng: random.Random, values: Values, machine: MachineConfig, memory: np.ndarray, plan: Plan
    ):
        self.rng, self.values, self.machine, self.plan = rng, values, machine, plan
        self.memory, self.base, self._end = memory, plan.memory_base, 0
        self.rows: list[Row] = []
        self.predicate, self.scope = 0, Scope(plan)

    def emit(self, name: str, **fields: int) -> None:
        """One more instruction, under the present predicate."""
        self.rows.append((name, fields | ({"predicate": self.predicate} if self.predicate else {})))

    @contextmanager
    def under(self, predicate: int) -> Iterator[None]:
        """Everything emitted inside is under `predicate`; inside of another such block nothing changes."""
        outer = self.predicate
        self.predicate = outer or predicate
        yield
        self.predicate = outer

    @contextmanager
    def loop(self, register: Loop, count: int = 1, inner: tuple[Loop, int] | None = None) -> Iterator[None]:
        """LOOP and NEXT around what is emitted inside; `count` turns of LAYER; as of `Scope.loop`."""
        junk = self.rng.choice((0, self.rng.randrange(1 << 16)))
        self.emit("LOOP", register=register, count=count if register == Loop.LAYER else junk)
        with self.scope.loop(register, count, inner):
            yield
        self.emit("NEXT", register=register)

    def turns(self, tiled: int) -> list[Turn]:
        """What the next instruction acts for, in every execution."""
        return self.scope.turns(self.predicate, tiled)

    def live(self, tiled: int) -> set[int]:
        """How many tokens that may be."""
        return {len(turn.acting) for turn in self.turns(tiled)}

    # --- memory -------------------------------------------------------------------------------------------

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
        """Bytes (uint8) into a region of their own; its address relative to the base."""
        start = self.allocate(len(data))
        self.memory[self.base + start : self.base + start + len(data)] = data
        return start

    def _pad(self, size: int) -> int:
        return -(-size // self.machine.bus_bytes) * self.machine.bus_bytes

    def _stride(self, most: int) -> int:
        """A multiple of the bus below `most`."""
        return self.machine.bus_bytes * self.rng.randrange(most // self.machine.bus_bytes)

    def _any_stride(self, bits: int) -> int:
        """For a stride that meets one value only."""
        bus = self.machine.bus_bytes
        return self.rng.choice((0, self._stride(1 << 16), self._stride(1 << bits), (1 << bits) - bus))

    # --- FETCH --------------------------------------------------------------------------------------------

    def feed(self, size: int, make: Make, *, uniform: bool = True) -> None:
        """FETCH instructions that bring `size` bytes; `uniform`: of `make`, in any pieces and order."""
        if uniform and size and self.rng.random() < 0.25 and self._feed_by_tokens(size, make):
            return
        index = self.rng.choice(list(Index))
        tiled = int(index in (Index.NONE, Index.LAYER) and self.rng.random() < 0.5)
        self._cut(index, tiled, size, make, uniform)

    def feed_each(self, size: int, make: Make) -> None:
        """FETCH instructions that bring `size` bytes for each token of the tile."""
        live = self.live(1)
        if len(live) == 1 and self.rng.random() < 0.3:
            return self.feed(live.pop() * size, make)
        self._cut(self.rng.choice((Index.POSITION, Index.TOKEN, Index.ENTRY)), 1, size, make, True)

    def _feed_by_tokens(self, size: int, make: Make) -> bool:
        """As `feed`, with runs for each token or sequence, where their number is always the same."""
        rng, turns = self.rng, self.turns(1)
        if rng.random() < 0.5:
            live = self.live(1)
            if len(live) == 1 and size % (each := live.pop()) == 0:
                index = rng.choice((Index.POSITION, Index.TOKEN, Index.ENTRY))
                self._cut(index, 1, size // each, make, True)
                return True
            return False
        older = {sum(turn.older) for turn in turns}
        rows = older.pop()
        if older or not rows or size % rows:
            return False
        size //= rows
        held = [entry for turn in turns for entry in turn.starts if entry.position]
        low, high = min(entry.base for entry in held), max(entry.base + entry.position for entry in held)
        aligned = size % self.machine.bus_bytes == 0 or not any(entry.base for entry in held)
        if not aligned or (high - low) * size > _LARGE:
            return False
        layers = self.scope.layers
        start, stride = self._table(layers, {layer: make((high - low) * size) for layer in layers}, make)
        self._fetch((start - low * size) % _WORD, stride, size, Index.LAYER, 1, sequence=1)
        return True

    def _cut(self, index: Index, tiled: int, size: int, make: Make, uniform: bool) -> None:
        """`size` bytes for each value of the index that is met, in one FETCH or several."""
        values = self.scope.values(index, self.turns(tiled))
        contents = dict.fromkeys(values, make(size)) if len(values) * size > _LARGE else {}
        contents = contents or {value: make(size) for value in values}
        cuts = sorted(self.rng.randrange(size + 1) for _ in range(self.rng.choice((0, 0, 0, 1, 1, 2, 3))))
        for low, high in zip([0, *cuts], [*cuts, size], strict=True):
            parts = {value: content[low:high] for value, content in contents.items()}
            base, stride = self._table(values, parts, make if uniform else None)
            self._fetch(base, stride, high - low, index, tiled)

    def _table(self, values: list[int] | tuple[int, ...], parts: dict[int, np.ndarray],
               make: Make | None) -> tuple[int, int]:  # fmt: skip
        """(base, stride) by which each value finds its part; with `make` parts may be others, and overlap."""
        low, high, size = min(values), max(values), len(parts[values[0]])
        if low == high:
            stride = self._any_stride(28)
            return (self.place(parts[low]) - low * stride) % _WORD, stride
        bus, rng = self.machine.bus_bytes, self.rng
        stride = self._pad(size) + self._stride(64 + bus)
        if make is not None and rng.random() < 0.15:
            stride = bus * rng.randint(0, self._pad(size) // bus)
        extent = (high - low) * stride + size
        if extent > 2 * _LARGE:
            return self.place(parts[low]), 0
        if make is not None and stride < size:
            packed = make(extent)
        else:
            packed = np.zeros(extent, np.uint8)
            for value, part in parts.items():
                packed[(value - low) * stride : (value - low) * stride + size] = part
        return (self.place(packed) - low * stride) % _WORD, stride

    def _fetch(
        self, base: int, stride: int, size: int, index: Index, tiled: int, sequence: int = 0, **more: int
    ) -> None:
        if size >= 1 << 26:
            raise MemoryError(f"wanted a FETCH below 2**26 bytes, found {size}")
        kind = self.rng.choice(list(Kind))
        self.emit("FETCH", base=base, stride=stride, bytes=size, index=index, tiled=tiled, sequence=sequence,
                  kind=kind, **more)  # fmt: skip

    def empty_fetch(self) -> None:
        """A FETCH of nothing: no bytes, or any number of them for each of no older tokens."""
        tiled, index = self.rng.randint(0, 1), self.rng.choice(list(Index))
        none = not any(sum(turn.older) for turn in self.turns(tiled))
        sequence = self.rng.randint(0, 1)
        self._fetch(
            self.rng.choice((0, self._stride(1 << 32))),
            self._any_stride(28),
            self.rng.choice(((1 << 26) - 1, self.rng.randrange(1 << 26))) if none and sequence else 0,
            Index.LAYER if sequence else index,
            tiled,
            sequence,
        )

    def feed_region(self, region: Region, size: int, index: Index, tiled: int, sequence: int = 0) -> None:
        """A FETCH from what a STORE writes, by the same base."""
        stride = region.step if index == Index.ENTRY else region.stride
        self._fetch(region.base, stride, size, index, tiled, sequence)

    # --- STORE --------------------------------------------------------------------------------------------

    def rows_of(self, payload: Payload, tiled: int, *, always: bool = False) -> tuple[int, int]:
        """The lowest and the highest row that a STORE may write; `always`: whatever the predicate."""
        turns = self.scope.turns(0, tiled) if always else self.turns(tiled)
        if payload == Payload.LOGITS:
            return 0, 0
        if payload == Payload.ACTIVATION:
            return min(turn.first for turn in turns), max(turn.first + len(turn.acting) - 1 for turn in turns)
        found = {entry.base + entry.position for turn in turns for entry in turn.acting}
        return min(found), max(found)

    def region(self, payload: Payload, size: int, tiled: int) -> Region:
        """A region of its own for a STORE: rows apart, seldom on top of each other."""
        rng, bus, layers = self.rng, self.machine.bus_bytes, self.scope.layers
        low, high = self.rows_of(payload, tiled)
        room = self._pad(size * (max(self.live(tiled)) if payload == Payload.LOGITS else 1))
        count, turns = high - low + 1, max(layers) - min(layers) + 1
        step = room + rng.choice((0, 0, self._stride(32 + bus)))
        if rng.random() < 0.08 or count * step > _LARGE:
            step = rng.choice((0, min(step, bus))) if count < 100 else 0
        extent = (count - 1) * step + room
        stride = self._pad(extent) if turns * extent <= _LARGE and rng.random() < 0.8 else 0
        if turns > 1 and stride and rng.random() < 0.2:  # a row's layers side by side
            stride, step = room, room * turns if count > 1 else step
        start = self.allocate((turns - 1) * stride + (count - 1) * step + room)
        if count == 1:
            step = self._any_stride(24)
        if turns == 1:
            stride = self._any_stride(28)
        return Region((start - low * step - min(layers) * stride) % _WORD, stride, step, size)

    def store(
        self, payload: Payload, size: int, tiled: int = 0, to: Region | None = None, **more: int
    ) -> Region:
        """A STORE to `to`, or a region of its own."""
        to = to or self.region(payload, size, tiled)
        self.emit("STORE", base=to.base, stride=to.stride, step=to.step, bytes=size, payload=payload,
                  tiled=tiled, **more)  # fmt: skip
        return to
