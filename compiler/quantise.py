"""Calibration: the grid of squares of each norm input, from what the golden model sees on sample text.

Each square is floored to the grid 2^grid and the sum saturates at 2^63. The grid chosen puts the largest sum
seen into (2^49, 2^50]. That leaves a margin of 2^13: inputs may have 90 times the largest root mean square
seen. At the other end, a vector of n elements that is 2^-d times as long as the longest loses less than the
part n 2^(2d - 49) of its sum (n = 1024, d = 12: 2^-15). Where the margin is not enough, the run ends with an
error (`models.golden.SaturationError`), never with a wrong number.
"""

import math

from torch import Tensor
from tqdm import tqdm

from models import numerics
from models.golden import GoldenModel, SaturationError
from models.quantised import EXTREME_GRID, SITES, QuantisedModel

__all__ = ["MARGIN_BITS", "TARGET_BITS", "calibrate_grids"]

#: The largest observed sum of squares becomes at most 2**TARGET_BITS.
TARGET_BITS = 50
#: What is left to the saturation of the 64-bit sum.
MARGIN_BITS = 63 - TARGET_BITS


def grid_for(largest: float) -> int:
    """The least grid exponent that puts a sum of squares ``largest`` at or below 2**TARGET_BITS."""
    if not math.isfinite(largest):
        raise ValueError(
            f"grid of squares: wanted a finite sum of squares, found {largest}; the model diverges "
            f"on the calibration text"
        )
    if largest <= 0:
        return numerics.DEFAULT_GRID
    mantissa, exponent = math.frexp(largest)
    grid = exponent - (mantissa == 0.5) - TARGET_BITS
    if grid > EXTREME_GRID:
        raise ValueError(
            f"grid of squares: wanted an exponent of at most {EXTREME_GRID}, found {grid} for a sum of "
            f"squares of {largest:.3g}; the model diverges on the calibration text"
        )
    return max(-EXTREME_GRID, grid)


def calibrate_grids(model: QuantisedModel, tokens: list[int], progress: bool = False) -> QuantisedModel:
    """The model with each site's grid chosen on ``tokens`` (cut into windows of its context).

    Without tokens the grids become the default, 2**-44. Raises ValueError where the model diverges.
    """
    grids = dict.fromkeys(SITES, numerics.DEFAULT_GRID)
    if not tokens:
        return model.with_grids(grids)
    largest = dict.fromkeys(SITES, 0.0)

    def observe(site: str, _: int, x: Tensor) -> None:
        largest[site] = max(largest[site], float(x.double().square().sum(-1).max()))

    context = model.config.context
    windows = [tokens[at : at + context] for at in range(0, len(tokens), context)]
    for window in tqdm(windows, desc="calibrate grids", unit="window", disable=not progress):
        while True:
            try:
                GoldenModel(model.with_grids(grids), observe).forward(window)
                break
            except SaturationError as error:  # observed before it saturated: go on with a grid that holds it
                grids[error.site] = grid_for(largest[error.site])
    return model.with_grids({site: grid_for(value) for site, value in largest.items()})
