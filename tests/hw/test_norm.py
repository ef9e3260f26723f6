"""Norm against numerics."""

import random
from itertools import product

import pytest
import torch

from hw.norm import Norm
from models import numerics

from .test_fp32_format import check_verilog, simulate
from .test_fp32_reference import corners, random_bits, with_exponent

SATURATED = numerics.SQUARE_SUM_MAX


def bits_of(x: torch.Tensor) -> int:
    return int(numerics.float_bits(x))


def expected(operands: dict[str, int]) -> int:
    maximum, c, eps = (numerics.bits_float(torch.tensor(operands[name])) for name in ("maximum", "c", "eps"))
    scale = (numerics.live_exponent if operands["mantissa"] else numerics.live_scale)(maximum)
    if not operands["normalise"]:
        return bits_of(scale)
    return bits_of(numerics.fmul(scale, numerics.inverse_root(torch.tensor(operands["total"]), c, eps)))


LATENCY = Norm().latency
#: What comes with the absmax, when the result is due.
LATE = ("maximum", "mantissa")


def operands() -> list[dict[str, int]]:
    """Cases without `normalise`: absolute maxima of models, and every corner for both kinds of scale."""
    rng = random.Random(80)
    cases = []
    for i in range(34):  # what models give
        cases.append(
            {
                "total": rng.getrandbits(rng.randrange(20, 63)),
                "maximum": rng.randrange(0x3A000000, 0x42000000),
                "mantissa": i % 2,
                "c": bits_of(numerics.constant(2.0**-44 / rng.randrange(1, 2048))),
                "eps": bits_of(numerics.constant(rng.choice((1e-5, 1e-6, 1e-24)))),
            }
        )
    around_live = [27 << 23, (27 << 23) - 1, (27 << 23) + 1, 26 << 23, 0, 1 << 23]
    maxima = [*around_live, *(a for a in corners() if a < 0x80000000 and a <= 0x7FC00000)]
    for maximum, mantissa in product([*maxima, 0x7EFFFFFF], (0, 1)):
        cases.append(
            {
                "total": rng.choice((0, 1, SATURATED, rng.getrandbits(63))),
                "maximum": maximum,
                "mantissa": mantissa,
                "c": rng.choice((0x29000000, random_bits(rng))),
                "eps": rng.choice((0, 0x3727C5AC, random_bits(rng))),
            }
        )
    for total in (0, 1, 2**24 + 1, 2**53 + 1, 2**62 + 1, SATURATED - 1, SATURATED):
        cases.append(
            {
                "total": total,
                "maximum": 0x3F800000,
                "mantissa": total % 2,
                "c": with_exponent(random_bits(rng), 100) & 0x7FFFFFFF,
                "eps": 0x3727C5AC,
            }
        )
    return cases


def run(cases: list[dict[str, int]], starts: list[int], multiply: int = 3) -> list[tuple[int, int]]:
    """Offer each case from its start on, at once where that has passed, and compare the results.

    Returns the cycles of each transfer and result.
    """
    rng = random.Random(81)
    dut = Norm(multiply=multiply)
    times: list[tuple[int, int]] = []

    async def bench(ctx) -> None:
        taken: list[int] = []
        saturated = None
        now = 0
        while len(times) < len(cases):
            begun, due = len(taken), len(times)
            offer = begun < len(cases) and now >= starts[begun]
            operands = cases[begun] if offer else {**rng.choice(cases), "normalise": cases[0]["normalise"]}
            ctx.set(dut.i.valid, offer)
            ctx.set(dut.i.payload, {name: operands[name] for name in operands if name not in LATE})
            accepted = offer and ctx.get(dut.i.ready)
            # The absmax is that of the next result as soon as its operands are taken, and so is its kind;
            # without `normalise` that of the operands that are taken.
            late = due if cases[0]["normalise"] else begun
            known = late < begun + accepted
            ctx.set(dut.mantissa, cases[late]["mantissa"] if known else rng.getrandbits(1))
            ctx.set(dut.maximum, cases[late]["maximum"] if known else rng.getrandbits(32))
            if saturated is not None:
                assert ctx.get(dut.saturated) == saturated
            if ctx.get(dut.done):
                found, wanted = ctx.get(dut.o), expected(cases[due])
                assert found == wanted, f"{cases[due]}: wanted {wanted:#010x}, found {found:#010x}"
                times.append((taken[due], now))
            saturated = None
            if accepted:
                saturated = operands["normalise"] and operands["total"] == SATURATED
                taken.append(now)
            await ctx.tick()
            now += 1
            assert now < 300 * len(cases), "no result"

    simulate(dut, bench)
    return times


@pytest.mark.parametrize(
    ("normalise", "latency", "interval", "multiply"),
    [(1, LATENCY, Norm.INTERVAL, 3), (1, LATENCY + 2, Norm.INTERVAL, 4), (0, 1, 1, 3)],
)
def test_scales(normalise, latency, interval, multiply):
    cases = [{**case, "normalise": normalise} for case in operands()]
    times = run(cases, [0] * len(cases), multiply)
    assert [finished for _, finished in times] == [latency + i * interval for i in range(len(cases))]


def test_gaps():
    """Pairs at every distance: the end of the first never disturbs the second, which it delays a little."""
    gaps = range(LATENCY + 2)
    some = operands()[:50]
    cases = [{**some[i % len(some)], "normalise": 1} for i in range(2 * len(gaps))]
    times = run(cases, [250 * i + gap * late for i, gap in enumerate(gaps) for late in (0, 1)])
    for first, second in zip(times[::2], times[1::2], strict=True):
        assert first[1] - first[0] == LATENCY
        soonest = max(second[0] + LATENCY, first[1] + Norm.INTERVAL)
        assert soonest <= second[1] < soonest + 11
        if second[0] > first[1]:
            assert second[1] == soonest


def test_verilog():
    check_verilog(Norm())
