"""Norm against numerics."""

import random

import torch

from hw.norm import Norm
from models import numerics

from .test_fp32_format import check_stream, check_verilog
from .test_fp32_reference import corners, random_bits, with_exponent

SATURATED = numerics.SQUARE_SUM_MAX


def bits_of(x: torch.Tensor) -> int:
    return int(numerics.float_bits(x))


def expected(operands: dict[str, int]) -> int:
    maximum, c, eps = (numerics.bits_float(torch.tensor(operands[name])) for name in ("maximum", "c", "eps"))
    if not operands["normalise"]:
        return bits_of(numerics.live_scale(maximum))
    return bits_of(numerics.norm_scale(maximum, torch.tensor(operands["total"]), c, eps))


def operands() -> list[dict[str, int]]:
    rng = random.Random(80)
    cases = []
    for _ in range(60):  # what models give
        cases.append(
            {
                "total": rng.getrandbits(rng.randrange(20, 63)),
                "maximum": rng.randrange(0x3A000000, 0x42000000),
                "c": bits_of(numerics.constant(2.0**-44 / rng.randrange(1, 2048))),
                "eps": bits_of(numerics.constant(rng.choice((1e-5, 1e-6, 1e-24)))),
            }
        )
    around_live = [27 << 23, (27 << 23) - 1, (27 << 23) + 1, 26 << 23, 0, 1 << 23]
    maxima = [*around_live, *(a for a in corners() if a < 0x80000000 and a <= 0x7FC00000)]
    for maximum in maxima:
        cases.append(
            {
                "total": rng.choice((0, 1, SATURATED, rng.getrandbits(63))),
                "maximum": maximum,
                "c": rng.choice((0x29000000, random_bits(rng))),
                "eps": rng.choice((0, 0x3727C5AC, random_bits(rng))),
            }
        )
    for total in (0, 1, 2**24 + 1, 2**53 + 1, 2**62 + 1, SATURATED - 1, SATURATED):
        cases.append(
            {
                "total": total,
                "maximum": 0x3F800000,
                "c": with_exponent(random_bits(rng), 100) & 0x7FFFFFFF,
                "eps": 0x3727C5AC,
            }
        )
    return cases


def test_scales():
    for normalise, latency in ((1, Norm.LATENCY), (0, 1)):
        cases = [{**case, "normalise": normalise} for case in operands()]
        check_stream(Norm(), latency, [(case, expected(case)) for case in cases], seed=81)


def test_verilog():
    check_verilog(Norm())
