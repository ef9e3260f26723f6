"""Fp32Div and Fp32DivPipelined against the exact quotient."""

import random

from hw.fp32_div import Fp32Div
from hw.fp32_div_pipelined import Fp32DivPipelined

from .test_fp32_format import check_pipeline, check_stream, check_verilog
from .test_fp32_reference import corners, divide, random_bits, with_exponent

ONE = 127 << 23


def operands() -> list[tuple[int, int]]:
    rng = random.Random(30)
    # All pairs of corners without signs, then all of them with a few signed ones.
    positive = [a for a in corners() if a < 1 << 31]
    pairs = [(a, b) for a in positive for b in positive if rng.random() < 0.5 or min(a, b) == 0]
    special = (0x80000000, 0x80000001, 0x80800000, 0xBF800000, 0xFF7FFFFF, 0xFF800000, 0xFFC00001)
    pairs += [(a, b) for a in special for b in (*special, *positive)]
    pairs += [(random_bits(rng), random_bits(rng)) for _ in range(300)]
    for target in (-1, 0, 1, 2, 253, 254, 255, 256):  # results around underflow and overflow
        for _ in range(20):
            a = with_exponent(random_bits(rng), rng.randrange(1, 255))
            pairs.append((a, with_exponent(random_bits(rng), (a >> 23 & 0xFF) + 127 - target)))
    for _ in range(200):  # quotients next to a tie: (q + half a unit) * b, rounded to 24 bits
        b = rng.getrandbits(24) | 1 << 23
        product = ((rng.getrandbits(24) | 1 << 23) * 2 + 1) * b
        a = (product >> product.bit_length() - 24) + rng.randrange(2)
        pairs.append((ONE + a - (1 << 23), ONE + b - (1 << 23)))
    for i in range(6):  # quotients just below 2^-126: 2 - u, 2 - 2u ... times 2^-127
        for j in range(3):
            pairs.append((1 << 23 | 0x7FFFFF - i, 128 << 23 | j))
            pairs.append((40 << 23 | j, 167 << 23 | i + j))
    return pairs


def test_quotients():
    pairs = operands()
    vectors = [({"a": a, "b": b}, divide(a, b)) for a, b in pairs]
    assert any(
        o & 0x7FFFFFFF == 0x00800000 and a >> 23 & 0xFF == 1
        for (a, _), (_, o) in zip(pairs, vectors, strict=True)
    )
    check_stream(Fp32Div(), Fp32Div.LATENCY, vectors, seed=31)


def test_a_quotient_a_cycle():
    pairs = operands()
    random.Random(32).shuffle(pairs)
    vectors = [({"a": a, "b": b}, {"o": divide(a, b)}) for a, b in pairs]
    check_pipeline(Fp32DivPipelined(), Fp32DivPipelined.LATENCY, vectors, seed=33)


def test_verilog():
    check_verilog(Fp32Div())
    check_verilog(Fp32DivPipelined())
