"""References for `models.numerics` in Python integers and fractions, with tests of their own.

Numbers are bit patterns. The binary32 operations are those of `tests.hw.test_fp32_reference` (exact
fractions, one rounding); tables come from `decimal` with 40 digits. Nothing here uses torch or `models`.
"""

import math
from decimal import Decimal, getcontext
from fractions import Fraction
from functools import cache

import pytest

from tests.hw.test_fp32_reference import (
    INF,
    NAN,
    SIGN,
    add,
    divide,
    encode,
    flushed,
    from_int,
    is_nan,
    multiply,
    square_root,
    to_int,
    value,
)

ONE = 0x3F800000
#: 2**-100.
LEAST_ABSMAX = (127 - 100) << 23
SATURATED = 2**63 - 1

getcontext().prec = 40


def constant(exact: Fraction | float) -> int:
    """The binary32 number nearest to ``exact``."""
    return encode(Fraction(exact), SIGN if exact < 0 else 0)


def subtract(a: int, b: int) -> int:
    """fl(a - b)."""
    return NAN if is_nan(b) else add(a, b ^ SIGN)


def absmax(numbers: list[int]) -> int:
    """Largest magnitude, infinities and the canonical NaN in their places above the finite numbers."""
    return max(flushed(number) & ~SIGN for number in numbers)


def live_scale(maximum: int) -> int:
    """0 below 2**-100."""
    return 0 if maximum < LEAST_ABSMAX else maximum


def square_sum(numbers: list[int], grid: int) -> tuple[int, bool]:
    """Sum of floor(x**2 / 2**grid), saturated at 2**63 - 1."""
    if any(number & INF == INF for number in numbers):
        return SATURATED, True
    total = sum(math.floor(value(number) ** 2 / Fraction(2) ** grid) for number in numbers)
    return (SATURATED, True) if total > SATURATED else (total, False)


def norm_scale(maximum: int, total: int, c: int, eps: int) -> int:
    """live(maximum) / sqrt(total * c + eps), rounded at each step."""
    mean = add(multiply(from_int(total), c), eps)
    return multiply(live_scale(maximum), divide(ONE, square_root(mean)))


def quantise(numbers: list[int], maximum: int, levels: int) -> list[int]:
    """Codes within +-levels."""
    if maximum < LEAST_ABSMAX:
        return [0] * len(numbers)
    inverse = divide(constant(levels), maximum)
    return [to_int(multiply(number, inverse), 0, levels)[0] for number in numbers]


def round_shift(number: int, shift: int) -> int:
    """Nearest integer to number / 2**shift, halves upwards."""
    return math.floor(Fraction(number, 2**shift) + Fraction(1, 2))


def rope(x0: int, x1: int, cos: int, sin: int) -> tuple[int, int]:
    """A pair, turned."""
    even = subtract(multiply(x0, cos), multiply(x1, sin))
    return even, add(multiply(x1, cos), multiply(x0, sin))


def _nearest(number: Decimal) -> int:
    return int(number.to_integral_value())


@cache
def sigmoid_knot(index: int) -> int:
    """sigma(index / 32) in units of 2**-24."""
    return _nearest(2**24 / (1 + (Decimal(-index) / 32).exp()))


@cache
def exp2_knot(index: int) -> int:
    """2**(-index / 256) in units of 2**-24."""
    return _nearest(2**24 * Decimal(2) ** (Decimal(-index) / 256))


def sigmoid(t: int) -> int:
    """Line between the knots on either side of |t| / 2**12, mirrored for negative t."""
    index = min(abs(t) // 128, 511)
    low, high = sigmoid_knot(index), sigmoid_knot(index + 1)
    positive = low + math.floor(Fraction((high - low) * (abs(t) - 128 * index), 128) + Fraction(1, 2))
    return 2**24 - positive if t < 0 else positive


def silu(x: int) -> int:
    """x times its sigmoid."""
    return multiply(x, constant(Fraction(sigmoid(to_int(x, 12, 16 * 4096)[0]), 2**24)))


def relu2(x: int) -> int:
    """x times itself where it is above zero or a NaN, else +0."""
    return multiply(x, x) if x & 0x7FFFFFFF > 0x7F800000 or not x >> 31 else 0


def exp2(distance: int) -> int:
    """2**(-distance / 2**16) in units of 2**-24, below 1."""
    octaves, fraction = divmod(distance, 2**16)
    high, low = exp2_knot(fraction // 256), exp2_knot(fraction // 256 + 1)
    mantissa = high - math.floor(Fraction((high - low) * (fraction % 256), 256) + Fraction(1, 2))
    return min(round_shift(mantissa, octaves), 2**24 - 1)


def attention_score(dot: int, query_scale: int, key_scale: int) -> int:
    """Score in units of 2**-16."""
    return to_int(multiply(multiply(from_int(dot), query_scale), key_scale), 16, 2**31 - 1)[0]


def value_exponent(largest: int) -> int:
    """Exponent of the least power of two that is no less than ``largest``."""
    if largest == 0:
        return -126
    number = value(largest)
    exponent = number.numerator.bit_length() - number.denominator.bit_length()
    return next(e for e in (exponent - 1, exponent, exponent + 1) if Fraction(2) ** e >= number)


def value_weight(probability: int, scale: int, exponent: int) -> int:
    """probability * scale / 2**exponent, halves upwards."""
    return math.floor(probability * value(scale) / Fraction(2) ** exponent + Fraction(1, 2))


def attention_output(acc: int, total: int, exponent: int) -> int:
    """acc / total / 127 * 2**exponent, rounded at each step."""
    if total == 0:
        return multiply(from_int(acc), 0)
    scale = multiply(divide(ONE, from_int(total)), constant(1 / 127))
    return multiply(from_int(acc), multiply(scale, constant(Fraction(2) ** exponent)))


def argmax(numbers: list[int]) -> int:
    """First index of the largest number; NaN is below minus infinity."""

    def rank(number: int) -> tuple[int, Fraction]:
        number = flushed(number)
        if is_nan(number):
            return 0, Fraction(0)
        if number & INF == INF:
            return (1, Fraction(0)) if number & SIGN else (3, Fraction(0))
        return 2, value(number)

    return max(range(len(numbers)), key=lambda index: (rank(numbers[index]), -index))


def gray(number: int, digits: int) -> tuple[int, ...]:
    """Trits of ``number`` in reflected Gray order: a digit runs backwards where what is above it is odd."""
    trits = []
    for _ in range(digits):
        number, digit = divmod(number, 3)
        trits.append((digit if number % 2 == 0 else 2 - digit) - 1)
    return tuple(trits)


# --- the references themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (constant(1 / 127), 0x3C010204),
        (subtract(ONE, ONE), 0),
        (absmax([0x80000001, 0xC0000000, ONE]), 0x40000000),
        (square_sum([0x40400000, 0xBF000000], 0), (9, False)),
        (square_sum([0x40400000, 0xBF000000], -2), (37, False)),
        (square_sum([INF], 0), (SATURATED, True)),
        (norm_scale(0x40000000, 16, ONE, 0), 0x3F000000),  # 2 / sqrt(16)
        (quantise([ONE, 0xBF000000, 0x3F000000], ONE, 127), [127, -64, 64]),  # 63.5 to even
        (quantise([ONE], LEAST_ABSMAX - 1, 127), [0]),
        ([round_shift(number, 1) for number in range(4)], [0, 1, 1, 2]),
        (rope(ONE, 0, 0, ONE), (0, ONE)),
        (sigmoid(0), 2**23),
        (sigmoid(4096) + sigmoid(-4096), 2**24),
        (silu(ONE), constant(Fraction(sigmoid(4096), 2**24))),
        ([exp2(distance) for distance in (0, 2**16, 2**17, 25 << 16)], [2**24 - 1, 2**23, 2**22, 1]),
        (exp2(26 << 16), 0),
        (attention_score(3, 0x3F000000, 0x3F000000), 3 << 14),
        ([value_exponent(number) for number in (0, ONE, ONE + 1, ONE - 1)], [-126, 0, 1, 0]),
        (value_weight(2**24 - 1, 0x3F000000, 0), 2**23),
        (attention_output(127 * 5, 5, 3), 0x41000000),
        (argmax([NAN, 0xFF800000, SIGN, 0, 1]), 2),
        ([gray(number, 2) for number in range(4)], [(-1, -1), (0, -1), (1, -1), (1, 0)]),
    ],
)
def test_by_hand(found, wanted):
    assert found == wanted
