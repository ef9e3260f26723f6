"""QuantiseScale against numerics."""

import random

import torch
from amaranth.lib import data

from hw.quantise_scale import QuantiseScale, Scales
from models import numerics

from .test_fp32_format import check_stream, check_verilog, simulate
from .test_fp32_reference import corners

ONE, INFINITY = 0x3F800000, 0x7F800000


def expected(maximum: int, levels: int) -> data.Const:
    a = numerics.bits_float(torch.tensor(maximum))
    live = int(numerics.float_bits(numerics.live_scale(a)))
    inverse = int(numerics.float_bits(numerics.fdiv(torch.tensor(float(levels)), a))) if live else 0
    return Scales.const({"inverse": inverse, "live": live})


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
        ({"maximum": a, "wide": levels == numerics.INT16_LEVELS, "mantissa": 0}, expected(a, levels))
        for a in maxima for levels in (numerics.INT8_LEVELS, numerics.INT16_LEVELS)
    ]  # fmt: skip
    check_stream(QuantiseScale(), QuantiseScale.LATENCY, vectors, seed=91)


def test_mantissas():
    """Factors of every exponent; `live` means nothing."""
    rng = random.Random(92)
    dut = QuantiseScale()
    maxima = [exponent << 23 | rng.choice((0, 1, rng.getrandbits(23), 0x7FFFFF)) for exponent in range(255)]
    maxima += [*(254 << 23 | fraction for fraction in (0, 1, 0x7FFFFF)), INFINITY, INFINITY + 1, 0x7FC00000]

    async def bench(ctx) -> None:
        ctx.set(dut.o.ready, 1)
        for maximum in maxima:
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, {"maximum": maximum, "wide": rng.getrandbits(1), "mantissa": 1})
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, {"maximum": ONE, "wide": 0, "mantissa": rng.getrandbits(1)})
            await ctx.tick().repeat(QuantiseScale.LATENCY - 1)
            assert ctx.get(dut.o.valid)
            found, wanted = ctx.get(dut.o.payload.inverse), mantissa_factor(maximum)
            assert found == wanted, f"{maximum:#x}: wanted {wanted:#x}, found {found:#x}"
            await ctx.tick()

    simulate(dut, bench)


def test_verilog():
    check_verilog(QuantiseScale())
