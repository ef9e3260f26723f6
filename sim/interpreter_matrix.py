"""Weights as the interpreter takes them from the tape, kept decoded."""

import numpy as np
import torch
from torch import Tensor

from hw.machine import MachineConfig
from models import numerics

from .interpreter_tape import Tape, UsageError


class Matrices:
    """Matrices by the place in memory that they came from, decoded again only where bytes have changed."""

    def __init__(self, machine: MachineConfig) -> None:
        self._tables = machine.tables
        self._known: dict[tuple[int, int, int], tuple[bytes, Tensor, Tensor]] = {}

    def ternary(self, tape: Tape, rows: int, k: int) -> Tensor:
        """Trits, binary64 [rows, k], from the bytes of a MATMUL."""
        columns = -(-k // numerics.TRITS_PER_BYTE)
        address, data = tape.take(rows * columns)
        known = self._find(address, rows, k, data)
        if known is None:
            packed, at = np.empty((rows, columns), np.uint8), 0
            for first in range(0, columns, self._tables):
                width = min(self._tables, columns - first)
                part = data[at : at + rows * width]
                packed[:, first : first + width] = part.reshape(rows, width)
                at += rows * width
            if packed.max(initial=0) >= 3**numerics.TRITS_PER_BYTE:
                raise UsageError(f"wanted trit bytes 0 to 242, found {packed.max()}")
            weight = numerics.unpack_trits(torch.from_numpy(packed.astype(np.int64)), k)
            known = self._keep(address, rows, k, data, weight, torch.zeros(0))
        return known[0]

    def int8(self, tape: Tape, rows: int, k: int) -> tuple[Tensor, Tensor]:
        """Codes, binary64 [rows, k], and row scales, binary32 [rows], from the bytes of a HEAD."""
        address, data = tape.take(rows * (k + 4))
        known = self._find(address, rows, k, data)
        if known is None:
            row = data.reshape(rows, k + 4)
            codes = torch.from_numpy(row[:, :k].astype(np.int8))
            scales = torch.from_numpy(row[:, k:].copy().view(np.float32).reshape(-1))
            known = self._keep(address, rows, k, data, codes, scales)
        return known

    def _find(self, address: int, rows: int, k: int, data: np.ndarray) -> tuple[Tensor, Tensor] | None:
        known = self._known.get((address, rows, k))
        return known[1:] if known is not None and known[0] == data.tobytes() else None

    def _keep(
        self, address: int, rows: int, k: int, data: np.ndarray, weight: Tensor, scales: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._known[address, rows, k] = data.tobytes(), weight.double(), scales
        return weight.double(), scales
