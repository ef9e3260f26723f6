"""The quantised model: folded constants, head quantisation, the artefact's member, checks."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import safetensors.torch
import torch

from models.golden import GoldenModel
from models.integer import IntegerLinear
from models.integer_quantise import quantise_int8
from models.quantised import (
    SITES,
    Linear,
    Matrix,
    QuantisedModel,
    norm_constants,
    query_constant,
    site_width,
)
from models.ternary_file import pack_codes
from tests.hw import test_fp32_reference as fp32
from tests.models.test_numerics_reference import constant

from .bit_patterns import bits, floats
from .random_model import INTEGER_MODELS, Form, integer_forms, random_model

FORMS = [
    {},
    {"norm": "l2", "gains": False},
    {"inner_norm": False, "tied": False, "dim": 30, "heads": 3, "kv_heads": 3, "hidden": 41},
    {"inner_gain": True, "activation": "relu2"},
    *INTEGER_MODELS.values(),
]
#: A head of `random_model`'s shape.
HEAD = IntegerLinear(torch.zeros(50, 32, dtype=torch.int8), 8, torch.ones(50))
SCALES = torch.zeros(50, 2, dtype=torch.int16)


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


def same(a: Matrix, b: Matrix) -> bool:
    """Whether all tensors, scales and forms of two matrices are the same."""
    left, right = a.tensors(), b.tensors()
    return (a.form, left.keys()) == (b.form, right.keys()) and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.parametrize("form", FORMS)
def test_save_and_load(form: dict):
    model = random_model(9, **form).with_grids(dict(zip(SITES, range(-50, -45), strict=True)))
    data = model.save()
    again = QuantisedModel.load(data)
    assert again.save() == data == model.save()
    assert (again.config, again.grids) == (model.config, model.grids)
    assert again.activations == model.activations
    assert same(again.head, model.head)
    for a, b in zip(model.layers, again.layers, strict=True):
        for (name, left), (_, right) in zip(a.matrices(), b.matrices(), strict=True):
            assert same(left, right), name
        gains, found = dict(a.gains()), dict(b.gains())
        assert list(gains) == list(found) == [site for site in SITES if site in model.config.gains()]
        assert all(torch.equal(found[site], gain) for site, gain in gains.items())


def format_1(model: QuantisedModel) -> bytes:
    """A model with ternary layers as the first version wrote it."""
    tensors = {"head_codes": model.head.codes, "head_scales": model.head.row_scale}
    tensors |= {"embedding": model.embedding, "final_gain": model.final_gain}
    for index, layer in enumerate(model.layers):
        assert layer.attention_gain is not None and layer.mlp_gain is not None
        tensors[f"layers.{index}.attention_gain"] = layer.attention_gain
        tensors[f"layers.{index}.mlp_gain"] = layer.mlp_gain
        for name, linear in layer.matrices():
            assert isinstance(linear, Linear)
            tensors[f"layers.{index}.{name}.codes"] = pack_codes(linear.codes)
            tensors[f"layers.{index}.{name}.scale"] = torch.tensor([linear.scale])
    config = model.config.to_json()
    del config["inner_gain"], config["activation"]
    header = {"format": "trine-quantised-1", "config": config, "grids": model.grids}
    return safetensors.torch.save(tensors, {"trine": json.dumps(header)})


def test_the_first_format_is_read():
    model = random_model(9).with_grids(dict(zip(SITES, range(-50, -45), strict=True)))
    found = QuantisedModel.load(format_1(model))
    assert found.save() == model.save()
    assert set(found.activations.values()) == {8}
    tokens = [3, 1, 40]
    assert torch.equal(GoldenModel(found).forward(tokens), GoldenModel(model).forward(tokens))


def header_changed(model: QuantisedModel, change: Callable[[dict], None]) -> bytes:
    """The saved model after ``change`` of what its metadata say."""
    data = model.save()
    header = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["trine"])
    change(header)
    return safetensors.torch.save(safetensors.torch.load(data), {"trine": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["integer"].pop("head"),
        lambda header: header["integer"].update(head=None),
        lambda header: header["integer"]["head"].pop("group"),
        lambda header: header["integer"]["o"].update(bits=3),
        lambda header: header["integer"]["o"].update(bits=4),
        lambda header: header["integer"]["o"].update(group=16),
        lambda header: header["integer"].pop("o"),
        lambda header: header["integer"].update(v={"bits": 8, "group": 0, "minima": False}),
        lambda header: header["integer"].update(o=7),
        lambda header: header.pop("activations"),
        lambda header: header.update(activations=[8]),
        lambda header: header["activations"].update(o="many"),
        lambda header: header["activations"].update(attention=12),
        lambda header: header["activations"].pop("final"),
    ],
)
def test_damaged_headers(change: Callable[[dict], None]):
    model = random_model(1, **INTEGER_MODELS["mixed"])
    assert QuantisedModel.load(header_changed(model, lambda _: None)).save() == model.save()
    with pytest.raises(ValueError, match=r"wanted .* found"):
        QuantisedModel.load(header_changed(model, change))


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
        ({"head": replace(HEAD, bits=5)}, "head.bits: wanted 4 or 8, found 5"),
        ({"head": replace(HEAD, bits=4, codes=HEAD.codes + 8)}, "head.codes: wanted codes from -8 to 7.*8"),
        ({"head": replace(HEAD, group=16)}, "head.group: wanted 0 or more, and scales"),
        ({"head": replace(HEAD, scales=SCALES)}, "head.group: wanted 0 or more, and scales"),
        ({"head": replace(HEAD, group=-1)}, "head.group"),
        ({"head": replace(HEAD, minima=SCALES)}, "head.minima: wanted none without groups"),
        ({"head": replace(HEAD, group=16, scales=SCALES[:, 1:])}, r"head.scales.*\[50, 2\].*\[50, 1\]"),
        ({"head": replace(HEAD, group=16, scales=SCALES + 4096)}, "head.scales.*0 to 4095.*4096"),
        ({"head": replace(HEAD, group=16, scales=SCALES - 1)}, "head.scales.*0 to 4095.*-1"),
        (
            {"head": replace(HEAD, group=16, scales=SCALES, minima=SCALES - 32768)},
            "head.minima.*-32767 to 32767.*-32768",
        ),
        ({"activations": dict.fromkeys(SITES, 12)}, "activations of attention: wanted 8 bits, since q is"),
        ({"activations": {}}, "activations: wanted the sites"),
        (
            {"activations": dict.fromkeys(SITES, 8) | {"o": 9}},
            "activations of o: wanted 8 or 12 bits, found 9",
        ),
        ({"activations": dict.fromkeys((*SITES, "p"), 8)}, "activations: wanted the sites"),
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
        ({"o_gain": torch.ones(32)}, "layers.0.o_gain: wanted a gain: False, found True"),
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


def test_check_of_inner_gains():
    model = random_model(inner_gain=True)
    for change, found in (
        ({"down_gain": None}, "down_gain: wanted a gain: True, found False"),
        ({"down_gain": torch.ones(32)}, r"down_gain: wanted torch.float32 \[48\], found .*\[32\]"),
        ({"o_gain": torch.full((32,), math.inf)}, "o_gain: wanted finite numbers"),
    ):
        with pytest.raises(ValueError, match=found):
            replace(model, layers=(model.layers[0], replace(model.layers[1], **change))).check()


def test_layers_of_a_matrix_are_of_one_form():
    one, other = (
        random_model(2, integer=integer_forms(form, "up")).layers for form in (Form(4, 16), Form(4, 32))
    )
    model = random_model(2, integer=integer_forms(Form(4, 16), "up"))
    with pytest.raises(ValueError, match=r"layers.1.up: wanted .*'group': 16.*'group': 32"):
        replace(model, layers=(one[0], other[1])).check()
    with pytest.raises(ValueError, match=r"layers.1.up: wanted .*as in layer 0, found ternary"):
        replace(model, layers=(one[0], random_model(2).layers[1])).check()
    with pytest.raises(ValueError, match=r"layers.1.up: wanted ternary, as in layer 0, found .*'bits': 4"):
        replace(model, layers=(random_model(2).layers[0], one[1])).check()
