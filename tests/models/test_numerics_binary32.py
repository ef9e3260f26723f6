"""The binary32 operations of `models.numerics` against exact fractions."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import numerics
from tests.hw import test_fp32_reference as fp32
from tests.models import test_numerics_reference as reference

from .bit_patterns import LENGTH, RANDOM, bits, floats, integers, number_bits, vectors, wide


@RANDOM
@given(vectors)
def test_bit_patterns(a):
    assert numerics.float_bits(floats(a)).tolist() == a
    assert bits(numerics.bits_float(integers(a))) == a
    assert bits(numerics.flush(floats(a))) == [fp32.flushed(x) for x in a]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (numerics.fadd, fp32.add),
        (numerics.fsub, reference.subtract),
        (numerics.fmul, fp32.multiply),
        (numerics.fdiv, fp32.divide),
    ],
)
def test_two_operands(function: Callable, wanted: Callable):
    corners = fp32.corners()
    left, right = [a for a in corners for _ in corners], corners * len(corners)
    check = list(map(wanted, left, right))
    assert bits(function(floats(left), floats(right))) == check

    @RANDOM
    @given(vectors, vectors)
    def check_random(a, b):
        assert bits(function(floats(a), floats(b))) == list(map(wanted, a, b))

    check_random()


@RANDOM
@given(number_bits, st.integers(0, 2**24), st.integers(-60, 60))
def test_sums_that_cancel_or_tie(a, low, distance):
    b = fp32.with_exponent(low & 0x7FFFFF | ~a & fp32.SIGN, (a >> 23 & 0xFF) + distance // 2)
    assert bits(numerics.fadd(floats([a]), floats([b]))) == [fp32.add(a, b)]


@RANDOM
@given(vectors)
def test_square_root(a):
    assert bits(numerics.fsqrt(floats(a))) == [fp32.square_root(x) for x in a]


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_constant(x):
    assert bits(numerics.constant(x)) == [reference.constant(x) if x else bits(floats([0]) * x)[0]]


@RANDOM
@given(st.lists(wide, min_size=LENGTH, max_size=LENGTH))
def test_int_to_float(numbers):
    near = [i + d for i in numbers for d in (-1, 0, 1) if abs(i + d) < 2**63]
    assert bits(numerics.int_to_float(integers(near))) == [fp32.from_int(i) for i in near]


def test_int_to_float_at_ties():
    near = [0, *(sign << bit for bit in range(12) for sign in (-1, 1))]
    ties = [(1 << w) + (odd << w - 24) + d for w in range(25, 63) for odd in (1, 3) for d in near]
    ties += [-i for i in ties] + [2**63 - 1, 1 - 2**63, 2**53, 2**53 + 1, 0]
    assert bits(numerics.int_to_float(integers(ties))) == [fp32.from_int(i) for i in ties]


@RANDOM
@given(vectors, st.sampled_from([(0, 127), (0, 32767), (12, 16 << 12), (16, 2**31 - 1), (-3, 2**20)]))
def test_float_to_int(a, form):
    assert numerics.float_to_int(floats(a), *form).tolist() == [fp32.to_int(x, *form)[0] for x in a]


@RANDOM
@given(vectors, st.integers(-126, 127))
def test_scale_power(a, exponent):
    wanted = [fp32.multiply(x, exponent + 127 << 23) for x in a]
    assert bits(numerics.scale_power(floats(a), torch.tensor(exponent))) == wanted
