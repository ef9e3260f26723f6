# amaranth: UnusedElaboratable=no
"""Fp32ToInt against exact scaling, rounding and clipping."""

import random

import pytest

from hw.fp32_to_int import Fp32ToInt

from .test_fp32_format import check_pipeline, check_verilog
from .test_fp32_reference import corners, random_bits, to_int, with_exponent


def operands(width: int, rng: random.Random) -> list[tuple[int, int, int]]:
    largest = (1 << width - 1) - 1

    def any_limit() -> int:
        return rng.choice((largest, largest, largest - 1, largest >> 1, 0, 1, rng.randint(0, largest)))

    cases = [(a, shift, any_limit()) for a in corners() for shift in (-128, -24, -1, 0, 1, width - 2, 127)]
    for _ in range(700):  # results of every length, and ties: few bits end just below the point
        shift = rng.randrange(-128, 128)
        a = with_exponent(random_bits(rng), 127 - shift + rng.randrange(-3, width + 1))
        if rng.getrandbits(1):
            kept = max(23 - 1 - max((a >> 23 & 0xFF) - 127 + shift, 0), 0)
            a = (a >> kept | 1) << kept & 0xFFFFFFFF
        cases.append((a, shift, any_limit()))
    for _ in range(300):  # numbers whose rounding decides whether they are clipped
        limit = any_limit() >> rng.randrange(width - 1)
        exponent = max((2 * limit + 1).bit_length() - 1, 0)
        fraction = ((2 * limit + 1) << 23 >> exponent) - (1 << 23)
        shift = rng.randrange(-20, 20)
        a = with_exponent(fraction, 127 + exponent - 1 - shift) + rng.randrange(-1, 2)
        cases.append((a | rng.getrandbits(1) << 31, shift, limit))
    return cases


@pytest.mark.parametrize("width", [2, 8, 12, 16, 25, 32])
def test_conversions(width):
    vectors = []
    for a, shift, limit in operands(width, random.Random(width)):
        o, saturated = to_int(a, shift, limit)
        vectors.append(({"a": a, "shift": shift, "limit": limit}, {"o": o, "saturated": saturated}))
    check_pipeline(Fp32ToInt(width), Fp32ToInt.LATENCY, vectors, seed=width)


@pytest.mark.parametrize("width", [1, 65, 8.0, None])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match=f"integer from 2 to 64, not {width!r}"):
        Fp32ToInt(width)


def test_verilog():
    check_verilog(Fp32ToInt(16))
