"""Integer quantisers: error bounds, ranges, edges; whole models by recipe."""

from dataclasses import replace

import pytest
import torch

from models import numerics
from models.config import MATRICES
from models.float_model import FloatModel
from models.float_reference import float_reference
from models.golden import GoldenModel
from models.integer import CODE_RANGE, SCALE_LIMIT, IntegerLinear
from models.integer_quantise import (
    Recipe,
    quantise_int4,
    quantise_int8,
    quantise_matrix,
    quantise_model,
)
from models.quantised import SITES, QuantisedModel

from .random_model import random_model

#: Rows of every kind: wide, off centre, far off centre with a small range, constant, tiny, one outlier, huge.
KINDS = torch.tensor(
    [[1.0, 0.0], [1.0, 5.0], [1e-4, 7.0], [0.0, -3.0], [2.0**-98, 0.0], [0.1, 0.0], [1e36, 1e37]]
)


def rows(columns: int = 75, seed: int = 0) -> torch.Tensor:
    x = torch.randn(len(KINDS), columns, generator=torch.Generator().manual_seed(seed))
    x = x * KINDS[:, :1] + KINDS[:, 1:]
    x[5, -1] = 40.0
    return x


def in_range(one: IntegerLinear) -> None:
    """All numbers where `models.quantised` wants them."""
    least, most = CODE_RANGE[one.bits]
    assert least <= int(one.codes.min()) and int(one.codes.max()) <= most
    assert torch.equal(one.row_scale, numerics.flush(one.row_scale))
    if one.scales is not None and one.minima is not None:
        assert int(one.scales.min()) >= 0 and int(one.scales.max()) <= SCALE_LIMIT
        assert int(one.minima.to(torch.int32).abs().max()) <= numerics.GROUP_LIMIT


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
def test_by_row(bits: int, levels: int, width: int):
    x = rows()
    one = quantise_matrix(x, bits, 0, width)
    in_range(one)
    assert one.form == {"bits": bits, "group": 0, "minima": False}
    largest = x.double().abs().amax(-1, keepdim=True)
    error = (one.dequantised(width).double() - x.double()).abs()
    assert bool((error <= largest * (0.5 / levels + 2.0**-22)).all())
    assert one.codes.to(torch.int16).abs().amax(-1).tolist() == [levels] * len(x)


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("group", [16, 32, 75, 200])
@pytest.mark.parametrize("columns", [75, 64, 3])
def test_in_groups(group: int, columns: int, width: int):
    x = rows(columns)
    one = quantise_int4(x, group, width)
    in_range(one)
    assert one.form == {"bits": 4, "group": group, "minima": True}
    unit = one.row_scale.double() * (127 if width == 8 else 2048)
    for first in range(0, columns, group):
        part = x[:, first : first + group].double()
        spread = part.amax(-1) - part.amin(-1)
        found = (one.integers()[:, first : first + group] * unit[:, None]).double()
        error = (found - part).square().mean(-1).sqrt()
        assert bool((error <= (spread / 15 + unit) / 2 * (1 + 1e-9)).all())


def test_no_larger_a_unit_than_the_ranges_need():
    """The widest group of a row at rest uses almost all of its scale's 12 bits."""
    one = quantise_int4(torch.randn(50, 64, generator=torch.Generator().manual_seed(1)))
    assert one.scales is not None
    assert int(one.scales.amax(-1).min()) > 0.6 * SCALE_LIMIT


def test_cut_ranges_serve_better():
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    whole = (x.reshape(64, 2, 32) - x.reshape(64, 2, 32).amin(-1, keepdim=True)).double()
    step = whole.amax(-1, keepdim=True) / 15
    naive = ((whole / step).round() * step - whole).square().mean().sqrt()
    found = (quantise_int4(x).dequantised() - x).double().square().mean().sqrt()
    assert float(found / naive) < 0.95


def test_a_narrow_group_beside_a_wide_one():
    """Its step is little more than a unit: a scale rounded down would clip both ends."""
    x = torch.zeros(1, 64)
    x[0, :2] = torch.tensor([-30705.0, 30705.0])  # a unit of 1, about
    x[0, 32::2], x[0, 33::2] = 10.9, -10.9
    error = (quantise_int4(x, 32, 12).dequantised(12) - x)[0, 32:].abs()
    assert float(error.max()) <= (21.8 / 15 + 1) / 2 + 1e-3


def test_minima_fit_where_a_cut_moves_the_centre():
    """From 0 to its largest weight, a single weight at 0: a cut there serves the others."""
    x = torch.rand(1, 200, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.2
    x[0, 0], x[0, 1] = 0.0, 1.0
    one = quantise_int4(x, 200)
    in_range(one)
    assert float(one.dequantised()[0, 0]) > 0.03, "nothing was cut"
    assert float((one.dequantised() - x)[0, 1:].abs().max()) < 0.04


def test_fillers_of_the_last_group_count_nothing():
    """32 weights behind a group of 32, or of 40 with the same range: the same integers."""
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(6))
    x[:, :2] = torch.tensor([-6.0, 6.0])  # the unit is the first group's
    other = torch.cat((x[:, :32], x[:, :8], x[:, 32:]), -1)
    one, two = quantise_int4(x, 32), quantise_int4(other, 40)
    assert torch.equal(one.row_scale, two.row_scale)
    assert torch.equal(one.integers()[:, 32:], two.integers()[:, 40:])


def test_what_integers_hold_is_exact():
    """A matrix on the grid of one unit comes back bit for bit: every step between the ends is a code."""
    codes = torch.tensor([[*range(-8, 8)] * 2], dtype=torch.float32)
    x = torch.cat((codes * 4094 + 4094 / 2, codes * 4094 + 4094 / 2), -1) * 2.0**-20
    assert torch.equal(quantise_int4(x, 32, 12).dequantised(12), x)


def test_the_last_group_is_what_remains():
    x = rows(70)
    one, alone = quantise_int4(x, 32), quantise_int4(x[:, 64:], 32)
    assert one.scales is not None
    assert one.scales.shape == (len(x), 3)
    assert one.codes.shape == x.shape
    gap = (one.dequantised()[:, 64:] - x[:, 64:]).abs() - (alone.dequantised() - x[:, 64:]).abs()
    assert bool((gap <= x.abs().amax(-1, keepdim=True) * 0.05).all())


@pytest.mark.parametrize("make", [quantise_int8, quantise_int4, lambda x: quantise_int4(x, 0)])
def test_dead_rows_are_zero(make):
    x = torch.stack((torch.zeros(40), torch.full((40,), 2.0**-101), torch.ones(40)))
    one = make(x)
    in_range(one)
    assert one.row_scale[:2].tolist() == [0.0, 0.0]
    assert not bool(one.integers()[:2].any())
    assert torch.allclose(one.dequantised()[2], x[2], rtol=1e-4)


@pytest.mark.parametrize("make", [quantise_int8, quantise_int4])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_refuses_what_is_not_finite(make, number: float):
    x = rows()
    x[4, 2] = number
    with pytest.raises(ValueError, match=r"layer 3, q: wanted finite numbers, found row 4"):
        make(x, name="layer 3, q")


# --- models -----------------------------------------------------------------------------------------------


def float_model(tied: bool = True, hidden: int = 44) -> FloatModel:
    config = replace(random_model().config, inner_norm=False, tied_head=tied, hidden=hidden, block_gain=True)
    torch.manual_seed(6)
    return FloatModel(config, "fixed", None).eval()


RECIPES = [Recipe(), Recipe(8, 4, 16, 12), Recipe(4, 8, 32, 12), Recipe(4, 4, 16, 8), Recipe(4, 4, 0, 12)]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_models(recipe: Recipe, tied: bool):
    model = float_model(tied)
    found = quantise_model(model, recipe)
    forms = {name: found.form(name) for name in (*MATRICES, "head")}
    assert {form["bits"] for name, form in forms.items() if name != "head" and form} == {recipe.weights or 8}
    head = found.form("head")
    assert head and head["bits"] == recipe.head
    assert head["group"] == (recipe.group if recipe.head == 4 else 0)
    assert found.activations == dict.fromkeys(SITES, recipe.activations)
    again = QuantisedModel.load(found.save())
    tokens = [1, 7, 20, 3]
    logits = GoldenModel(found).forward(tokens)
    assert torch.equal(GoldenModel(again).forward(tokens), logits)
    for reference, limit in ((float_reference(found), 0.03 if not tied else 0.2), (model, 0.5)):
        wanted = reference(torch.tensor([tokens]))[0].detach()
        error = (logits - wanted).square().mean().sqrt() / wanted.std()
        assert error < (limit if 4 in (recipe.weights, recipe.head) else 0.05)


def test_ternary_models_keep_eight_bits_in_their_layers():
    assert Recipe(activations=12).sites(ternary=True) == dict.fromkeys(SITES, 8) | {"final": 12}
    assert Recipe(activations=12).sites(ternary=False) == dict.fromkeys(SITES, 12)


def test_a_damaged_matrix_is_named():
    model = float_model()
    with torch.no_grad():
        model.layers[1].up[2, 2] = torch.nan  # type: ignore[index]
    with pytest.raises(ValueError, match="layer 1, up: wanted finite numbers, found row 2"):
        quantise_model(model, Recipe())


@pytest.mark.parametrize("wrong", [{"weights": 2}, {"head": 16}, {"group": -1}, {"activations": 10}])
def test_recipes_that_are_none(wrong: dict):
    with pytest.raises(ValueError, match=f"recipe: {next(iter(wrong))}: wanted"):
        Recipe(**wrong)
