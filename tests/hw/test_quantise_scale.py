"""QuantiseScale against numerics."""

import random

import torch

from hw.quantise_scale import QuantiseScale
from models import numerics

from .test_fp32_format import check_pipeline, check_verilog
from .test_fp32_reference import corners

INFINITY = 0x7F800000


def expected(maximum: int, levels: int) -> int:
    a = numerics.bits_float(torch.tensor(maximum))
    factor = numerics.fdiv(torch.tensor(float(levels)), a)
    return int(numerics.float_bits(factor)) if numerics.live_scale(a) else 0


def mantissa_factor(maximum: int) -> int:
    """fl(2048 / E); 0 where the maximum is below 2^-100 or NaN, whose factor of NaN gives the same codes."""
    power = numerics.live_exponent(numerics.bits_float(torch.tensor(maximum)))
    factor = numerics.fdiv(torch.tensor(float(numerics.MANTISSA_ONE)), power)
    return 0 if maximum > INFINITY or not power else int(numerics.float_bits(factor))


def test_scales():
    rng = random.Random(90)
    threshold = 27 << 23  # 2^-100
    maxima = [a for a in corners() if a <= 0x7FC00000] + [threshold + d for d in (-2, -1, 0, 1)]
    maxima += [rng.randrange(0x30000000, 0x48000000) for _ in range(60)]
    vectors = [
        ({"i": {"maximum": a, "wide": wide, "mantissa": 0}}, {"o": expected(a, levels)})
        for a in maxima
        for wide, levels in enumerate((numerics.INT8_LEVELS, numerics.INT16_LEVELS))
    ]
    check_pipeline(QuantiseScale(), QuantiseScale.LATENCY, vectors, seed=91)


def test_mantissas():
    """Factors of every exponent."""
    rng = random.Random(92)
    maxima = [exponent << 23 | rng.choice((0, 1, rng.getrandbits(23), 0x7FFFFF)) for exponent in range(255)]
    maxima += [*(254 << 23 | fraction for fraction in (0, 1, 0x7FFFFF)), INFINITY, INFINITY + 1, 0x7FC00000]
    vectors = [
        ({"i": {"maximum": a, "wide": rng.getrandbits(1), "mantissa": 1}}, {"o": mantissa_factor(a)})
        for a in maxima
    ]
    check_pipeline(QuantiseScale(), QuantiseScale.LATENCY, vectors, seed=93)


def test_verilog():
    check_verilog(QuantiseScale())
