"""Weights as the interpreter takes them from the tape, kept decoded."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hw.integer_shape import IntegerShape
from hw.machine import MachineConfig
from models import numerics

from .interpreter_tape import Tape, UsageError

#: Pairs of rows decoded at once: bounds memory.
_PAIRS = 256
#: Trits of a matrix that are kept as binary64, ready to be multiplied; more take an eighth as int8.
_WIDE = 2**20


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
        self._integer: dict[tuple[int, IntegerShape], tuple[bytes, IntegerMatrix]] = {}

    def ternary(self, tape: Tape, rows: int, k: int) -> Tensor:
        """Trits [rows, k] from the bytes of a MATMUL: binary64, or int8 where there are many (`_WIDE`)."""
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
        weight = numerics.unpack_trits(torch.from_numpy(packed.astype(np.int64)), k)
        weight = weight.double() if rows * k <= _WIDE else weight.to(torch.int8)
        self._ternary[key] = raw, weight
        return weight

    def integer(self, tape: Tape, shape: IntegerShape) -> IntegerMatrix:
        """The matrix of a LINEAR or HEAD."""
        address, data = tape.take(shape.bytes)
        key, raw = (address, shape), data.tobytes()
        if key in self._integer and self._integer[key][0] == raw:
            return self._integer[key][1]
        matrix = _decoded(shape, data)
        self._integer[key] = raw, matrix
        return matrix


def _decoded(shape: IntegerShape, data: np.ndarray) -> IntegerMatrix:
    """The matrix from its bytes."""
    data = data.reshape(shape.pairs, shape.pair_bytes)
    codes, tails = _split(shape, data[:, :-8])
    row_scale = torch.from_numpy(data[:, -8:].copy().view(np.float32).reshape(-1)[: shape.rows])
    weight = torch.empty(2 * shape.pairs, shape.k, dtype=torch.float64)
    for first in range(0, shape.pairs, _PAIRS):
        part = torch.from_numpy(codes[first : first + _PAIRS].astype(np.int64))
        n = len(part) * shape.units * shape.unit_codes
        for odd, found in enumerate(numerics.unpack_pair(part.reshape(-1), n, shape.bits)):
            rows = slice(2 * first + odd, 2 * (first + len(part)), 2)
            weight[rows] = found.reshape(len(part), -1)[:, : shape.k].double()
    return IntegerMatrix(weight[: shape.rows], *_scales(shape, tails), row_scale)


def _split(shape: IntegerShape, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of codes, uint8 [pairs, n], and of tails [pairs, groups * tail_bytes]."""
    if not shape.group:
        return data, data[:, :0]
    codes, tails, tail = [], [], shape.tail_bytes
    for start in range(0, data.shape[1], shape.group_bytes + tail):
        part = data[:, start : start + shape.group_bytes + tail]
        codes.append(part[:, :-tail])
        tails.append(part[:, -tail:])
    return np.concatenate(codes, 1), np.concatenate(tails, 1)


def _scales(shape: IntegerShape, tails: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
    """Group scales and minima."""
    if not shape.group:
        return None, None
    # [pairs, groups, scale or minimum, even or odd]
    words = np.ascontiguousarray(tails).view(np.int16).reshape(shape.pairs, shape.groups, -1, 2)
    found = torch.from_numpy(words.astype(np.int64)).permute(2, 0, 3, 1).flatten(1, 2)[:, : shape.rows]
    return found[0], found[1] if shape.minima else None
