"""The quantised model before layout: what front ends make, the golden model computes and the compiler lowers.

Ternary matrices keep their codes and scale as the checkpoint has them; the head is quantised to int8 by row.
The constants that the machine multiplies by (``docs/architecture.md``) are folded here, once.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from . import numerics
from .config import ModelConfig
from .float_model import MATRICES, matrix_shapes
from .ternary_file import pack_codes, unpack_codes

__all__ = [
    "EXTREME_GRID",
    "MATRICES",
    "SITES",
    "Linear",
    "QuantisedLayer",
    "QuantisedModel",
    "matrix_shapes",
    "norm_constants",
    "quantise_head",
    "query_constant",
    "site_width",
]

#: The inputs that are normalised or quantised: of q, k, v; of o; of gate and up; of down; of the head.
SITES: tuple[str, ...] = ("attention", "o", "mlp", "down", "final")
#: Grid exponents lie within +-EXTREME_GRID, so that 2**grid * n and 2**grid / n are normal binary32 numbers.
EXTREME_GRID = 100

_FORMAT = "trine-quantised-1"


# --- folded constants -------------------------------------------------------------------------------------


def norm_constants(config: ModelConfig, n: int, grid: int, final: bool = False) -> tuple[Tensor, Tensor]:
    """(c, eps) of `numerics.norm_scale`, 0-d binary32, for inputs of ``n`` elements and squares on ``grid``.

    RMS: c = 2**grid / n, eps as configured (``final_eps`` where ``final``: that norm is always RMS).
    ak42: c = 2**grid * n, eps = 1e-24, for x / max(||x||, 1e-12) / sqrt(n).
    """
    if final or config.norm == "rms":
        eps = config.final_eps if final else config.norm_eps
        return numerics.constant(2.0**grid / n), numerics.constant(eps)
    return numerics.constant(2.0**grid * n), numerics.constant(1e-24)


def query_constant(head_size: int) -> Tensor:
    """log2(e) / (sqrt(head_size) 32767 127): s_q is this times the absmax of q; makes scores base-2 logs."""
    levels = numerics.INT16_LEVELS * numerics.INT8_LEVELS
    return numerics.constant(math.log2(math.e) / (math.sqrt(head_size) * levels))


def quantise_head(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int8 [vocab, dim] and scales binary32 [vocab] of a float head [vocab, dim], row by row.

    codes = rne(w * 127 / absmax) in binary64; scales = absmax / 127**2, where the second 1/127 belongs to the
    activations. A row whose absmax is below 2**-100 becomes zero.
    """
    if not torch.isfinite(weight).all():
        row = int((~torch.isfinite(weight)).any(-1).nonzero()[0, 0])
        raise ValueError(
            f"head: wanted finite numbers, found row {row} with others; the checkpoint is damaged"
        )
    largest = weight.double().abs().amax(-1)
    live = largest >= numerics.MIN_ABSMAX
    codes = torch.round(weight.double() * (numerics.INT8_LEVELS / largest.where(live, torch.inf))[:, None])
    scales = numerics.flush((largest / numerics.INT8_LEVELS**2).float())
    return codes.to(torch.int8), scales.where(live, 0.0)


# --- structure --------------------------------------------------------------------------------------------


def site_width(config: ModelConfig, site: str) -> int:
    """Elements of the vector that is normalised at ``site``."""
    return config.hidden if site == "down" else config.dim


@dataclass(frozen=True, eq=False)
class Linear:
    """A ternary matrix scale x codes.

    Parameters
    ----------
    codes: int8 [out, in] of -1, 0, 1.
    scale: a binary32 value.
    """

    codes: Tensor
    scale: float

    @property
    def constant(self) -> Tensor:
        """k = scale / 127 (0-d binary32), used as y = fl(fl(acc) * fl(s * k))."""
        return numerics.constant(self.scale / numerics.INT8_LEVELS)


@dataclass(frozen=True, eq=False)
class QuantisedLayer:
    """One layer: gains binary32 [dim] (None where block norms have no gain) and seven matrices."""

    attention_gain: Tensor | None
    mlp_gain: Tensor | None
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    gate: Linear
    up: Linear
    down: Linear

    def matrices(self) -> Iterator[tuple[str, Linear]]:
        """(name, matrix) in the order of `MATRICES`."""
        return ((name, getattr(self, name)) for name in MATRICES)


def _default_grids() -> dict[str, int]:
    return dict.fromkeys(SITES, numerics.DEFAULT_GRID)


@dataclass(frozen=True, eq=False)
class QuantisedModel:
    """A whole model.

    Parameters
    ----------
    config: shape and semantics.
    embedding: binary32 [vocab, dim].
    layers: one `QuantisedLayer` each.
    final_gain: binary32 [dim].
    head_codes, head_scales: int8 [vocab, dim] within +-127 and binary32 [vocab], see `quantise_head`.
    grids: exponent of the grid of squares for each of `SITES`, common to all layers (the program is a loop).
    """

    config: ModelConfig
    embedding: Tensor
    layers: tuple[QuantisedLayer, ...]
    final_gain: Tensor
    head_codes: Tensor
    head_scales: Tensor
    grids: dict[str, int] = field(default_factory=_default_grids)

    def with_grids(self, grids: dict[str, int]) -> "QuantisedModel":
        """The same model with other grids."""
        return replace(self, grids=dict(grids))

    def check(self) -> "QuantisedModel":
        """Return the model itself, or raise ValueError: the tensor, what was wanted, what was found."""
        c = self.config
        self._tensor("embedding", self.embedding, torch.float32, (c.vocab, c.dim))
        self._tensor("final_gain", self.final_gain, torch.float32, (c.dim,))
        self._tensor("head_codes", self.head_codes, torch.int8, (c.vocab, c.dim), numerics.INT8_LEVELS)
        self._tensor("head_scales", self.head_scales, torch.float32, (c.vocab,))
        if len(self.layers) != c.layers:
            raise self._wrong("layers", c.layers, len(self.layers))
        for index, layer in enumerate(self.layers):
            for name in ("attention_gain", "mlp_gain"):
                gain = getattr(layer, name)
                if (gain is not None) != c.block_gain:
                    raise self._wrong(f"layers.{index}.{name}", f"a gain: {c.block_gain}", gain is not None)
                if gain is not None:
                    self._tensor(f"layers.{index}.{name}", gain, torch.float32, (c.dim,))
            for name, shape in matrix_shapes(c).items():
                linear = getattr(layer, name)
                self._tensor(f"layers.{index}.{name}.codes", linear.codes, torch.int8, shape, 1)
                constant = float(linear.constant)
                if not math.isfinite(constant) or (constant == 0.0 != linear.scale):
                    raise self._wrong(
                        f"layers.{index}.{name}.scale",
                        "a number whose 1/127 is finite and not subnormal",
                        linear.scale,
                    )
        if set(self.grids) != set(SITES):
            raise self._wrong("grids", f"the sites {sorted(SITES)}", sorted(self.grids))
        for site, grid in self.grids.items():
            if not isinstance(grid, int) or abs(grid) > EXTREME_GRID:
                raise self._wrong(f"grid of {site}", f"an exponent within +-{EXTREME_GRID}", grid)
        return self

    def _tensor(
        self, name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...], limit: int | None = None
    ) -> None:
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise self._wrong(name, f"{dtype} {list(shape)}", f"{tensor.dtype} {list(tensor.shape)}")
        if limit is None:
            if not torch.isfinite(tensor).all():
                raise self._wrong(name, "finite numbers", "infinities or NaN")
        elif int(tensor.to(torch.int16).abs().max()) > limit:
            raise self._wrong(name, f"codes within +-{limit}", int(tensor.to(torch.int16).abs().max()))

    def _wrong(self, name: str, wanted: object, found: object) -> ValueError:
        return ValueError(
            f"model {self.config.name!r}: {name}: wanted {wanted}, found {found}; the checkpoint "
            f"and its configuration do not belong together, or a file is damaged"
        )

    # --- the artefact's member ----------------------------------------------------------------------------

    def save(self) -> bytes:
        """Safetensors bytes that `load` reads; the same model gives the same bytes."""
        tensors = {
            "embedding": self.embedding,
            "final_gain": self.final_gain,
            "head_codes": self.head_codes,
            "head_scales": self.head_scales,
        }
        for index, layer in enumerate(self.layers):
            for name, gain in (("attention_gain", layer.attention_gain), ("mlp_gain", layer.mlp_gain)):
                if gain is not None:
                    tensors[f"layers.{index}.{name}"] = gain
            for name, linear in layer.matrices():
                tensors[f"layers.{index}.{name}.codes"] = pack_codes(linear.codes)
                tensors[f"layers.{index}.{name}.scale"] = torch.tensor([linear.scale], dtype=torch.float32)
        header = {"format": _FORMAT, "config": self.config.to_json(), "grids": self.grids}
        # One metadata key: the library writes several in no fixed order.
        return safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            metadata={"trine": json.dumps(header, sort_keys=True)},
        )

    @classmethod
    def load(cls, data: bytes) -> "QuantisedModel":
        """Inverse of `save`; ValueError where ``data`` is something else or damaged."""
        header = _header(data)
        try:
            config = ModelConfig.from_json(header["config"])
            grids = {site: int(grid) for site, grid in header["grids"].items()}
            tensors = safetensors.torch.load(data)
            shapes = matrix_shapes(config)

            def linear(prefix: str, columns: int) -> Linear:
                codes = unpack_codes(tensors[f"{prefix}.codes"], columns)
                return Linear(codes, float(tensors[f"{prefix}.scale"]))

            layers = tuple(
                QuantisedLayer(
                    tensors.get(f"layers.{i}.attention_gain"),
                    tensors.get(f"layers.{i}.mlp_gain"),
                    *(linear(f"layers.{i}.{name}", shapes[name][1]) for name in MATRICES),
                )
                for i in range(config.layers)
            )
            model = cls(
                config,
                tensors["embedding"],
                layers,
                tensors["final_gain"],
                tensors["head_codes"],
                tensors["head_scales"],
                grids,
            )
        except KeyError as error:
            raise ValueError(
                f"quantised model: wanted an entry {error}, found none; the file is damaged"
            ) from error
        except (SafetensorError, AttributeError, TypeError, RuntimeError, IndexError, OverflowError) as error:
            raise ValueError(
                f"quantised model: wanted the layout of {_FORMAT!r}, found: {error}; the file is damaged"
            ) from error
        return model.check()


def _header(data: bytes) -> dict[str, Any]:
    """The JSON object under the metadata key "trine" of safetensors bytes."""
    try:
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 + size:
            raise ValueError(f"{len(data)} bytes, too few for a header of {size}")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["trine"])
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"quantised model: wanted safetensors with metadata of {_FORMAT!r}, found: {error}; "
            f"write it with QuantisedModel.save of this version"
        ) from error
    return header
