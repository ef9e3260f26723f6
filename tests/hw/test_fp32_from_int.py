# amaranth: UnusedElaboratable=no
"""Fp32FromInt against the exact rounding of the integer."""

import random

import pytest

from hw.fp32_from_int import Fp32FromInt

from .test_fp32_format import check_pipeline, check_verilog
from .test_fp32_reference import from_int


def integers(width: int, count: int, rng: random.Random) -> list[int]:
    """Powers of two and their neighbours, ties and their neighbours, and random numbers of every length."""
    numbers = {0, (1 << width - 1) - 1, -(1 << width - 1)}
    for bit in range(width - 1):
        numbers.update((1 << bit) + delta for delta in (-1, 0, 1))
    for bit in range(24, width - 1):  # numbers of bit + 1 bits, the last of them worth half a unit
        half = 1 << bit - 24
        for steps in (1, 2, (1 << 23) - 2, (1 << 23) - 1, rng.getrandbits(23)):
            numbers.update((1 << bit) + (2 * steps + 1) * half + delta for delta in (-1, 0, 1))
    numbers.update(rng.getrandbits(width - 1) >> rng.randrange(width) for _ in range(count))
    numbers.update([-number for number in numbers])
    return sorted(number for number in numbers if -(1 << width - 1) <= number < 1 << width - 1)


@pytest.mark.parametrize("width", [2, 8, 25, 26, 32, 33, 48, 64, 65])
def test_integers(width):
    rng = random.Random(width)
    numbers = integers(width, 300, rng)
    rng.shuffle(numbers)
    vectors = [({"i": number}, {"o": from_int(number)}) for number in numbers]
    check_pipeline(Fp32FromInt(width), Fp32FromInt.LATENCY, vectors, seed=width)


@pytest.mark.parametrize(("width", "point"), [(26, 24), (33, 64)])
def test_point(width: int, point: int):
    rng = random.Random(point)
    numbers = integers(width, 200, rng)
    vectors = []
    for number in numbers:
        whole = from_int(number)
        vectors.append(({"i": number}, {"o": whole - (point << 23) if number else 0}))
    check_pipeline(Fp32FromInt(width, point), Fp32FromInt.LATENCY, vectors, seed=width)


@pytest.mark.parametrize("point", [-1, 65, 1.0])
def test_point_is_checked(point):
    with pytest.raises(ValueError, match=f"integer from 0 to 64, not {point!r}"):
        Fp32FromInt(26, point)


@pytest.mark.parametrize("width", [1, 129, 32.0, "32"])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match=f"integer from 2 to 128, not {width!r}"):
        Fp32FromInt(width)


def test_verilog():
    check_verilog(Fp32FromInt(48))
