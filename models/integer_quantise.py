"""Float matrices to integers: int8 by row.

All steps are in binary64 and round to nearest even; the results depend on the matrix alone.
"""

import torch
from torch import Tensor

from . import numerics
from .integer import IntegerLinear, activation_one

__all__ = ["quantise_int8"]


def quantise_int8(weight: Tensor, activation_bits: int = 8, name: str = "head") -> IntegerLinear:
    """A float matrix [out, in] as int8 codes with a scale for each row.

    codes = rne(w * 127 / absmax) in binary64; row_scale = absmax / 127 / (127 or 2048, which belongs to the
    activations). A row whose absmax is below 2**-100 becomes zero. Error: half of absmax / 127.
    Raises ValueError for numbers that are not finite, with ``name``.
    """
    largest = _row_maxima(weight, name)
    live = largest >= numerics.MIN_ABSMAX
    codes = torch.round(weight.double() * (numerics.INT8_LEVELS / largest.where(live, torch.inf))[:, None])
    scales = largest / (numerics.INT8_LEVELS * activation_one(activation_bits))
    return IntegerLinear(codes.to(torch.int8), 8, numerics.flush(scales.float()).where(live, 0.0))


def _row_maxima(weight: Tensor, name: str) -> Tensor:
    """The absolute maximum of each row, binary64 [out]."""
    if not torch.isfinite(weight).all():
        row = int((~torch.isfinite(weight)).any(-1).nonzero()[0, 0])
        raise ValueError(
            f"{name}: wanted finite numbers, found row {row} with others; the checkpoint is damaged"
        )
    return weight.double().abs().amax(-1)
