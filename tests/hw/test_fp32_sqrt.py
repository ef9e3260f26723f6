"""Fp32Sqrt against the exact square root."""

import random

from hw.fp32_sqrt import Fp32Sqrt

from .test_fp32_format import check_stream, check_verilog
from .test_fp32_reference import corners, is_inf, is_nan, random_bits, square_root, value


def operands() -> list[int]:
    rng = random.Random(40)
    numbers = corners() + [random_bits(rng) & 0x7FFFFFFF for _ in range(600)]
    for exponent in (1, 2, 126, 127, 128, 253, 254):  # both ends of the fractions, odd and even exponents
        numbers += [exponent << 23 | fraction for fraction in (0, 1, 2, 0x3FFFFF, 0x400000, 0x7FFFFE)]
        numbers.append(exponent << 23 | 0x7FFFFF)
    for _ in range(300):  # roots next to a tie, and exact ones
        root = rng.getrandbits(24) | 1 << 23
        square = rng.choice(((2 * root + 1) ** 2, (root >> 12) ** 2))
        drop = square.bit_length() - 24
        fraction = (square >> drop if drop > 0 else square << -drop) - (1 << 23)
        numbers.append((127 + (drop + 1) % 2 << 23 | fraction) + rng.randrange(-1, 2))
    return numbers


def test_roots():
    numbers = operands()
    vectors = [(number, square_root(number)) for number in numbers]
    finite = [(number, root) for number, root in vectors if not is_nan(root) and not is_inf(root)]
    assert sum(value(root) ** 2 == value(number) for number, root in finite) > 50
    check_stream(Fp32Sqrt(), Fp32Sqrt.LATENCY, vectors, seed=41)


def test_verilog():
    check_verilog(Fp32Sqrt())
