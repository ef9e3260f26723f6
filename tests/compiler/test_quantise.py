"""Calibration of the grids of squares."""

import math

import pytest
import torch

from compiler.quantise import MARGIN_BITS, TARGET_BITS, calibrate_grids, grid_for
from models import numerics
from models.golden import GoldenModel
from models.integer_quantise import quantise_int8
from models.quantised import EXTREME_GRID, SITES, QuantisedModel
from tests.models.random_model import random_model


@pytest.mark.parametrize(
    ("largest", "grid"),
    [
        (2.0**50, 0),
        (2.0**50 + 1, 1),
        (2.0**49 + 1, 0),
        (2.0**49, -1),
        (1.0, -50),
        (0.0, -44),
        (1e-60, -EXTREME_GRID),
    ],
)
def test_grid(largest: float, grid: int):
    assert grid_for(largest) == grid
    assert TARGET_BITS + MARGIN_BITS == 63


@pytest.mark.parametrize("largest", [math.inf, math.nan, 2.0**151])
def test_no_grid_for_a_model_that_diverges(largest: float):
    with pytest.raises(ValueError, match="diverges"):
        grid_for(largest)


def largest_sums(model: QuantisedModel, tokens: list[int]) -> dict[str, int]:
    """Largest sum of squares at each site, on the model's own grids."""
    found = dict.fromkeys(SITES, 0)

    def observe(site: str, _: int, x: torch.Tensor) -> None:
        found[site] = max(found[site], int(numerics.square_sum(x, model.grids[site])[0].max()))

    GoldenModel(model, observe).forward(tokens)
    return found


@pytest.mark.parametrize("size", [1.0, 1e-6, 3e12], ids=["moderate", "small", "beyond the default grid"])
def test_calibrated_sums_are_at_the_target(size: float):
    model = random_model(5)
    embedding = model.embedding * size
    head = quantise_int8(embedding)
    model = QuantisedModel(model.config, embedding, model.layers, model.final_gain, head)
    tokens = list(range(20))
    calibrated = calibrate_grids(model, tokens)
    for site, largest in largest_sums(calibrated, tokens).items():
        assert 2.0 ** (TARGET_BITS - 1) - 64 <= largest <= 2**TARGET_BITS, site


def test_without_tokens_the_default():
    model = random_model().with_grids(dict.fromkeys(SITES, 3))
    assert set(calibrate_grids(model, []).grids.values()) == {numerics.DEFAULT_GRID}


def test_more_tokens_than_the_context():
    model = random_model()
    tokens = [i % 50 for i in range(70)]
    parts = [calibrate_grids(model, tokens[at : at + 32]).grids for at in (0, 32, 64)]
    assert calibrate_grids(model, tokens).grids == {site: max(part[site] for part in parts) for site in SITES}
