"""The quantised model: folded constants, head quantisation, the artefact's member, checks."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from models.integer import IntegerLinear
from models.integer_quantise import quantise_int8
from models.quantised import (
    SITES,
    Linear,
    QuantisedModel,
    norm_constants,
    query_constant,
    site_width,
)
from tests.hw import test_fp32_reference as fp32
from tests.models.test_numerics_reference import constant

from .bit_patterns import bits, floats
from .random_model import random_model

FORMS = [
    {},
    {"norm": "l2", "gains": False},
    {"inner_norm": False, "tied": False, "dim": 30, "heads": 3, "kv_heads": 3, "hidden": 41},
]
#: A head of `random_model`'s shape.
HEAD = IntegerLinear(torch.zeros(50, 32, dtype=torch.int8), 8, torch.ones(50))


def test_constants():
    model = random_model()
    linear = Linear(torch.zeros(1, 1, dtype=torch.int8), 0.75)
    assert bits(linear.constant) == [constant(Fraction(3, 4 * 127))]
    assert bits(query_constant(16)) == [constant(math.log2(math.e) / (4 * 32767 * 127))]
    c, eps = norm_constants(model.config, 48, -44)
    assert bits(c) + bits(eps) == [constant(Fraction(1, 48 * 2**44)), constant(1e-5)]
    other = replace(model.config, norm="l2", final_eps=1e-3)
    c, eps = norm_constants(other, 48, -44)
    assert bits(c) + bits(eps) == [constant(Fraction(48, 2**44)), constant(1e-24)]
    c, eps = norm_constants(other, 48, 3, final=True)
    assert bits(c) + bits(eps) == [constant(Fraction(1, 6)), constant(1e-3)]
    assert [site_width(model.config, site) for site in SITES] == [32, 32, 32, 48, 32]


def test_head():
    rows = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    rows[3], rows[4], rows[5, 0] = 0.0, 2.0**-110, -7.0
    head = quantise_int8(rows)
    for row, found, scale in zip(rows, head.codes.tolist(), bits(head.row_scale), strict=True):
        exact = [fp32.value(x) for x in bits(row)]
        largest = max(map(abs, exact))
        if largest < Fraction(1, 2**100):
            assert (found, scale) == ([0] * 24, 0)
            continue
        assert scale == constant(largest / 127**2)
        assert found == [round(x * 127 / largest) for x in exact]


def test_head_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="row 1"):
        quantise_int8(torch.stack((torch.ones(4), floats([0x7F800000] * 4))))


@pytest.mark.parametrize("form", FORMS)
def test_save_and_load(form: dict):
    model = random_model(9, **form).with_grids(dict(zip(SITES, range(-50, -45), strict=True)))
    data = model.save()
    again = QuantisedModel.load(data)
    assert again.save() == data == model.save()
    assert (again.config, again.grids) == (model.config, model.grids)
    assert torch.equal(again.head.codes, model.head.codes)
    for a, b in zip(model.layers, again.layers, strict=True):
        for (name, left), (_, right) in zip(a.matrices(), b.matrices(), strict=True):
            assert torch.equal(left.codes, right.codes), name
            assert left.scale == right.scale
        assert a.mlp_gain is b.mlp_gain is None or torch.equal(a.mlp_gain, b.mlp_gain)


def test_damaged_bytes_are_refused_or_read_as_a_model():
    data = random_model(layers=1).save()
    header = 8 + int.from_bytes(data[:8], "little")
    for cut in (0, 5, 8, header - 1, header, len(data) - 1):
        with pytest.raises(ValueError, match="wanted"):
            QuantisedModel.load(data[:cut])
    for at in range(0, header, 3):
        try:
            QuantisedModel.load(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        except ValueError as error:
            assert "wanted" in str(error)  # noqa: PT017 - any other error would escape


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"embedding": torch.zeros(2, 2)}, "embedding"),
        ({"final_gain": torch.full((32,), torch.nan)}, "final_gain"),
        ({"head": replace(HEAD, codes=torch.full((50, 32), -128, dtype=torch.int8))}, "head.codes.*127.*128"),
        ({"head": replace(HEAD, row_scale=torch.zeros(50, dtype=torch.float64))}, "head.row_scale.*float64"),
        ({"layers": ()}, "layers: wanted 2, found 0"),
        ({"grids": {"o": 1}}, "grids"),
        ({"grids": dict.fromkeys(SITES, 101)}, "grid of attention"),
    ],
)
def test_check(change: dict, found: str):
    with pytest.raises(ValueError, match=found):
        replace(random_model(), **change).check()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"mlp_gain": None}, "layers.0.mlp_gain"),
        (
            {"q": Linear(torch.full((32, 32), 2, dtype=torch.int8), 1.0)},
            r"layers.0.q.codes: wanted codes from -1 to 1",
        ),
        (
            {"k": Linear(torch.zeros(16, 31, dtype=torch.int8), 1.0)},
            r"layers.0.k.codes.*\[16, 32\].*\[16, 31\]",
        ),
        ({"o": Linear(torch.zeros(32, 32, dtype=torch.int8), math.inf)}, r"layers.0.o.scale"),
        ({"o": Linear(torch.zeros(32, 32, dtype=torch.int8), 2.0**-125)}, r"layers.0.o.scale"),
    ],
)
def test_check_of_layers(change: dict, found: str):
    model = random_model()
    layers = (replace(model.layers[0], **change), *model.layers[1:])
    with pytest.raises(ValueError, match=found):
        replace(model, layers=layers).check()
