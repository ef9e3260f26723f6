"""Float matrices to integers: int8 and int4 by row, int4 in groups.

All steps are in binary64 and round to nearest even (a group's scale up); results depend on the matrix alone.
A weight becomes ``unit * (scale * code + minimum)``, ``unit`` being the row's scale times 127 (8-bit
activations) or 2048 (12-bit ones), after its rounding to binary32.

Errors, for a row (or group) of absolute maximum A and range D = max - min; by row, binary32's own rounding
of the scale adds 2**-24 of a weight:

====================  ===============================================================================
int8 by row           A / 254
int4 by row           A / 14
int4 in groups        root mean square at most (D / 15 + unit) / 2, where
                      unit = max(largest D / 15 / 4094, largest (|centre| + 0.08 D) / 30718)
====================  ===============================================================================

In groups, a range cut at its ends often serves the other weights better than the whole one (llama.cpp
searches likewise for its Q4_K): of `CUTS` by `CUTS` ranges the one with the least sum of squared errors is
taken, the whole range where none is better. `bench.perplexity` shows what int4 then adds to the
perplexity.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from . import numerics
from .float_model import FloatModel, Layer
from .integer import CODE_RANGE, SCALE_LIMIT, IntegerLinear, activation_one, padded_groups
from .quantised import MATRICES, SITES, QuantisedLayer, QuantisedModel

__all__ = ["Recipe", "quantise_int4", "quantise_int8", "quantise_matrix", "quantise_model"]

#: Parts of a group's range that may be cut off at either end; what lies outside becomes the end.
CUTS = (0.0, 0.04, 0.08, 0.12, 0.16)
#: Steps between the least and the largest 4-bit code.
_STEPS = 15
#: A group's centre lies within this many units, so that its minimum, half a scale away, stays in 16 bits.
_CENTRE_LIMIT = numerics.GROUP_LIMIT - (SCALE_LIMIT + 1) // 2 - 1


@dataclass(frozen=True)
class Recipe:
    """How to quantise a model.

    Parameters
    ----------
    weights: bits of float matrices of the layers, 8 or 4; None: 8. Ternary ones allow only None.
    head: bits of the head, 8 or 4.
    group: weights of 4 bits that share a scale and a minimum; 0: one scale for a row, no minimum.
    activations: bits of the inputs of integer matrices, 8 or 12.
    """

    weights: int | None = None
    head: int = 8
    group: int = 32
    activations: int = 8

    def __post_init__(self) -> None:
        wrong = {
            "weights": self.weights not in (None, 8, 4),
            "head": self.head not in (8, 4),
            "group": self.group < 0,
            "activations": self.activations not in (8, 12),
        }
        for name in (name for name, refused in wrong.items() if refused):
            wanted = {"group": "0 or more", "activations": "8 or 12"}.get(name, "8 or 4")
            raise ValueError(f"recipe: {name}: wanted {wanted}, found {getattr(self, name)}; correct it")

    def sites(self, ternary: bool) -> dict[str, int]:
        """Bits of the activations of each site; 8 in the layers of a ``ternary`` model."""
        layers = 8 if ternary else self.activations
        return dict.fromkeys(SITES, layers) | {"final": self.activations}

    def quantise_head(self, weight: Tensor) -> IntegerLinear:
        """A float head [vocab, dim]."""
        return quantise_matrix(weight, self.head, self.group, self.activations, "head")


def quantise_model(model: FloatModel, recipe: Recipe) -> QuantisedModel:
    """A float model with all matrices quantised; ValueError for numbers that are not finite."""
    config, layers = model.config, []
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        matrices = {
            name: quantise_matrix(
                getattr(layer, name).detach(),
                recipe.weights or 8,
                recipe.group,
                recipe.activations,
                f"layer {index}, {name}",
            )
            for name in MATRICES
        }
        layers.append(
            QuantisedLayer(
                layer.attention_gain.detach() if config.block_gain else None,
                layer.mlp_gain.detach() if config.block_gain else None,
                **matrices,
                o_gain=None if layer.o_gain is None else layer.o_gain.detach(),
                down_gain=None if layer.down_gain is None else layer.down_gain.detach(),
            )
        )
    embedding = model.embedding.detach()
    return QuantisedModel(
        config,
        embedding,
        tuple(layers),
        model.final_gain.detach(),
        recipe.quantise_head(embedding if config.tied_head else model.head.detach()),
        activations=recipe.sites(ternary=False),
    ).check()


def quantise_matrix(
    weight: Tensor, bits: int, group: int, activation_bits: int, name: str = "matrix"
) -> IntegerLinear:
    """`quantise_int8`, which has no groups, or `quantise_int4`."""
    if bits == 8:
        return quantise_int8(weight, activation_bits, name)
    return quantise_int4(weight, group, activation_bits, name)


def quantise_int8(weight: Tensor, activation_bits: int = 8, name: str = "matrix") -> IntegerLinear:
    """A float matrix [out, in] as int8 codes with a scale for each row.

    codes = rne(w * 127 / absmax); row_scale = absmax / 127 / (127 or 2048, which belongs to the activations).
    A row whose absmax is below 2**-100 becomes zero. Raises ValueError, with ``name``, for numbers that are
    not finite.
    """
    return _by_row(weight, 8, activation_bits, name)


def quantise_int4(
    weight: Tensor, group: int = 32, activation_bits: int = 8, name: str = "matrix"
) -> IntegerLinear:
    """A float matrix [out, in] as int4 codes in groups, asymmetric; ``group`` 0: symmetric, by row.

    Per row one unit, large enough that every group's scale fits 12 bits and its minimum 16; per group, whose
    range is min .. max or what is left of it after a cut (see above),
    scale = ceil((max - min) / 15 / unit), minimum = rne((max + min) / 2 / unit + scale / 2) and
    codes = rne((w / unit - minimum) / scale), clipped to -8..7. Rows below 2**-100 and errors raised are as
    with `quantise_int8`.
    """
    if not group:
        return _by_row(weight, 4, activation_bits, name)
    largest = _row_maxima(weight, name)
    rows, columns = weight.shape
    groups, width = padded_groups(columns, group), min(group, columns)
    # the last group repeats its last weight, which changes neither maximum nor minimum
    spread = torch.arange(groups * width).clamp(max=columns - 1)
    blocks = weight.double()[:, spread].reshape(rows, groups, width)
    low, high = blocks.amin(-1), blocks.amax(-1)
    step, centre = (high - low) / _STEPS, (high + low) / 2
    farthest = centre.abs() + CUTS[-1] / 2 * (high - low)  # a cut moves the centre
    unit = torch.maximum(step.amax(-1) / (SCALE_LIMIT - 1), farthest.amax(-1) / _CENTRE_LIMIT)
    one = activation_one(activation_bits)
    row_scale = numerics.flush((unit / one).float()).where(largest >= numerics.MIN_ABSMAX, 0.0)
    unit = (row_scale.double() * one).where(row_scale > 0, torch.inf)[:, None]
    counted = torch.arange(groups * width).reshape(groups, width) < columns
    codes, scales, minima = _search(blocks / unit[..., None], low / unit, high / unit, counted)
    codes = codes.reshape(rows, -1)[:, :columns].to(torch.int8).contiguous()
    return IntegerLinear(codes, 4, row_scale, group, scales.to(torch.int16), minima.to(torch.int16))


def _search(exact: Tensor, low: Tensor, high: Tensor, counted: Tensor) -> tuple[Tensor, ...]:
    """`_fit` on the best range that `CUTS` leave; errors summed where ``counted`` [groups, width]."""
    best = _fit(exact, low, high)
    error = ((_value(*best) - exact).square() * counted).sum(-1)
    for below, above in itertools.product(CUTS, CUTS):
        other = _fit(exact, low + below * (high - low), high - above * (high - low))
        found = ((_value(*other) - exact).square() * counted).sum(-1)
        better = found < error
        error = torch.where(better, found, error)
        best = tuple(
            torch.where(better if new.dim() == 2 else better[..., None], new, old)
            for new, old in zip(other, best, strict=True)
        )
    return best


def _fit(exact: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
    """Codes [rows, groups, width], scales and minima [rows, groups] for weights in units and their range."""
    scales = ((high - low) / _STEPS).ceil()
    minima = ((high + low) / 2 + scales / 2).round()
    codes = (exact - minima[..., None]) / scales.clamp(min=1)[..., None]
    return codes.round().clamp(*CODE_RANGE[4]), scales, minima


def _value(codes: Tensor, scales: Tensor, minima: Tensor) -> Tensor:
    """What codes stand for, in units."""
    return codes * scales[..., None] + minima[..., None]


def _by_row(weight: Tensor, bits: int, activation_bits: int, name: str) -> IntegerLinear:
    """Symmetric codes with a scale for each row."""
    largest, levels = _row_maxima(weight, name), CODE_RANGE[bits][1]
    live = largest >= numerics.MIN_ABSMAX
    codes = torch.round(weight.double() * (levels / largest.where(live, torch.inf))[:, None])
    scales = largest / (levels * activation_one(activation_bits))
    return IntegerLinear(codes.to(torch.int8), bits, numerics.flush(scales.float()).where(live, 0.0))


def _row_maxima(weight: Tensor, name: str) -> Tensor:
    """The absolute maximum of each row, binary64 [out]."""
    if not torch.isfinite(weight).all():
        row = int((~torch.isfinite(weight)).any(-1).nonzero()[0, 0])
        raise ValueError(
            f"{name}: wanted finite numbers, found row {row} with others; the checkpoint is damaged"
        )
    return weight.double().abs().amax(-1)
