"""Packings: which are refused, and every product of a PackedMultiplier, in RTL and after synthesis."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.synthesis import synthesise
from hw.integer_engine import IntegerEngine
from hw.machine import CI
from hw.packed_multiplier import PackedMultiplier
from hw.packing import DSP48E2, FAMILIES, MULT18X18D, ROWS, Dsp, Packing

from .packed_bench import build, check, gates, operand_bits, rtl, word

#: Rows with few enough operands for all of them in RTL; and in gates.
SMALL, SMALLER = 24, 20


def corners(packing: Packing) -> list[int]:
    """Words of operands at the ends of their ranges and around 0, in all combinations."""
    choices = [
        (-(1 << bits - 1), 1 - (1 << bits - 1), -1, 0, 1, (1 << bits - 1) - 1)
        for bits, offsets in (
            (packing.weight_bits, packing.weight_offsets),
            (packing.activation_bits, packing.activation_offsets),
        )
        for _ in offsets
    ]
    count = len(packing.weight_offsets)
    return [word(packing, all_[:count], all_[count:]) for all_ in itertools.product(*choices)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"weight_offsets": (0, 19)}, "weights whose sum fits 27"),  # -128 in both rows
        ({"weight_offsets": (1, 18)}, "rise from 0"),
        ({"weight_offsets": (0, 18, 9)}, "rise from 0"),
        ({"weight_offsets": ()}, "rise from 0"),
        ({"weight_bits": 1}, "weight_bits of 2"),
        ({"activation_offsets": (0, 7)}, "activations whose sum fits 18"),
        ({"activation_bits": 6, "weight_offsets": (0, 9), "activation_offsets": (0, 9)}, "offset of its own"),
        ({"dsp": replace(DSP48E2, result_bits=36)}, "a result that fits 36"),
        ({"dsp": MULT18X18D}, "weights whose sum fits 18"),
    ],
)
def test_refused(fields: dict, problem: str):
    with pytest.raises(ValueError, match=problem):
        replace(FAMILIES["xcup"].wide, **fields)


def test_overlaps():
    """Bits of a product upon the next field, for the rows that the engines use."""
    found = {
        (family, bits): (row.wide.overlaps, row.narrow.overlaps)
        for family, engine in FAMILIES.items()
        for bits in (8, 12)
        for row in [engine.of(bits)]
    }
    assert found == {
        ("xcup", 8): ((0,), (0,)), ("xcup", 12): ((2,), (0,)),
        ("ecp5", 8): ((7,), (0,)), ("ecp5", 12): ((11,), (3,)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rtl(name: str):
    """All operands where they are few; else many, and the ends of all ranges in all combinations."""
    packing = ROWS[name]
    bits = operand_bits(packing)
    simulator = build(packing, rtl(packing))
    arguments, count = ("all", 1 << bits) if bits <= SMALL else ("random", 1 << 22)
    assert check(simulator, (arguments, str(count))) == count
    words = corners(packing)
    assert check(simulator, words=words) == len(words)


def operand(bits: int) -> st.SearchStrategy[int]:
    """Numbers of so many bits, most of them near the ends of the range, near 0 or near a power of two."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    powers = [s * (1 << i) + d for i in range(bits) for s in (-1, 1) for d in (-1, 0, 1)]
    near = sorted(p for p in {*powers, low, low + 1, high} if low <= p <= high)
    return st.one_of(st.sampled_from(near), st.integers(low, high))


@pytest.mark.parametrize("family", FAMILIES)
def test_widest_row(family: str):
    """Two int8 weights and 12 bits, too many for all: sequences of odd numbers, shrunk where one is wrong."""
    packing = FAMILIES[family].wide
    simulator = build(packing, rtl(packing))
    operands = st.tuples(operand(8), operand(8), operand(12))

    @settings(max_examples=40, deadline=None)
    @given(st.lists(operands, min_size=1, max_size=300))
    def right(sequence: list[tuple[int, int, int]]) -> None:
        words = [word(packing, (even, odd), (x,)) for even, odd, x in sequence]
        assert check(simulator, words=words) == len(words)

    right()


#: Those of the engines, and one each of three and of four products; `make bench-engines` checks all.
OFTEN = ("xcup 2 int8 x 12 bit", "xcup 4 int4 x int8", "ecp5 2 int8 x 12 bit", "ecp5 2 int4 x 12 bit",
         "ecp5 3 int4 x int8")  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.bench) for name in ROWS]
)
def test_netlist(name: str):
    """After synthesis: one DSP block, and the same products from its cells."""
    packing = ROWS[name]
    netlist = synthesise(PackedMultiplier(packing), name.split()[0])
    assert netlist.dsps == 1
    simulator = build(packing, gates(netlist))
    bits = operand_bits(packing)
    arguments, count = ("all", 1 << bits) if bits <= SMALLER else ("random", 1 << 20)
    assert check(simulator, (arguments, str(count))) == count
    words = corners(packing)
    assert check(simulator, words=words) == len(words)


@pytest.mark.parametrize(("family", "dsp"), [("xcup", DSP48E2), ("ecp5", MULT18X18D)])
def test_model_of_the_block(family: str, dsp: Dsp):
    """One product as wide as the block's ports: our model of it, signs and all, against plain products."""
    packing = Packing(dsp, dsp.weight_bits, dsp.activation_bits, (0,))
    netlist = synthesise(PackedMultiplier(packing), family)
    assert (netlist.dsps, netlist.luts) == (1, 0)
    simulator = build(packing, gates(netlist))
    assert check(simulator, ("random", str(1 << 20))) == 1 << 20
    words = corners(packing)
    assert check(simulator, words=words) == len(words)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_the_engine(family: str):
    """An engine of one token: a DSP block for each byte of codes, two for each row's group stage."""
    lanes = 4
    config = replace(CI, head_lanes=lanes, tile=1, family=family)
    assert synthesise(IntegerEngine(config), family).dsps == lanes + 2 * 2
