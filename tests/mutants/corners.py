"""A program of arithmetic corners: rounding, cancellation, ties, the ends of binary32, in the vector unit.

The random programs meet such operands too, but seldom together: half-way cases, results just below the
smallest normal number, sums of which nothing but the lowest bit is left.
"""

from collections.abc import Iterator

import numpy as np

from compiler.hazards import wait_bounds
from hw.isa import INSTRUCTION_BITS, Dest, Function, Index, Loop, Payload, Source, Target, encode
from hw.machine import MachineConfig
from sim.entries import Entry
from sim.random_check import MEMORY_BYTES, RandomCase
from tests.random.values import CORNERS

__all__ = ["ROWS", "Memory", "Row", "corner_program", "program"]

#: Elements of a row, and rows of each block in turn.
_N, ROWS = 128, 40
#: NORMs of a row, each of one word's squares.
_NORMS = 10
_SIGN = np.uint32(1 << 31)
Row = tuple[str, dict[str, int]]


class _Operands:
    """Rows of binary32 for one purpose each."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def bits(self, n: int, low: int, high: int) -> np.ndarray:
        """Patterns with exponent fields from low to high; fractions random, short, or nearly full."""
        rng = self.rng
        fraction = rng.integers(0, 1 << 23, n, dtype=np.uint32)
        kind = rng.integers(0, 4, n)
        fraction = np.where(kind == 1, fraction & 0x7C0000, fraction)
        fraction = np.where(kind == 2, fraction | 0x7FFFF8, fraction)
        fraction = np.where(kind == 3, fraction & 3, fraction).astype(np.uint32)
        exponent = np.clip(rng.integers(low, high + 1, n), 0, 255).astype(np.uint32)
        return rng.integers(0, 2, n, dtype=np.uint32) << 31 | exponent << 23 | fraction

    def pairs(self, n: int, function: Function) -> tuple[np.ndarray, np.ndarray]:
        """Both operands of n sums, products or silu products."""
        rng = self.rng
        x = self.bits(n, 1, 254)
        exponent = (x >> 23 & 255).astype(np.int64)
        if function == Function.ADD:
            apart = rng.integers(-27, 28, n)
            near = np.clip(exponent + apart, 0, 255).astype(np.uint32)
            b = self.bits(n, 0, 0) & 0x807FFFFF | near << 23
            close = (x ^ _SIGN) + rng.integers(-9, 10, n).astype(np.uint32)
            b = np.where(rng.random(n) < 0.4, close, b)
        else:
            if function == Function.SILU_MULTIPLY:
                x = self.bits(n, 96, 136)
                exponent = np.minimum(127, (x >> 23 & 255).astype(np.int64))
            edge = rng.choice(
                (127 - exponent, 128 - exponent, 126 - exponent, 254 + 127 - exponent), size=None
            )
            b = self.bits(n, 0, 0) & 0x807FFFFF
            b |= np.clip(edge + rng.integers(-1, 2, n), 0, 255).astype(np.uint32) << 23
            b = np.where(rng.random(n) < 0.4, self.bits(n, 100, 150), b)
        for one in (x, b):
            where = rng.random(n) < 0.15
            one[where] = rng.choice(CORNERS, int(where.sum()))
        return x.view(np.float32), b.astype(np.uint32).view(np.float32)

    def halves(self, n: int) -> np.ndarray:
        """A row whose absmax makes every other element fall half-way between two codes, or just beside."""
        rng = self.rng
        x = (rng.integers(-127, 127, n) + 0.5).astype(np.float32)
        x.view(np.uint32)[:] += rng.choice(np.array([0, 0, 0, 1, 0xFFFFFFFF], np.uint32), n)
        x[rng.integers(0, n)] = 127 * rng.choice((-1, 1))
        return x * np.float32(2.0 ** rng.integers(-90, 90))

    def heads(self, n: int, segment: int) -> np.ndarray:
        """Segments with an absmax each, at the ends of what quantises or anywhere."""
        x = self.bits(n, 90, 140)
        for low in range(0, n, segment):
            part = x[low : low + segment]
            kind = self.rng.random()
            if kind < 0.3:
                part[:] = self.bits(segment, 24, 30)
            elif kind < 0.5:
                part[:] = self.bits(segment, 0, 254)
            if kind < 0.6:
                part[self.rng.integers(0, segment)] = self.rng.choice(CORNERS)
        return x.view(np.float32)

    def squares(self, n: int, grid: int) -> np.ndarray:
        """Numbers whose squares are a few steps of the grid, or a great many."""
        rng = self.rng
        x = rng.standard_normal(n) * 2.0 ** (grid / 2 + rng.integers(-1, 2, n))
        large = rng.standard_normal(n) * 2.0 ** (grid / 2 + rng.integers(8, 29, n))
        return np.where(rng.random(n // 4).repeat(4) < 0.3, large, x).astype(np.float32)


class Memory:
    """Inputs from the bottom, outputs from the middle: a row for each turn of the loop."""

    def __init__(self, seed: int):
        self.bytes = np.random.default_rng(seed).integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
        self._input, self._output = 0, MEMORY_BYTES // 2

    def fetch(self, rows: list[np.ndarray]) -> Row:
        """A FETCH of row LAYER."""
        data = np.stack(rows).astype(np.float32)
        return self.fetch_bytes(data.view(np.uint8), {"bytes": 4 * data.shape[1]})

    def fetch_bytes(self, data: np.ndarray, fields: dict[str, int]) -> Row:
        """A FETCH of row LAYER of `data`, uint8 [rows, size]."""
        base, self._input = self._input, self._input + data.size
        assert self._input <= MEMORY_BYTES // 2
        self.bytes[base : self._input] = data.reshape(-1)
        return "FETCH", {"base": base, "stride": data.shape[1], "index": Index.LAYER, **fields}

    def store(self, payload: Payload, size: int, a: int = 0) -> Row:
        """A STORE to row LAYER."""
        base, self._output = self._output, self._output + ROWS * size
        assert self._output <= MEMORY_BYTES
        return "STORE", {"base": base, "stride": size, "bytes": size, "payload": payload, "a": a}


def corner_program(machine: MachineConfig, seed: int) -> RandomCase:
    """The program with its memory; it ends without an error and finds no tokens."""
    operands, memory = _Operands(seed), Memory(seed)
    body = [*_functions(operands, memory), *_codes(operands, memory), *_norms(operands, memory, seed)]
    return program(machine, seed, memory, body, Entry(0, 0), found=False)


def program(
    machine: MachineConfig, seed: int, memory: Memory, body: list[Row], entry: Entry, *, found: bool
) -> RandomCase:
    """`body` in a loop over the rows of `memory`, for one token."""
    rows: list[Row] = [
        ("LOOP", {"count": ROWS, "register": Loop.LAYER}),
        *body,
        ("NEXT", {"register": Loop.LAYER}),
        ("END", {}),
    ]
    assert len(rows) <= machine.program_words, len(rows)
    words = [encode(name, **fields | waits)
             for (name, fields), waits in zip(rows, wait_bounds(rows, 1), strict=True)]  # fmt: skip
    code = b"".join(word.to_bytes(INSTRUCTION_BITS // 8, "little") for word in words)
    return RandomCase(seed, code, tuple(rows), memory.bytes, 0, (entry,), 1, 1, False, (), 1, found)


def _functions(operands: _Operands, memory: Memory) -> Iterator[Row]:
    """Every function of MAP on pairs made for it."""
    tape = {"source": Source.TAPE, "n": _N}
    for function in (Function.ADD, Function.ADD, Function.MULTIPLY, Function.SILU_MULTIPLY):
        pairs = [operands.pairs(_N, function) for _ in range(ROWS)]
        yield memory.fetch([b for _, b in pairs])
        yield "MAP", {**tape, "d": 0}
        yield memory.fetch([x for x, _ in pairs])
        yield "MAP", {**tape, "function": function, "b": 0, "d": _N}
        yield memory.store(Payload.ACTIVATION, 4 * _N, _N)
    pairs = [operands.pairs(_N, Function.MULTIPLY) for _ in range(ROWS)]
    yield memory.fetch([b for _, b in pairs])
    yield "MAP", {**tape, "dest": Dest.CONSTANT, "d": 0}
    yield memory.fetch([x for x, _ in pairs])
    yield "MAP", {**tape, "function": Function.ROPE, "c": 0, "d": _N}
    yield memory.store(Payload.ACTIVATION, 4 * _N, _N)


def _codes(operands: _Operands, memory: Memory) -> Iterator[Row]:
    """QUANTISE of ties, and of many segments with their absmax."""
    n, heads = 64, 8
    yield memory.fetch([operands.halves(n) for _ in range(ROWS)])
    yield "MAP", {"source": Source.TAPE, "n": n, "d": 0, "statistics": 1, "stat": 0, "grid": 127}
    yield "QUANTISE", {"target": Target.KEY, "n": n, "a": 0, "d": 8, "stat": 0}
    yield memory.store(Payload.KEY, 8 + n)
    size = 4 * heads
    yield memory.fetch([operands.heads(size, 4) for _ in range(ROWS)])
    yield "MAP", {"source": Source.TAPE, "n": size, "statistics": 1, "stat": 3, "segment": 4, "grid": 127}
    yield "QUANTISE", {"target": Target.KEY, "n": size, "d": 8 * heads, "stat": 3, "segment": 4}
    yield memory.store(Payload.KEY, 8 * heads + size)


def _norms(operands: _Operands, memory: Memory, seed: int) -> Iterator[Row]:
    """NORM of small and large sums of squares, seen as the factor of ones."""
    rng = np.random.default_rng(seed + 1)
    n, grid, ones, scale, eps = 4 * _NORMS, int(rng.integers(-30, 31)), 64, 100, 101
    factors = np.ones((ROWS, 8), np.float32)
    factors[:, 0] = 2.0**grid * rng.uniform(0.2, 2, ROWS)
    factors[:, 1] = rng.choice((0.0, 0.0, 1e-5, 2.0**-126, 3.0), ROWS) * 2.0**grid
    yield memory.fetch(list(factors))
    yield "MAP", {"source": Source.TAPE, "n": 8, "dest": Dest.SCALAR, "d": scale}
    yield memory.fetch([operands.squares(n, grid) for _ in range(ROWS)])
    yield "MAP", {"source": Source.TAPE, "n": n, "statistics": 1, "stat": 9, "segment": 4, "grid": grid}
    yield memory.fetch([np.ones(4, np.float32)] * ROWS)
    yield "MAP", {"source": Source.TAPE, "n": 4, "d": ones}
    for i in range(_NORMS):
        yield "NORM", {"normalise": 1, "stat": 9 + i, "c": scale, "eps": eps, "d": i}
    for i in range(_NORMS):
        to = ones + 4 + 4 * i
        yield "MAP", {"n": 4, "a": ones, "d": to, "scaled": 1, "s1": i, "s2": scale + 2}
    yield memory.store(Payload.ACTIVATION, 16 * _NORMS, ones + 4)
