"""A matrix of integers on the tape: pairs of rows, group by group."""

import numpy as np
import torch
from torch import Tensor

from hw.integer_shape import IntegerShape
from hw.isa import Width
from hw.machine import MachineConfig
from models import numerics
from models.quantised import IntegerLinear

#: Pairs of rows written at once: bounds memory.
_PAIRS = 256


def integer_bytes(matrix: IntegerLinear, machine: MachineConfig) -> np.ndarray:
    """What LINEAR or HEAD takes (uint8 [n]); the filler is zero."""
    rows, k = matrix.codes.shape
    width = {8: Width.INT8, 4: Width.INT4}[matrix.bits]
    fields = {
        "rows": rows,
        "k": k,
        "width": width,
        "group": matrix.group,
        "minima": matrix.minima is not None,
    }
    shape = IntegerShape.of(machine, fields)
    out = np.empty((shape.pairs, shape.pair_bytes), np.uint8)
    for first in range(0, shape.pairs, _PAIRS):
        some = slice(2 * first, 2 * (first + _PAIRS))
        _pairs(shape, out[first : first + _PAIRS], _even(matrix.codes[some]), _tails(matrix, some))
    scales = _even(matrix.row_scale[:, None].to(torch.float32)).numpy()
    out[:, -8:] = np.ascontiguousarray(scales).view(np.uint8).reshape(shape.pairs, 8)
    return out.reshape(-1)


def _even(values: Tensor) -> Tensor:
    """Rows [rows, n], and one of zeros where their number is odd."""
    return torch.nn.functional.pad(values, (0, 0, 0, len(values) % 2))


def _tails(matrix: IntegerLinear, some: slice) -> np.ndarray:
    """Group scales, then minima, of some rows: int16 [pairs, groups, n], even row before odd."""
    tables = [_even(table[some]) for table in (matrix.scales, matrix.minima) if table is not None]
    if not tables:
        return np.zeros((0, 0, 0), np.int16)
    both = torch.stack([table.unflatten(0, (-1, 2)) for table in tables])  # [kind, pairs, 2, groups]
    return both.permute(1, 3, 0, 2).flatten(2).to(torch.int16).contiguous().numpy()


def _pairs(shape: IntegerShape, out: np.ndarray, codes: Tensor, tails: np.ndarray) -> None:
    """Codes [2 * pairs, k] and tails into their bytes [pairs, pair_bytes]."""
    filled = torch.nn.functional.pad(codes, (0, shape.units * shape.unit_codes - shape.k)).to(torch.int64)
    packed = numerics.pack_pair(filled[0::2].reshape(-1), filled[1::2].reshape(-1), shape.bits, 1)
    data = packed.to(torch.uint8).numpy().reshape(len(out), -1)
    at = 0
    for group, start in enumerate(range(0, data.shape[1], shape.group_bytes)):
        part = data[:, start : start + shape.group_bytes]
        out[:, at : at + part.shape[1]] = part
        at += part.shape[1]
        if shape.group:
            tail = np.ascontiguousarray(tails[:, group]).view(np.uint8)
            out[:, at : at + shape.tail_bytes] = tail
            at += shape.tail_bytes
