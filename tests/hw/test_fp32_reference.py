"""The reference the binary32 components are tested against, with tests of its own.

The reference is exact: operands become fractions, operations are those of the rationals (a square root is
the integer one), and the one rounding is Python's own ``round(Fraction)``, which is to nearest even. It
shares no code with the hardware and is itself compared with the binary32 arithmetic of numpy.
"""

import math
import random
import struct
from fractions import Fraction

import numpy as np

NAN, INF, SIGN = 0x7FC00000, 0x7F800000, 0x80000000

#: Magnitudes at which something changes; :func:`corners` adds the signs.
CORNERS = (
    0x00000000,
    0x00000001,
    0x00400000,
    0x007FFFFF,  # zero, subnormals
    0x00800000,
    0x00800001,
    0x00FFFFFF,
    0x01000000,
    0x01000001,
    0x01FFFFFF,  # smallest normal numbers
    0x0C7FFFFF,
    0x20000000,
    0x33800000,
    0x33800001,
    0x33FFFFFF,
    0x34000000,
    0x3EAAAAAB,  # 2^-24, 2^-23, 1/3
    0x3F000000,
    0x3F7FFFFF,
    0x3F800000,
    0x3F800001,
    0x3F800002,
    0x3FFFFFFF,
    0x40000000,
    0x40400000,  # by 1
    0x4B000000,
    0x4B7FFFFF,
    0x4B800000,
    0x5F000000,
    0x7E800000,
    0x7F000000,
    0x7F7FFFFF,  # 2^23, 2^24, largest
    0x7F800000,
    0x7F800001,
    0x7FC00000,
    0x7FFFFFFF,  # infinity, NaNs
)


def corners() -> list[int]:
    """Both signs of every corner."""
    return [magnitude | sign for magnitude in CORNERS for sign in (0, SIGN)]


def random_bits(rng: random.Random) -> int:
    """A number with any exponent, often with a fraction of few bits or next to a power of two."""
    fraction = rng.choice(
        (
            rng.getrandbits(23),
            rng.getrandbits(23),
            rng.getrandbits(12) << 11,
            1 << rng.randrange(23),
            (1 << 23) - (1 << rng.randrange(23)),
            rng.getrandbits(3),
            0x7FFFFF - rng.getrandbits(3),
        )
    )
    return rng.getrandbits(1) << 31 | rng.getrandbits(8) << 23 | fraction


def with_exponent(bits: int, exponent: int) -> int:
    """``bits`` with another exponent field, clipped to the normal numbers."""
    return (bits & ~INF) | min(max(exponent, 1), 254) << 23


def is_nan(bits: int) -> bool:
    return bits & ~SIGN > INF


def is_inf(bits: int) -> bool:
    return bits & ~SIGN == INF


def value(bits: int) -> Fraction:
    """The finite number that ``bits`` stands for; subnormal ones are zero."""
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    assert exponent < 255
    magnitude = Fraction(1 << 23 | fraction) * Fraction(2) ** (exponent - 150) if exponent else Fraction(0)
    return -magnitude if bits & SIGN else magnitude


def encode(exact: Fraction, sign: int) -> int:
    """``exact`` rounded, with gradual underflow whose subnormal results are then made zero of ``sign``."""
    magnitude = abs(exact)
    if not magnitude:
        return sign
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    exponent = max(exponent, -126)
    steps = round(magnitude / Fraction(2) ** (exponent - 23))
    if steps < 1 << 23:
        return sign
    return sign | min(((exponent + 126) << 23) + steps, INF)


def multiply(a: int, b: int) -> int:
    sign = (a ^ b) & SIGN
    if is_nan(a) or is_nan(b):
        return NAN
    if is_inf(a) or is_inf(b):
        return NAN if any(not is_inf(x) and value(x) == 0 for x in (a, b)) else sign | INF
    return encode(value(a) * value(b), sign)


def add(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b) or (is_inf(a) and is_inf(b) and a != b):
        return NAN
    if is_inf(a) or is_inf(b):
        return a if is_inf(a) else b
    exact = value(a) + value(b)
    both_zero = value(a) == value(b) == 0
    return encode(exact, a & b & SIGN if both_zero else SIGN if exact < 0 else 0)


def divide(a: int, b: int) -> int:
    sign = (a ^ b) & SIGN
    if is_nan(a) or is_nan(b) or (is_inf(a) and is_inf(b)):
        return NAN
    if is_inf(a):
        return sign | INF
    if is_inf(b):
        return sign
    if value(b) == 0:
        return NAN if value(a) == 0 else sign | INF
    return encode(value(a) / value(b), sign)


def square_root(a: int) -> int:
    if is_nan(a):
        return NAN
    if not is_inf(a) and value(a) == 0:
        return a & SIGN
    if a & SIGN:
        return NAN
    if is_inf(a):
        return INF
    # 64 fractional bits and a last one that says whether there are more, so the root rounds as if exact.
    square = value(a) * Fraction(2) ** 256
    root = math.isqrt(int(square))
    return encode(Fraction(2 * root + (root * root != square), 2) / 2**128, 0)


def from_int(i: int) -> int:
    return encode(Fraction(i), SIGN if i < 0 else 0)


def to_int(a: int, shift: int, limit: int) -> tuple[int, int]:
    """The integer and whether it was clipped."""
    if is_nan(a):
        return 0, 1
    if is_inf(a):
        return (-limit if a & SIGN else limit), 1
    exact = round(value(a) * Fraction(2) ** shift)
    clipped = min(max(exact, -limit), limit)
    return clipped, int(clipped != exact)


def flushed(bits: int) -> int:
    """``bits`` if normal; zero of its sign if subnormal, the canonical NaN if NaN."""
    return NAN if is_nan(bits) else bits if bits & INF else bits & SIGN


def test_reference_agrees_with_numpy():
    rng = random.Random(1)
    numbers = corners() + [random_bits(rng) for _ in range(1000)]
    pairs = [(a, b) for a in corners() for b in corners()]
    pairs += [(rng.choice(numbers), rng.choice(numbers)) for _ in range(5000)]
    a = np.array([flushed(a) for a, _ in pairs], np.uint32).view(np.float32)
    b = np.array([flushed(b) for _, b in pairs], np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        theirs = {multiply: a * b, add: a + b, divide: a / b}
        roots = np.sqrt(a)
    for operation, results in theirs.items():
        for pair, bits in zip(pairs, results.view(np.uint32).tolist(), strict=True):
            assert operation(*pair) == flushed(bits), (operation, pair)
    for (x, _), bits in zip(pairs, roots.view(np.uint32).tolist(), strict=True):
        assert square_root(x) == flushed(bits), x


def test_reference_of_conversions_agrees_with_numpy():
    rng = random.Random(2)
    for _ in range(3000):
        i = rng.getrandbits(64) - (1 << 63) >> rng.randrange(64)
        assert from_int(i) == int(np.int64(i).astype(np.float32).view(np.uint32)), i
        a = with_exponent(random_bits(rng), rng.randrange(90, 170))
        x = struct.unpack("<f", struct.pack("<I", a))[0]
        shift = rng.randrange(-20, 20)
        wanted = int(np.clip(np.rint(np.float64(x) * 2.0**shift), -32767, 32767))
        assert to_int(a, shift, 32767)[0] == wanted, (a, shift)
