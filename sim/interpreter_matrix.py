"""Weights as the interpreter takes them from the tape, kept decoded."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hw.isa import Width
from hw.machine import MachineConfig
from models import numerics

from .interpreter_tape import Tape, UsageError

#: Pairs of rows decoded at once: bounds memory.
_PAIRS = 256


@dataclass(frozen=True)
class IntegerMatrix:
    """What LINEAR and HEAD take.

    codes: binary64 [rows, k]. scales, minima: int64 [rows, groups], or None where the tape has none.
    row_scale: binary32 [rows].
    """

    codes: Tensor
    scales: Tensor | None
    minima: Tensor | None
    row_scale: Tensor


class Matrices:
    """Matrices by the place in memory that they came from, decoded again only where bytes have changed."""

    def __init__(self, machine: MachineConfig) -> None:
        self._machine = machine
        self._ternary: dict[tuple[int, ...], tuple[bytes, Tensor]] = {}
        self._integer: dict[tuple[int, ...], tuple[bytes, IntegerMatrix]] = {}

    def ternary(self, tape: Tape, rows: int, k: int) -> Tensor:
        """Trits, binary64 [rows, k], from the bytes of a MATMUL."""
        columns, tables = -(-k // numerics.TRITS_PER_BYTE), self._machine.tables
        address, data = tape.take(rows * columns)
        key, raw = (address, rows, k), data.tobytes()
        if key in self._ternary and self._ternary[key][0] == raw:
            return self._ternary[key][1]
        packed, at = np.empty((rows, columns), np.uint8), 0
        for first in range(0, columns, tables):
            width = min(tables, columns - first)
            packed[:, first : first + width] = data[at : at + rows * width].reshape(rows, width)
            at += rows * width
        if packed.max(initial=0) >= 3**numerics.TRITS_PER_BYTE:
            raise UsageError(f"wanted trit bytes 0 to 242, found {packed.max()}")
        weight = numerics.unpack_trits(torch.from_numpy(packed.astype(np.int64)), k).double()
        self._ternary[key] = raw, weight
        return weight

    def integer(self, tape: Tape, f: dict[str, int]) -> IntegerMatrix:
        """The matrix of a LINEAR or HEAD with the fields ``f``, which are checked."""
        shape = Shape.of(self._machine, f)
        address, data = tape.take(shape.pairs * shape.pair_bytes)
        key, raw = (address, shape.rows, shape.k, shape.bits, shape.group, shape.minima), data.tobytes()
        if key in self._integer and self._integer[key][0] == raw:
            return self._integer[key][1]
        matrix = shape.decoded(data)
        self._integer[key] = raw, matrix
        return matrix


@dataclass(frozen=True)
class Shape:
    """The shape of an integer matrix on the tape; ``group``: 0, or weights that share a scale."""

    rows: int
    k: int
    bits: int
    group: int
    minima: bool
    #: Codes of one row in a unit, and bytes of a unit.
    unit_codes: int
    unit_bytes: int

    @classmethod
    def of(cls, machine: MachineConfig, f: dict[str, int]) -> "Shape":
        """That of an instruction; UsageError where it is none."""
        bits = 8 if f["width"] == Width.INT8 else 4
        unit = machine.unit_codes(bits)
        for name in ("rows", "k"):
            if not f[name]:
                raise UsageError(f"{name}: wanted 1 or more, found 0")
        if f["group"] % unit:
            raise UsageError(f"group: wanted a multiple of {unit}, found {f['group']}")
        if f["minima"] and not f["group"]:
            raise UsageError("minima: wanted a group that they belong to, found group 0")
        return cls(f["rows"], f["k"], bits, f["group"], bool(f["minima"]), unit, machine.head_lanes)

    @property
    def pairs(self) -> int:
        """Pairs of rows, the last one filled up."""
        return -(-self.rows // 2)

    @property
    def units(self) -> int:
        """Units of a pair."""
        return -(-self.k // self.unit_codes)

    @property
    def groups(self) -> int:
        """Groups that have a tail."""
        return -(-self.k // self.group) if self.group else 0

    @property
    def tail_bytes(self) -> int:
        """Bytes of a group's scales and minima."""
        return 8 if self.minima else 4

    @property
    def pair_bytes(self) -> int:
        """Bytes of a pair."""
        return self.units * self.unit_bytes + self.groups * self.tail_bytes + 8

    @property
    def products(self) -> int:
        """Products for one token: of whole pairs and units."""
        return 2 * self.pairs * self.units * self.unit_codes

    def decoded(self, data: np.ndarray) -> IntegerMatrix:
        """The matrix from its bytes."""
        data = data.reshape(self.pairs, self.pair_bytes)
        codes, tails = self._split(data[:, :-8])
        row_scale = torch.from_numpy(data[:, -8:].copy().view(np.float32).reshape(-1)[: self.rows])
        weight = torch.empty(2 * self.pairs, self.k, dtype=torch.float64)
        for first in range(0, self.pairs, _PAIRS):
            part = torch.from_numpy(codes[first : first + _PAIRS].astype(np.int64))
            both = numerics.unpack_pair(
                part.reshape(-1), part.shape[0] * self.units * self.unit_codes, self.bits
            )
            for odd, found in enumerate(both):
                rows = weight[2 * first + odd : 2 * (first + part.shape[0]) : 2]
                rows[:] = found.reshape(part.shape[0], -1)[:, : self.k]
        return IntegerMatrix(weight[: self.rows], *self._scales(tails), row_scale)

    def _split(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bytes of codes, uint8 [pairs, n], and of tails [pairs, groups * tail_bytes]."""
        if not self.group:
            return data, data[:, :0]
        step = self.group // self.unit_codes * self.unit_bytes
        codes, tails = [], []
        for start in range(0, data.shape[1], step + self.tail_bytes):
            part = data[:, start : start + step + self.tail_bytes]
            codes.append(part[:, : -self.tail_bytes])
            tails.append(part[:, -self.tail_bytes :])
        return np.concatenate(codes, 1), np.concatenate(tails, 1)

    def _scales(self, tails: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
        """Group scales and minima."""
        if not self.group:
            return None, None
        # [pairs, groups, scale or minimum, even or odd]
        words = np.ascontiguousarray(tails).view(np.int16).reshape(self.pairs, self.groups, -1, 2)
        found = torch.from_numpy(words.astype(np.int64)).permute(2, 0, 3, 1).flatten(1, 2)[:, : self.rows]
        return found[0], found[1] if self.minima else None
