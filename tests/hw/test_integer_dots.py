"""CascadeDots: its form of cells beside its plain form, and which sizes fit; ThreeOperandTree: its sums."""

import random
from pathlib import Path

import pytest
from amaranth.sim import Simulator

from hw.integer_dots import CascadeDots, PackedDots, integer_dots
from hw.three_operand_tree import ThreeOperandTree

from .cell_forms import equal_forms


def equal(lanes: int, folder: Path, change: tuple[str, str] = ("", "")) -> bool:
    """Whether both forms have the same sums in random cycles, with pauses, cleared activations and the least
    weights and activations throughout; ``change`` is made to that of cells."""
    dut = CascadeDots(lanes, 8)
    inputs = {"en": 1, "weights": lanes * 16, "activations": lanes * 8, "off": lanes}
    results = {"dots": len(dut.dots.as_value()), "total": len(dut.total)}
    stimuli = f"""
        top.en = draw() % 8 != 0;
        bool least = draw() % 8 == 0;
        fill(top.weights, least);
        fill(top.activations, least);
        uint64_t mask = {(1 << lanes) - 1}ull;
        top.off = top.en && draw() % 2 ? mask & ((uint64_t)draw() << 32 | draw()) : 0;
    """
    return equal_forms(
        lambda: CascadeDots(lanes, 8), inputs, results, stimuli, "dsp48e2_cascade.v", folder, change
    )


@pytest.mark.parametrize("lanes", [16, 64])
def test_cells(lanes: int, tmp_path: Path):
    assert equal(lanes, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".RND(48'h000800020000", ".RND(48'h000800020001"),  # the constant of a first block
        ('.USE_SIMD("FOUR12")', '.USE_SIMD("ONE48")'),
    ],
)
def test_a_wrong_block_is_seen(right: str, wrong: str, tmp_path: Path):
    assert not equal(16, tmp_path, (right, wrong))


def test_which_form():
    """Cascades where the sums fit their fields whatever the weights and activations."""
    assert [type(integer_dots("xcup", lanes, 8)) for lanes in (2, 16, 64)] == [CascadeDots] * 3
    assert [type(integer_dots(*size)) for size in (("xcup", 64, 12), ("ecp5", 64, 8))] == [PackedDots] * 2
    with pytest.raises(ValueError, match="fit 18 bits"):
        CascadeDots(16, 12)


@pytest.mark.parametrize("levels", [None, 1, 2])
@pytest.mark.parametrize(("terms", "width"), [(2, 3), (3, 12), (4, 12), (8, 18), (16, 5), (50, 3)])
def test_tree(terms: int, width: int, levels: int | None):
    rng = random.Random(terms)
    dut = ThreeOperandTree(terms, width, levels)
    assert levels is None or dut.latency == levels
    due: list[int] = []

    async def bench(ctx) -> None:
        for _ in range(150):
            enable = rng.random() < 0.8
            top = (1 << width) - 1
            numbers = [rng.choice((0, top, top, rng.getrandbits(width))) for _ in range(terms)]
            if rng.random() < 0.2:
                numbers = [top] * terms
            ctx.set(dut.en, enable)
            ctx.set(dut.i, numbers)
            if enable:
                due.append(sum(numbers))
            await ctx.tick()
            if len(due) >= dut.latency:
                found = ctx.get(dut.sum) if levels is None else sum(ctx.get(dut.sums))
                assert found == due[-dut.latency]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    with pytest.raises(ValueError, match="1 term"):
        ThreeOperandTree(0, width)
