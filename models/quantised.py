"""The quantised model before layout: what front ends make, the golden model computes and the compiler lowers.

A matrix is ternary, with codes and scale as the checkpoint has them, or of integers (`models.integer`); the
head is of integers. The constants that the machine multiplies by (``docs/architecture.md``) are folded here,
once.
"""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from . import numerics
from .config import MATRICES, SITE_MATRICES, SITES, ModelConfig, matrix_shapes, site_width
from .integer import CODE_RANGE, SCALE_LIMIT, IntegerLinear, padded_groups
from .layer import Linear, Matrix, QuantisedLayer
from .ternary_file import unpack_codes

__all__ = [
    "EXTREME_GRID",
    "MATRICES",
    "SITES",
    "SITE_MATRICES",
    "IntegerLinear",
    "Linear",
    "Matrix",
    "QuantisedLayer",
    "QuantisedModel",
    "matrix_shapes",
    "norm_constants",
    "query_constant",
    "site_width",
]

#: Grid exponents lie within +-EXTREME_GRID, so that 2**grid * n and 2**grid / n are normal binary32 numbers.
EXTREME_GRID = 100

_FORMAT = "trine-quantised-2"
#: The format before: ternary matrices, an int8 head without groups.
_FORMAT_1 = "trine-quantised-1"


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


# --- structure --------------------------------------------------------------------------------------------


def _default_grids() -> dict[str, int]:
    return dict.fromkeys(SITES, numerics.DEFAULT_GRID)


def _default_activations() -> dict[str, int]:
    return dict.fromkeys(SITES, 8)


@dataclass(frozen=True, eq=False)
class QuantisedModel:
    """A whole model.

    Parameters
    ----------
    config: shape and semantics.
    embedding: binary32 [vocab, dim].
    layers: one `QuantisedLayer` each.
    final_gain: binary32 [dim].
    head: [vocab, dim].
    grids: exponent of the grid of squares for each of `SITES`, common to all layers (the program is a loop).
    activations: bits of the quantised input of each of `SITES`: 8, or 12 (mantissas on a shared exponent)
        where all matrices of the site are of integers.

    All layers of a matrix are of one kind, and of one `IntegerLinear.form`.
    """

    config: ModelConfig
    embedding: Tensor
    layers: tuple[QuantisedLayer, ...]
    final_gain: Tensor
    head: IntegerLinear
    grids: dict[str, int] = field(default_factory=_default_grids)
    activations: dict[str, int] = field(default_factory=_default_activations)

    def with_grids(self, grids: dict[str, int]) -> "QuantisedModel":
        """The same model with other grids."""
        return replace(self, grids=dict(grids))

    def check(self) -> "QuantisedModel":
        """Return the model itself, or raise ValueError: the tensor, what was wanted, what was found."""
        c = self.config
        self._tensor("embedding", self.embedding, torch.float32, (c.vocab, c.dim))
        self._tensor("final_gain", self.final_gain, torch.float32, (c.dim,))
        self._integer("head", self.head, (c.vocab, c.dim))
        if len(self.layers) != c.layers:
            raise self._wrong("layers", c.layers, len(self.layers))
        for index, layer in enumerate(self.layers):
            for site in SITES[:-1]:
                name, gain, wanted = f"layers.{index}.{site}_gain", layer.gain(site), site in c.gains()
                if (gain is not None) != wanted:
                    raise self._wrong(name, f"a gain: {wanted}", gain is not None)
                if gain is not None:
                    self._tensor(name, gain, torch.float32, (c.gains()[site],))
            for name, shape in matrix_shapes(c).items():
                self._matrix(index, name, shape)
        for what, values in (("grids", self.grids), ("activations", self.activations)):
            if set(values) != set(SITES):
                raise self._wrong(what, f"the sites {sorted(SITES)}", sorted(values))
        for site, names in SITE_MATRICES.items():
            bits = self.activations[site]
            if type(bits) is not int or bits not in (8, 12):
                raise self._wrong(f"activations of {site}", "8 or 12 bits", bits)
            ternary = [name for name in names if name != "head" and self.form(name) is None]
            if bits == 12 and ternary:
                raise self._wrong(f"activations of {site}", f"8 bits, since {ternary[0]} is ternary", bits)
        for site, grid in self.grids.items():
            if not isinstance(grid, int) or abs(grid) > EXTREME_GRID:
                raise self._wrong(f"grid of {site}", f"an exponent within +-{EXTREME_GRID}", grid)
        return self

    def form(self, name: str) -> dict[str, Any] | None:
        """`IntegerLinear.form` of "head" or of a matrix, the same in all layers; None where ternary."""
        return self.head.form if name == "head" else getattr(self.layers[0], name).form

    def _matrix(self, layer: int, name: str, shape: tuple[int, int]) -> None:
        path, matrix = f"layers.{layer}.{name}", getattr(self.layers[layer], name)
        if matrix.form != self.form(name):
            raise self._wrong(
                path, f"{self.form(name) or 'ternary'}, as in layer 0", matrix.form or "ternary"
            )
        if isinstance(matrix, IntegerLinear):
            return self._integer(path, matrix, shape)
        self._tensor(f"{path}.codes", matrix.codes, torch.int8, shape, (-1, 1))
        constant = float(matrix.constant)
        if not math.isfinite(constant) or (constant == 0.0 != matrix.scale):
            wanted = "a number whose 1/127 is finite and not subnormal"
            raise self._wrong(f"{path}.scale", wanted, matrix.scale)
        return None

    def _integer(self, path: str, matrix: IntegerLinear, shape: tuple[int, int]) -> None:
        if matrix.bits not in CODE_RANGE:
            raise self._wrong(f"{path}.bits", "4 or 8", matrix.bits)
        self._tensor(f"{path}.codes", matrix.codes, torch.int8, shape, CODE_RANGE[matrix.bits])
        self._tensor(f"{path}.row_scale", matrix.row_scale, torch.float32, shape[:1])
        if matrix.group < 0 or (matrix.group > 0) != (matrix.scales is not None):
            raise self._wrong(f"{path}.group", "0 or more, and scales where it is more", matrix.group)
        limit = numerics.GROUP_LIMIT
        for name, values, allowed in (
            ("scales", matrix.scales, (0, SCALE_LIMIT)),
            ("minima", matrix.minima, (-limit, limit)),
        ):
            if values is not None:
                if not matrix.group:
                    raise self._wrong(f"{path}.{name}", "none without groups", "some")
                groups = shape[0], padded_groups(shape[1], matrix.group)
                self._tensor(f"{path}.{name}", values, torch.int16, groups, allowed)

    def _tensor(
        self,
        name: str,
        tensor: Tensor,
        dtype: torch.dtype,
        shape: tuple[int, ...],
        allowed: tuple[int, int] | None = None,
    ) -> None:
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise self._wrong(name, f"{dtype} {list(shape)}", f"{tensor.dtype} {list(tensor.shape)}")
        if allowed is None:
            if not torch.isfinite(tensor).all():
                raise self._wrong(name, "finite numbers", "infinities or NaN")
            return
        least, most = int(tensor.min()), int(tensor.max())
        if least < allowed[0] or most > allowed[1]:
            raise self._wrong(name, f"codes from {allowed[0]} to {allowed[1]}", f"{least} to {most}")

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
            **{f"head.{name}": tensor for name, tensor in self.head.tensors().items()},
        }
        for index, layer in enumerate(self.layers):
            tensors |= {f"layers.{index}.{site}_gain": gain for site, gain in layer.gains()}
            for name, matrix in layer.matrices():
                tensors |= {f"layers.{index}.{name}.{key}": value for key, value in matrix.tensors().items()}
        header = {
            "format": _FORMAT,
            "config": self.config.to_json(),
            "grids": self.grids,
            "activations": self.activations,
            "integer": {name: self.form(name) for name in (*MATRICES, "head") if self.form(name)},
        }
        # One metadata key: the library writes several in no fixed order.
        return safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            metadata={"trine": json.dumps(header, sort_keys=True)},
        )

    @classmethod
    def load(cls, data: bytes) -> "QuantisedModel":
        """Inverse of `save`; ValueError where ``data`` is something else or damaged.

        What `models.seeded` saved becomes a model of that kind again.
        """
        from .seeded import SEEDED_PREFIX, SeededModel  # which is built on this module

        if data.startswith(SEEDED_PREFIX):
            return SeededModel.load(data)
        header = _header(data)
        try:
            config = ModelConfig.from_json(header["config"])
            grids = {**header["grids"]}
            tensors = safetensors.torch.load(data)
            shapes = matrix_shapes(config)

            def matrix(prefix: str, form: dict[str, Any] | None, columns: int) -> Matrix:
                if form:
                    return IntegerLinear.load(lambda name: tensors[f"{prefix}.{name}"], form, columns)
                codes = unpack_codes(tensors[f"{prefix}.codes"], columns)
                return Linear(codes, float(tensors[f"{prefix}.scale"]))

            if header["format"] == _FORMAT_1:
                forms, activations = {}, _default_activations()
                head = IntegerLinear(tensors["head_codes"], 8, tensors["head_scales"])
            else:
                forms = header["integer"]
                activations = {**header["activations"]}
                head = matrix("head", forms["head"], config.dim)
                if not isinstance(head, IntegerLinear):
                    raise TypeError("a ternary head")
            layers = tuple(
                QuantisedLayer(
                    tensors.get(f"layers.{i}.attention_gain"),
                    tensors.get(f"layers.{i}.mlp_gain"),
                    *(matrix(f"layers.{i}.{name}", forms.get(name), shapes[name][1]) for name in MATRICES),
                    o_gain=tensors.get(f"layers.{i}.o_gain"),
                    down_gain=tensors.get(f"layers.{i}.down_gain"),
                )
                for i in range(config.layers)
            )
            model = cls(
                config,
                tensors["embedding"],
                layers,
                tensors["final_gain"],
                head,
                grids,
                activations,
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
        if header["format"] not in (_FORMAT, _FORMAT_1):
            raise ValueError(f"format {header['format']!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"quantised model: wanted safetensors with metadata of {_FORMAT!r}, found: {error}; "
            f"write it with QuantisedModel.save of this version"
        ) from error
    return header
