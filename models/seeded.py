"""A quantised model drawn from a seed: nothing is drawn before it is asked for, and its file is the seed.

Sizes are such that 24 or 32 layers stay moderate: the embedding is small (root mean square 2**-4 / sqrt 3), a
linear makes numbers of about unit size of normalised ones, so each layer adds about 2 to the mean square of
the residual stream, and the next token depends on the layers more than on the token itself.
"""

import copy
import hashlib
import json
from typing import Any, Self, cast

import torch
from torch import Tensor

from . import numerics
from .config import MATRICES, SITES, ModelConfig, matrix_shapes
from .draw import Draw
from .errors import CheckpointError
from .integer import IntegerLinear
from .integer_quantise import quantise_int8
from .layer import Matrix, QuantisedLayer
from .quantised import EXTREME_GRID, QuantisedModel
from .shapes import Shape

__all__ = ["SEEDED_PREFIX", "SeededModel"]

_FORMAT = "trine-seeded-1"
#: How the bytes of `SeededModel.save` begin.
SEEDED_PREFIX = b'{"format": "trine-seeded'
#: Models whose weights were compared with their hash in this process.
_verified: set[str] = set()


class _SeededLayer(QuantisedLayer):
    """A layer whose gains and matrices are drawn anew each time they are asked for."""

    def __init__(self, draw: Draw, shape: Shape, config: ModelConfig, index: int) -> None:
        own = {
            "_draw": draw,
            "_group": shape.group,
            "_shapes": matrix_shapes(config),
            "_sizes": config.gains(),
        }
        for key, value in {**own, "_path": f"layers.{index}"}.items():
            object.__setattr__(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if (site := name.removesuffix("_gain")) != name and site in SITES[:-1]:
            size = self._sizes.get(site)
            return self._draw.gain(f"{self._path}.{name}", size) if size else None
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
        config, draw = shape.config(layers), Draw(seed)
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
                total.update(tensor.contiguous().numpy().data)

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
            for site in ("attention", "mlp", "o", "down"):
                add(f"layers.{index}.{site}_gain", layer.gain(site))
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
                f"seeded model: wanted shape, layers, seed, grids and sha256 of {_FORMAT!r}, found: "
                f"{error!r}; the file is damaged"
            ) from error
