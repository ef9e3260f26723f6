"""Random tensors of a seed, by name: what models of a shape consist of (`models.seeded`).

Each tensor has a generator of its own, keyed by seed and tensor name, so it does not depend on which others
are drawn, in which order, or how many layers there are. Drawn from Philox4x64-10 (Salmon et al., SC 2011),
whose stream NumPy promises not to change; what becomes of its bits is integer arithmetic and binary64.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import numerics
from .integer import IntegerLinear, padded_groups
from .layer import Linear

__all__ = ["Draw"]

#: Goes into every key: a change of what is drawn is a change of this.
_RECIPE = "trine-seeded-1"
#: Bytes or elements drawn at once: bounds memory and changes no result, since none is thrown away.
_BLOCK = 2**20
#: Bytes of ternary codes that a model keeps, lest they be drawn again; others are drawn each time.
_KEPT = 2**30
#: What embedding and head are multiplied by.
_SMALL = 2.0**-4
#: Scales of int4 groups lie from the first to below the second; minima within _SHIFT of half a scale.
_SCALES, _SHIFT = (1024, 4096), 1024


class Draw:
    """Named random tensors of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed, self._room = seed, _KEPT
        self._kept: dict[str, Tensor] = {}  # trits by name

    def _stream(self, name: str) -> np.random.Philox:
        key = hashlib.sha256(f"{_RECIPE}/{self._seed}/{name}".encode()).digest()[:16]
        return np.random.Philox(key=int.from_bytes(key, "little"))

    @staticmethod
    def _bytes(stream: np.random.Philox, count: int) -> np.ndarray:
        """The next bytes (uint8), whole words of 8 being used up."""
        return stream.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]

    def bytes(self, name: str, count: int) -> np.ndarray:
        """uint8 [count], uniform."""
        return self._bytes(self._stream(name), count)

    def words(self, name: str, count: int) -> np.ndarray:
        """int64 [count], uniform from 0 to 65535."""
        return self.bytes(name, 2 * count).view("<u2").astype(np.int64)

    def trits(self, name: str, shape: tuple[int, int]) -> Tensor:
        """int8 [shape] of -1, 0 and 1, uniform: a byte below 243 gives five, others are passed over."""
        groups, stream = -(-shape[0] * shape[1] // 5), self._stream(name)
        found, held = [np.zeros(0, np.uint8)], 0
        while held < groups:
            drawn = self._bytes(stream, _BLOCK if groups > _BLOCK else -(-groups // 4096) * 4096)
            found.append(drawn[drawn < 243])
            held += len(found[-1])
        numbers = torch.from_numpy(np.concatenate(found)[:groups]).to(torch.int32)
        digits = torch.arange(243)[:, None] // 3 ** torch.arange(5) % 3 - 1
        trits = torch.nn.functional.embedding(numbers, digits.to(torch.int8))
        return trits.reshape(-1)[: shape[0] * shape[1]].reshape(shape)

    def kept_trits(self, name: str, shape: tuple[int, int]) -> Tensor:
        """`trits`, held for the next time while there is room."""
        found = self._kept.get(name)
        if found is None:
            found = self.trits(name, shape)
            if found.numel() <= self._room:
                self._room -= found.numel()
                self._kept[name] = found
        return found

    def uniform(self, name: str, count: int) -> Tensor:
        """Uniform in (-1, 1), binary64 [count], of 16 bits."""
        return _centred(self.words(name, count))

    def rows(self, name: str, rows: int, columns: int) -> Iterator[tuple[int, Tensor]]:
        """(first row, `_SMALL` x uniform, binary32 [some, columns]) from the first row to the last."""
        stream, some = self._stream(name), max(1, _BLOCK // columns // 4) * 4
        for first in range(0, rows, some):
            count = min(some, rows - first) * columns
            words = self._bytes(stream, 2 * count).view("<u2").astype(np.int32)
            odd = torch.from_numpy(2 * words + 1 - 65536).float()  # 17 bits and a power of two: exact
            yield first, odd.mul_(_SMALL / 65536).reshape(-1, columns)

    def linear(self, name: str, shape: tuple[int, int]) -> Linear:
        """A ternary matrix, drawn when its codes are asked for."""
        return _SeededLinear(self, name, shape, float(self._sizes(f"{name}.scale", 1, shape[1], 2 / 3)))

    def int4(self, name: str, shape: tuple[int, int], group: int) -> IntegerLinear:
        """An int4 matrix in groups with minima."""
        rows, columns = shape
        nibbles = self.bytes(f"{name}.codes", -(-rows * columns // 2))
        codes = np.stack((nibbles & 15, nibbles >> 4), -1).reshape(-1)[: rows * columns].astype(np.int8) - 8
        groups, (low, high) = (rows, padded_groups(columns, group)), _SCALES
        words = self.words(f"{name}.scales", 2 * groups[0] * groups[1]).reshape(2, *groups)
        scales = low + (words[0] * (high - low) >> 16)
        minima = (scales >> 1) + (words[1] >> 5) - _SHIFT  # half a scale: the mean of the codes is -1/2
        squares = (high**3 - low**3) / (3 * (high - low)) * 255 / 12 + _SHIFT**2 / 3
        row_scale = self._sizes(f"{name}.row_scale", rows, columns, squares) / numerics.INT8_LEVELS
        made = (torch.from_numpy(table.astype(np.int16)) for table in (scales, minima))
        return IntegerLinear(torch.from_numpy(codes).reshape(shape), 4, row_scale.float(), group, *made)

    def _sizes(self, name: str, count: int, columns: int, mean_square: float) -> Tensor:
        """Scales, binary32 numbers in binary64 [count], that give unit inputs outputs of about unit size."""
        return ((1 + self.uniform(name, count) / 4) / math.sqrt(columns * mean_square)).float().double()

    def gain(self, name: str, n: int) -> Tensor:
        """binary32 [n] between 0.75 and 1.25."""
        return (1 + self.uniform(name, n) / 4).float()


def _centred(words: np.ndarray) -> Tensor:
    """Numbers 0..65535 as odd multiples of 2**-16 in (-1, 1), binary64."""
    return torch.from_numpy(2 * words + 1 - 65536).double() / 65536


class _SeededLinear(Linear):
    """A ternary matrix whose codes are drawn when they are asked for."""

    def __init__(self, draw: Draw, name: str, shape: tuple[int, int], scale: float) -> None:
        for key, value in {"_draw": draw, "_name": name, "_shape": shape, "scale": scale}.items():
            object.__setattr__(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name != "codes":
            raise AttributeError(name)
        return self._draw.kept_trits(f"{self._name}.codes", self._shape)
