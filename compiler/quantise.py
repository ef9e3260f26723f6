"""Calibration: the grid of squares of each norm input, from what the golden model sees on sample text.

Each square is floored to the grid 2^grid and the sum saturates at 2^63. The grid chosen puts the largest sum
seen into (2^49, 2^50]. That leaves a margin of 2^13: inputs may have 90 times the largest root mean square
seen. At the other end, a vector of n elements that is 2^-d times as long as the longest loses less than the
part n 2^(2d - 49) of its sum (n = 1024, d = 12: 2^-15). Where the margin is not enough, the run ends with an
error (`models.golden.SaturationError`), never with a wrong number.
"""

import math
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor
from tqdm import tqdm

from models import numerics
from models.golden import GoldenModel, SaturationError
from models.quantised import EXTREME_GRID, SITES, QuantisedModel

__all__ = ["MARGIN_BITS", "TARGET_BITS", "calibrate_grids", "own_text"]

_T = TypeVar("_T")

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


class _Calibration:
    """Grids that rise until a model runs on them, and the largest sums of squares seen by the way."""

    def __init__(self, model: QuantisedModel) -> None:
        self._model = model
        self.largest = dict.fromkeys(SITES, 0.0)
        self._grids = dict.fromkeys(SITES, numerics.DEFAULT_GRID)

    def _observe(self, site: str, _: int, x: Tensor) -> None:
        found = float(x.double().square().sum(-1).max())
        self.largest[site] = math.inf if math.isnan(found) else max(self.largest[site], found)

    def run(self, use: Callable[[GoldenModel], _T]) -> _T:
        """What `use` makes of the golden model, called anew with a raised grid while a sum saturates."""
        while True:
            try:
                return use(GoldenModel(self._model.with_grids(self._grids), self._observe))
            except SaturationError as error:  # observed before it saturated: go on with a grid that holds it
                grid = grid_for(self.largest[error.site])
                if grid <= self._grids[error.site]:
                    raise
                self._grids[error.site] = grid


def own_text(model: QuantisedModel, prompt: list[int], count: int) -> list[int]:
    """`prompt` and the `count` tokens that the model writes after it, on grids raised as far as they must.

    Raises ValueError where the model diverges.
    """
    return [*prompt, *_Calibration(model).run(lambda golden: [t for t, _ in golden.generate(prompt, count)])]


def calibrate_grids(model: QuantisedModel, tokens: list[int], progress: bool = False) -> QuantisedModel:
    """The model with each site's grid chosen on ``tokens`` (cut into windows of its context).

    Without tokens the grids become the default, 2**-44. Raises ValueError where the model diverges.
    """
    calibration = _Calibration(model)
    context = model.config.context
    windows = [tokens[at : at + context] for at in range(0, len(tokens), context)]
    for window in tqdm(windows, desc="calibrate grids", unit="window", disable=not progress):
        calibration.run(lambda golden, window=window: golden.forward(window))
    return model.with_grids({site: grid_for(value) for site, value in calibration.largest.items()})
