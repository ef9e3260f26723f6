"""A quantised model drawn from a seed: nothing is drawn before it is asked for, and its file is the seed.

Each tensor has a generator of its own, keyed by seed and tensor name, so it does not depend on which others
are drawn, in which order, or how many layers there are. Drawn from Philox4x64-10 (Salmon et al., SC 2011),
whose stream NumPy promises not to change; what becomes of its bits is integer arithmetic and binary64.

Sizes are such that 24 or 32 layers stay moderate: the embedding is small (root mean square 2**-4 / sqrt 3), a
linear makes numbers of about unit size of normalised ones, so each layer adds about 2 to the mean square of
the residual stream, and the next token depends on the layers more than on the token itself.
"""

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from . import numerics
from .config import ModelConfig
from .errors import CheckpointError
from .float_model import matrix_shapes
from .integer import IntegerLinear, padded_groups
from .integer_quantise import quantise_int8
from .layer import MATRICES, SITES, Linear, Matrix, QuantisedLayer
from .quantised import EXTREME_GRID, QuantisedModel
from .shapes import Shape

__all__ = ["SEEDED_PREFIX", "SeededModel"]

_FORMAT = "trine-seeded-1"
#: How the bytes of `SeededModel.save` begin.
SEEDED_PREFIX = b'{"format": "trine-seeded'
#: Bytes or elements drawn at once: bounds memory and changes no result, since none is thrown away.
_BLOCK = 2**20
#: Bytes of ternary codes that a model keeps, lest they be drawn again; others are drawn each time.
_KEPT = 2**30
#: What embedding and head are multiplied by.
_SMALL = 2.0**-4
#: Scales of int4 groups lie from the first to below the second; minima within _SHIFT of half a scale.
_SCALES, _SHIFT = (1024, 4096), 1024
#: Models whose weights were compared with their hash in this process.
_verified: set[str] = set()


class _Draw:
    """Named random tensors of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed, self._room = seed, _KEPT
        self._kept: dict[str, Tensor] = {}  # trits by name

    def _stream(self, name: str) -> np.random.Philox:
        key = hashlib.sha256(f"{_FORMAT}/{self._seed}/{name}".encode()).digest()[:16]
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

    def __init__(self, draw: _Draw, name: str, shape: tuple[int, int], scale: float) -> None:
        for key, value in {"_draw": draw, "_name": name, "_shape": shape, "scale": scale}.items():
            object.__setattr__(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name != "codes":
            raise AttributeError(name)
        return self._draw.kept_trits(f"{self._name}.codes", self._shape)


class _SeededLayer(QuantisedLayer):
    """A layer whose gains and matrices are drawn anew each time they are asked for."""

    def __init__(self, draw: _Draw, shape: Shape, config: ModelConfig, index: int) -> None:
        own = {"_draw": draw, "_group": shape.group, "_shapes": matrix_shapes(config), "_dim": config.dim}
        for key, value in {**own, "_path": f"layers.{index}"}.items():
            object.__setattr__(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name in ("attention_gain", "mlp_gain"):
            return self._draw.gain(f"{self._path}.{name}", self._dim)
        if name not in MATRICES:
            raise AttributeError(name)
        path, shape = f"{self._path}.{name}", self._shapes[name]
        return self._draw.int4(path, shape, self._group) if self._group else self._draw.linear(path, shape)


class SeededModel(QuantisedModel):
    """The model of a shape and a seed; the first ``layers`` of the shape, or all.

    Matrices are drawn when they are asked for, and of them only some ternary codes are kept (`_KEPT`);
    embedding and head are kept. Raises CheckpointError as `Shape.config` does.
    """

    def __init__(
        self,
        shape: Shape,
        seed: int,
        layers: int | None = None,
        grids: dict[str, int] | None = None,
        digest: str | None = None,
    ) -> None:
        config, draw = shape.config(layers), _Draw(seed)
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise CheckpointError(f"shape {shape.name!r}", f"a seed of 0 to {2**63 - 1}", seed, "correct it")
        blocks = tuple(_SeededLayer(draw, shape, config, index) for index in range(config.layers))
        values = {
            "shape": shape,
            "seed": seed,
            "config": config,
            "layers": blocks,
            "grids": grids or dict.fromkeys(SITES, numerics.DEFAULT_GRID),
            "activations": dict.fromkeys(SITES, 8),
            "_draw": draw,
            "_digest": digest,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Embedding, head and final gain, drawn when they are first asked for."""
        make = {"embedding": self._make_embedding, "head": self._make_head, "final_gain": self._make_gain}
        if name not in make:
            raise AttributeError(name)
        with torch.inference_mode(False):
            object.__setattr__(self, name, made := make[name]())
        return made

    def _make_embedding(self) -> Tensor:
        c = self.config
        table = torch.empty(c.vocab, c.dim)
        for first, rows in self._draw.rows("embedding", c.vocab, c.dim):
            table[first : first + len(rows)] = rows
        return table

    def _make_head(self) -> IntegerLinear:
        c = self.config
        codes, scale = torch.empty(c.vocab, c.dim, dtype=torch.int8), torch.empty(c.vocab)
        for first, rows in self._draw.rows("embedding" if c.tied_head else "head", c.vocab, c.dim):
            some, part = slice(first, first + len(rows)), quantise_int8(rows, 8, "head")
            codes[some], scale[some] = part.codes, part.row_scale
        return IntegerLinear(codes, 8, scale)

    def _make_gain(self) -> Tensor:
        return self._draw.gain("final_gain", self.config.dim)

    def some_tokens(self, count: int) -> list[int]:
        """Token ids of the seed's own, for calibration and measurements."""
        return (self._draw.words("tokens", count) * self.config.vocab >> 16).tolist()

    # --- as any other model -------------------------------------------------------------------------------

    def with_grids(self, grids: dict[str, int]) -> "SeededModel":
        """The same model with other grids."""
        made = copy.copy(self)
        object.__setattr__(made, "grids", dict(grids))
        return made

    def form(self, name: str) -> dict[str, Any] | None:
        """As the shape has it."""
        return self.shape.forms().get(name)

    def check(self) -> Self:
        """Compare the weights with the hash that the model was saved with, once in a process.

        CheckpointError where they differ. A model that was not loaded has none, and is sound by making.
        """
        if self._digest is None or (key := f"{self.shape}{self.seed}{self._digest}") in _verified:
            return self
        if (found := self.digest()) != self._digest:
            raise CheckpointError(
                f"model {self.config.name!r}: weights of seed {self.seed}",
                f"SHA-256 {self._digest}",
                found,
                "this version draws otherwise than the one that compiled it: compile the shape again",
            )
        _verified.add(key)
        return self

    def digest(self) -> str:
        """SHA-256 over names and contents of all tensors, hexadecimal; layer by layer."""
        total = hashlib.sha256()

        def add(name: str, tensor: Tensor | None) -> None:
            if tensor is not None:
                total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
                total.update(memoryview(tensor.contiguous().numpy()).cast("B"))

        def matrix(name: str, found: Matrix) -> None:
            add(f"{name}.codes", found.codes)
            if isinstance(found, IntegerLinear):
                for key in ("row_scale", "scales", "minima"):
                    add(f"{name}.{key}", getattr(found, key))
            else:
                add(f"{name}.scale", torch.tensor([found.scale]))

        add("embedding", self.embedding)
        add("final_gain", self.final_gain)
        matrix("head", self.head)
        for index, layer in enumerate(self.layers):
            add(f"layers.{index}.attention_gain", layer.attention_gain)
            add(f"layers.{index}.mlp_gain", layer.mlp_gain)
            for name, found in layer.matrices():
                matrix(f"layers.{index}.{name}", found)
        return total.hexdigest()

    # --- the artefact's member ----------------------------------------------------------------------------

    def save(self) -> bytes:
        """Shape, seed, grids and the hash of the weights, as JSON that `load` reads."""
        if self._digest is None:
            object.__setattr__(self, "_digest", self.digest())
        content = {
            "shape": self.shape.to_json(),
            "layers": self.config.layers,
            "seed": self.seed,
            "grids": self.grids,
            "sha256": self._digest,
        }
        return json.dumps({"format": _FORMAT, **content}).encode()

    @classmethod
    def load(cls, data: bytes) -> "SeededModel":
        """Inverse of `save`, nothing drawn yet (`check` does); ValueError where ``data`` is damaged."""
        try:
            found = cast(dict[str, Any], json.loads(data))
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']!r}, not {_FORMAT!r}")
            grids, digest = found["grids"], found["sha256"]
            if set(grids) != set(SITES) or not all(
                type(grid) is int and abs(grid) <= EXTREME_GRID for grid in grids.values()
            ):
                raise ValueError(f"grids {grids!r}")
            if not isinstance(digest, str) or type(found["layers"]) is not int:
                raise TypeError(f"layers {found['layers']!r} with SHA-256 {digest!r}")
            return cls(Shape.from_json(found["shape"]), found["seed"], found["layers"], grids, digest)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"seeded model: wanted shape, layers, seed, grids and sha256 of {_FORMAT!r}, found: {error!r}; "
                f"the file is damaged"
            ) from error
