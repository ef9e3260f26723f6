"""SquareSum against numerics: segments of random lengths with gaps, at every grid."""

import random
from pathlib import Path

import pytest
import torch
from amaranth.hdl import Elaboratable
from torch import Tensor

from hw.square_sum import SquareSum
from models import numerics

from .cell_forms import equal_forms
from .test_fp32_format import check_verilog, simulate
from .test_fp32_reference import corners, random_bits, with_exponent

SATURATED = numerics.SQUARE_SUM_MAX


def check_segments(
    dut: Elaboratable,
    segments: list[list[int]],
    settings: list[dict[str, int]],
    wanted: list[int],
    output: str,
) -> None:
    """Send ``segments`` of words, with gaps; ``done`` comes LATENCY after each last word, and only then."""
    rng = random.Random(7)

    async def bench(ctx) -> None:
        due: list[tuple[int, int]] = []
        now = 0

        async def step() -> None:
            nonlocal now
            await ctx.tick()
            now += 1
            done = ctx.get(dut.done)
            assert done == bool(due and due[0][0] == now)
            if done:
                segment = due.pop(0)[1]
                found = ctx.get(getattr(dut, output))
                assert found == wanted[segment], (
                    f"segment {segment}: wanted {wanted[segment]:#x}, found {found:#x}"
                )

        latency = dut.latency if isinstance(dut, SquareSum) else dut.LATENCY
        for i, (segment, setting) in enumerate(zip(segments, settings, strict=True)):
            if i and setting != settings[i - 1]:
                while due:
                    await step()
            for name, number in setting.items():
                ctx.set(getattr(dut, name), number)
            for j in range(0, len(segment), dut.lanes):
                ctx.set(dut.valid, 0)
                ctx.set(dut.last, 1)
                while rng.random() < 0.2:
                    await step()
                ctx.set(dut.valid, 1)
                ctx.set(dut.x, segment[j : j + dut.lanes])
                ctx.set(dut.last, j + dut.lanes == len(segment))
                if j + dut.lanes == len(segment):
                    due.append((now + latency, i))
                await step()
            ctx.set(dut.valid, 0)
        while due:
            await step()

    simulate(dut, bench)


def floats(bits: list[int]) -> Tensor:
    return numerics.bits_float(torch.tensor(bits))


@pytest.mark.parametrize(("lanes", "multiply"), [(4, 4), (8, 3)])
def test_totals(lanes, multiply):
    rng = random.Random(60 + lanes)
    grids = [-128, -80, -44, -43, -1, 0, 1, 50, 127]
    segments, settings = [], []
    for grid in grids:
        # Squares of every size from nothing to saturation; some with a corner; some near the limit.
        reach = [(grid + shift) // 2 + 127 for shift in range(-2, 66)]
        for _ in range(12):
            largest = rng.choice(reach[:-4])
            words = rng.randrange(1, 8)
            segments.append(
                [
                    with_exponent(
                        random_bits(rng), rng.choice((largest, largest - 1, largest - rng.randrange(30)))
                    )
                    for _ in range(words * lanes)
                ]
            )
        for corner in corners():
            if rng.random() < 0.4:
                segment = [with_exponent(random_bits(rng), reach[20]) for _ in range(2 * lanes)]
                segment[rng.randrange(2 * lanes)] = corner
                segments.append(segment)
        for exponent in reach[-8:]:
            segments.append([with_exponent(random_bits(rng), exponent)] + [0] * (lanes - 1))
            segments.append([with_exponent(random_bits(rng), exponent) for _ in range(2 * lanes)])
        settings += [{"grid": grid}] * (len(segments) - len(settings))
    wanted = [
        int(numerics.square_sum(floats(segment), setting["grid"])[0])
        for segment, setting in zip(segments, settings, strict=True)
    ]
    assert SATURATED in wanted
    assert len(set(wanted)) > len(wanted) // 2
    check_segments(SquareSum(lanes, multiply), segments, settings, wanted, "total")


@pytest.mark.parametrize(("segment", "total"), [
    ([0x5F000000, 0, 0, 0], SATURATED),  # 2^63 squared on the grid 2^63
    ([0x5EFFFFFF, 0, 0, 0], (0xFFFFFF**2 << 78) >> 63),
    ([0x5E800000, 0x5E800000, 0x5E800000, 0x5E800000], SATURATED),  # four of 2^61
    ([0x5E800000, 0x5E800000, 0x5E800000, 0], 3 << 61),
    ([0x5E800000, 0x5E800000, 0x5E800000, 0x5E7FFFFF], None),
    ([0x5F000000, 0, 0, 0, 0, 0, 0, 0], SATURATED),  # stays saturated
])  # fmt: skip
def test_edges(segment, total):
    grid = 63
    exact = int(numerics.square_sum(floats(segment), grid)[0])
    assert total is None or exact == total
    check_segments(SquareSum(4), [segment], [{"grid": grid}], [exact], "total")


def test_verilog():
    check_verilog(SquareSum(4))


@pytest.mark.parametrize("change", [("", ""), (".OPMODE(9'h005)", ".OPMODE(9'h015)")])
def test_cells(change: tuple[str, str], tmp_path: Path):
    """The form of UltraScale+ cells has the sums of the plain form; a wrong block is seen."""
    stimuli = """
        uint32_t x[2];
        for (auto& word : x) word = (90 + draw() % 46) << 23 | (draw() & 0x7fffff);
        std::memcpy(&top.x, x, sizeof x);
        top.valid = draw() % 8 != 0; top.last = draw() % 4 == 0; top.grid = -44;
    """
    inputs, results = {"valid": 1, "last": 1, "x": 64, "grid": 8}, {"done": 1, "total": 63}
    same = equal_forms(lambda: SquareSum(2), inputs, results, stimuli, "dsp48e2_product.v", tmp_path, change)
    assert same == (not change[0])
