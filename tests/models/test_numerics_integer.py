"""Integer matrices and 12-bit mantissas of `models.numerics` against Python integers and fractions."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import numerics
from tests.hw import test_fp32_reference as fp32
from tests.models import test_numerics_reference as reference

from .bit_patterns import RANDOM, bits, floats, number_bits, scale_bits, vectors


def power_above(maximum: int) -> int:
    """The least power of two above, infinity where there is none; infinity and NaN stay."""
    if maximum & fp32.INF == fp32.INF:
        return maximum
    power = Fraction(1, 2**126)
    while power <= fp32.value(maximum):
        power *= 2
    return fp32.encode(power, 0)


def live_power(maximum: int) -> int:
    return 0 if maximum < reference.LEAST_ABSMAX else power_above(maximum)


def sum_of_groups(
    q: list[int], weight: list[int], group: int, scales: list[int] | None, minima: list[int] | None
) -> int:
    """One row, element by element, modulo 2**48 as a signed number."""
    total = 0
    for i, (activation, code) in enumerate(zip(q, weight, strict=True)):
        g = i // group if group else 0
        total += activation * ((scales[g] if scales else 1) * code + (minima[g] if minima else 0))
    return (total + 2**47) % 2**48 - 2**47


@st.composite
def matrices(draw: st.DrawFn):
    """(q [T, k], weight [rows, k], group, scales, minima) as lists."""
    size, group = draw(st.integers(1, 21)), draw(st.sampled_from([0, 1, 4, 16, 32]))
    rows, groups = draw(st.integers(1, 3)), -(-size // group) if group else 0

    def table(count: int, columns: int, limit: int) -> list[list[int]]:
        number = st.integers(-limit, limit)
        return draw(
            st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=count, max_size=count)
        )

    q, weight = table(2, size, draw(st.sampled_from([127, 2047]))), table(rows, size, 127)
    scales = table(rows, groups, 32767) if group else None
    return q, weight, group, scales, table(rows, groups, 32767) if group and draw(st.booleans()) else None


def tensor(values: list[list[int]] | None, dtype: torch.dtype = torch.int64) -> torch.Tensor | None:
    return None if values is None else torch.tensor(values, dtype=dtype)


@RANDOM
@given(matrices())
def test_grouped_linear(case):
    q, weight, group, scales, minima = case
    found = numerics.grouped_linear(
        torch.tensor(q),
        torch.tensor(weight, dtype=torch.int8),
        group,
        tensor(scales, torch.int16),
        tensor(minima, torch.int16),
    )
    groups = [(scales and scales[r], minima and minima[r]) for r in range(len(weight))]
    wanted = [
        [sum_of_groups(row, codes, group, *values) for codes, values in zip(weight, groups, strict=True)]
        for row in q
    ]
    assert found.tolist() == wanted


@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_wrap_at_48_bits(sign: int):
    """No model gets there (the compiler sees to it): activations much larger than there are."""
    q, weight, scales = [sign * 2**24] * 64, [127] * 64, [32767, 32767]
    found = numerics.grouped_linear(
        torch.tensor([q]), torch.tensor([weight]), 32, torch.tensor([scales]), torch.tensor([scales])
    )
    wanted = sum_of_groups(q, weight, 32, scales, scales)
    assert found.tolist() == [[wanted]]
    assert abs(sum(q) * 128 * 32767) > 2**47 > abs(wanted)


@RANDOM
@given(st.one_of(number_bits, scale_bits).map(lambda pattern: fp32.flushed(pattern) & ~fp32.SIGN))
def test_shared_exponent(maximum):
    if fp32.is_nan(maximum):
        return
    assert bits(numerics.live_exponent(floats([maximum]))) == [live_power(maximum)]
    if maximum:
        assert bits(numerics.shared_exponent(floats([maximum]))) == [power_above(maximum)]


@RANDOM
@given(vectors, st.one_of(st.none(), scale_bits))
def test_quantise_mantissa(a, other):
    maximum = reference.absmax(a) if other is None else other
    found = numerics.quantise_mantissa(floats(a), floats([maximum])[0]).tolist()
    if maximum < reference.LEAST_ABSMAX:
        assert found == [0] * len(a)
        return
    inverse = fp32.divide(reference.constant(2048), power_above(maximum))
    assert found == [fp32.to_int(fp32.multiply(x, inverse), 0, 2047)[0] for x in a]


@RANDOM
@given(st.lists(st.integers(-(2**24) + 1, 2**24 - 1), min_size=3, max_size=12), st.integers(-60, 60))
def test_mantissas_are_the_nearest_integers(numbers, exponent):
    """Below the clip nothing but the rounding to an integer happens: the factor is a power of two."""
    x = torch.tensor([float(number) for number in numbers]) * 2.0**exponent
    largest = max(map(abs, numbers))
    found = numerics.quantise_mantissa(x, numerics.absmax(x)).tolist()
    exact = [Fraction(number * 2048, 2 ** largest.bit_length()) for number in numbers]
    assert found == [max(-2047, min(2047, round(number))) for number in exact]


def test_pairs_of_rows():
    even, odd = torch.tensor([1, -2, 7]), torch.tensor([-8, 3, -1])
    assert numerics.pack_pair(even, odd, 8, 4).tolist() == [1, 0xF8, 0xFE, 3, 7, 0xFF, 0, 0]
    assert numerics.pack_pair(even, odd, 4, 2).tolist() == [0x81, 0x3E, 0xF7, 0]


@RANDOM
@given(st.data(), st.integers(1, 20), st.sampled_from([4, 8]), st.sampled_from([1, 4, 16]))
def test_unpacked_pairs(data, n, width, unit):
    codes = st.lists(st.integers(-(2 ** (width - 1)), 2 ** (width - 1) - 1), min_size=n, max_size=n)
    even, odd = data.draw(codes), data.draw(codes)
    packed = numerics.pack_pair(torch.tensor(even), torch.tensor(odd), width, unit)
    assert len(packed) == -(-n // unit) * unit * width // 4
    assert int(packed.min()) >= 0 and int(packed.max()) < 256
    assert [row.tolist() for row in numerics.unpack_pair(packed, n, width)] == [even, odd]
