"""Integer matrices: what they stand for, their largest sum, their form in a file."""

import pytest
import torch

from models import numerics
from models.golden import GoldenModel
from models.integer import CODE_RANGE, IntegerLinear, activation_levels, activation_one
from tests.hw import test_fp32_reference as fp32

from .bit_patterns import bits
from .random_model import Form, random_integer

FORMS = [Form(8), Form(4), Form(4, 16), Form(4, 16, True), Form(8, 32, True), Form(8, 64)]
SHAPE = (5, 45)


def matrix(form: Form, seed: int = 1) -> IntegerLinear:
    return random_integer(torch.Generator().manual_seed(seed), SHAPE, form, 0.01)


def integer_weights(one: IntegerLinear) -> list[list[int]]:
    """scale * code + minimum, element by element."""
    rows = []
    for r, codes in enumerate(one.codes.tolist()):
        groups = [i // one.group if one.group else 0 for i in range(len(codes))]
        scale = one.scales[r].tolist() if one.scales is not None else [1]
        minimum = one.minima[r].tolist() if one.minima is not None else [0] * len(scale)
        rows.append([scale[g] * code + minimum[g] for g, code in zip(groups, codes, strict=True)])
    return rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [8, 12])
def test_what_it_stands_for(form: Form, width: int):
    one = matrix(form)
    weights = integer_weights(one)
    assert one.integers().tolist() == weights
    for scale, row, found in zip(bits(one.row_scale), weights, one.dequantised(width), strict=True):
        unit = fp32.value(scale) * activation_one(width)
        assert bits(found) == [fp32.encode(unit * w, fp32.SIGN if w < 0 else 0) for w in row]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [8, 12])
def test_the_largest_sum_is_reached_and_not_passed(form: Form, width: int):
    one, levels = matrix(form), activation_levels(width)
    largest = one.largest_sum(width)
    worst = torch.where(one.integers() < 0, -levels, levels)  # each row's worst activations
    sums = numerics.grouped_linear(worst, one.codes, one.group, one.scales, one.minima)
    assert int(sums.diagonal().max()) == largest
    assert int(sums.abs().max()) == largest


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [8, 12])
def test_the_golden_linear(form: Form, width: int):
    """Against integers and exact fractions: fl(fl(fl(acc) * scale) * row_scale)."""
    one, levels = matrix(form, 2), activation_levels(width)
    q = torch.randint(-levels, levels + 1, (3, SHAPE[1]), generator=torch.Generator().manual_seed(3))
    scale = torch.tensor([0.75, 3.3e-5, 0.0])
    found = GoldenModel._linear(q, scale, one)
    for t in range(3):
        for r, weights in enumerate(integer_weights(one)):
            acc = sum(a * w for a, w in zip(q[t].tolist(), weights, strict=True))
            y = fp32.multiply(fp32.from_int(acc), bits(scale[t])[0])
            assert bits(found[t, r]) == [fp32.multiply(y, bits(one.row_scale[r])[0])]


def test_it_is_close_to_the_float_product():
    one = matrix(Form(4, 16, True))
    x = torch.randn(2, SHAPE[1], generator=torch.Generator().manual_seed(4))
    maximum = numerics.absmax(x)
    found = GoldenModel._linear(numerics.quantise_mantissa(x, maximum), numerics.live_exponent(maximum), one)
    assert torch.allclose(found, x @ one.dequantised(12).T, atol=0.01 * float(found.std()))


# --- in a file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_file_form(form: Form):
    one = matrix(form)
    tensors = one.tensors()
    assert tensors["codes"].shape[1] == (45 if form.bits == 8 else 23)
    again = IntegerLinear.load(tensors.__getitem__, one.form, SHAPE[1])
    assert again.form == one.form == form._asdict()
    for name in ("codes", "row_scale", "scales", "minima"):
        left, right = getattr(one, name), getattr(again, name)
        assert left is right is None or torch.equal(left, right)


def test_four_bits_have_a_known_place():
    codes = torch.tensor([[-8, 7, 0, -1, 3]], dtype=torch.int8)
    assert IntegerLinear(codes, 4, torch.ones(1)).tensors()["codes"].tolist() == [[0x78, 0xF0, 0x03]]


@pytest.mark.parametrize(
    "change", [{"bits": 5}, {"group": -1}, {"group": "16"}, {"group": 0, "minima": True}]
)
def test_forms_that_are_none(change: dict):
    one = matrix(Form(4, 16, True))
    with pytest.raises(ValueError, match=r"integer matrix: wanted .* found"):
        IntegerLinear.load(one.tensors().__getitem__, one.form | change, SHAPE[1])


def test_damaged_codes():
    one = matrix(Form(4))
    for columns, message in ((44, "uint8"), (43, "uint8"), (47, "uint8")):
        with pytest.raises(ValueError, match=message):
            IntegerLinear.load(one.tensors().__getitem__, one.form, columns)
    filler = one.tensors()
    filler["codes"][2, -1] |= 0x10
    with pytest.raises(ValueError, match="behind a row's last code"):
        IntegerLinear.load(filler.__getitem__, one.form, SHAPE[1])


def test_ranges():
    assert CODE_RANGE == {8: (-127, 127), 4: (-8, 7)}
    assert [activation_levels(8), activation_levels(12)] == [127, 2047]
    assert [activation_one(8), activation_one(12)] == [127, 2048]
