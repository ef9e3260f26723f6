"""Fp32Add against the exact sum."""

import random

from hw.fp32_add import Fp32Add

from .test_fp32_format import check_pipeline, check_verilog
from .test_fp32_reference import SIGN, add, corners, random_bits, with_exponent


def operands() -> list[tuple[int, int]]:
    rng = random.Random(20)
    pairs = [(a, b) for a in corners() for b in corners()]
    for _ in range(2500):  # every distance at which bits still meet, and some more
        a, b = random_bits(rng), random_bits(rng)
        pairs.append((a, with_exponent(b, (a >> 23 & 0xFF) + rng.randrange(-30, 31))))
    for _ in range(700):  # near cancellation
        a = random_bits(rng)
        pairs.append((a, (a + rng.randrange(-4, 5)) % (1 << 32) ^ SIGN))
        pairs.append((a, with_exponent(random_bits(rng), (a >> 23 & 0xFF) + rng.randrange(-2, 3))))
    for exponent in (1, 2, 3, 24, 25, 26, 252, 253, 254):  # results around underflow and overflow
        for _ in range(60):
            pairs.append(
                (
                    with_exponent(random_bits(rng), exponent),
                    with_exponent(random_bits(rng), exponent + rng.randrange(-2, 3)),
                )
            )
    return pairs


def test_sums():
    vectors = [({"a": a, "b": b}, {"o": add(a, b)}) for a, b in operands()]
    check_pipeline(Fp32Add(), Fp32Add.LATENCY, vectors, seed=21)


def test_verilog():
    check_verilog(Fp32Add())
