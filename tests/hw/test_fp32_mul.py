"""Fp32Mul against the exact product."""

import random

import pytest

from hw.fp32_mul import Fp32Mul

from .test_fp32_format import check_pipeline, check_verilog
from .test_fp32_reference import corners, multiply, random_bits, with_exponent


def operands() -> list[tuple[int, int]]:
    rng = random.Random(10)
    pairs = [(a, b) for a in corners() for b in corners()]
    pairs += [(random_bits(rng), random_bits(rng)) for _ in range(1500)]
    for target in (-1, 0, 1, 2, 253, 254, 255, 256):  # results around underflow and overflow
        for _ in range(150):
            a = with_exponent(random_bits(rng), rng.randrange(1, 255))
            pairs.append((a, with_exponent(random_bits(rng), target + 127 - (a >> 23 & 0xFF))))
    for _ in range(300):  # ties: 24 significant bits times 3, 5, 9 ...
        pairs.append((random_bits(rng), with_exponent(((1 << rng.randrange(1, 4)) + 1) << 19, 127)))
    for _ in range(300):  # one unit of the exact product above or below a tie, with an even fraction
        a = rng.getrandbits(24) | 1 << 23 | 1
        guard = rng.choice((22, 23))
        b = pow(a, -1, 4 << guard) * ((1 << guard) + rng.choice((-1, 1))) % (4 << guard)
        if b >> 23 == 1:
            pairs.append((a ^ 0x40000000, b ^ 0x40000000))
    # Products of two numbers whose 24 leading bits are all ones, just below 2^-126, and their neighbours:
    # (1 + i u)(2 - j u) is 2 - u, 2 - 2u ... or a little less or more.
    for i in range(6):
        for j in range(12):
            for low in (1, 63, 126):
                pairs.append((low << 23 | i, (127 - low) << 23 | 0x7FFFFF - j))
    return pairs


@pytest.mark.parametrize("latency", [3, 4])
def test_products(latency: int):
    vectors = [({"a": a, "b": b}, {"o": multiply(a, b)}) for a, b in operands()]
    assert any(v["o"] & 0x7FFFFFFF == 0x00800000 for _, v in vectors)
    check_pipeline(Fp32Mul(latency), latency, vectors, seed=11)


def test_verilog():
    check_verilog(Fp32Mul())


def test_other_latencies_are_refused():
    with pytest.raises(ValueError, match="latency must be 3 or 4, found 5"):
        Fp32Mul(5)
