"""QuantiseScale against numerics."""

import random

import torch
from amaranth.lib import data

from hw.quantise_scale import QuantiseScale, Scales
from models import numerics

from .test_fp32_format import check_stream, check_verilog
from .test_fp32_reference import corners


def expected(maximum: int, levels: int) -> data.Const:
    a = numerics.bits_float(torch.tensor(maximum))
    live = int(numerics.float_bits(numerics.live_scale(a)))
    inverse = int(numerics.float_bits(numerics.fdiv(torch.tensor(float(levels)), a))) if live else 0
    return Scales.const({"inverse": inverse, "live": live})


def test_scales():
    rng = random.Random(90)
    threshold = 27 << 23  # 2^-100
    maxima = [a for a in corners() if a <= 0x7FC00000] + [threshold + d for d in (-2, -1, 0, 1)]
    maxima += [rng.randrange(0x30000000, 0x48000000) for _ in range(60)]
    vectors = [
        ({"maximum": a, "wide": levels == numerics.INT16_LEVELS}, expected(a, levels))
        for a in maxima for levels in (numerics.INT8_LEVELS, numerics.INT16_LEVELS)
    ]  # fmt: skip
    check_stream(QuantiseScale(), QuantiseScale.LATENCY, vectors, seed=91)


def test_verilog():
    check_verilog(QuantiseScale())
