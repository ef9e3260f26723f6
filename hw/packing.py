"""Several products in one DSP block: how operands are packed, as data.

A DSP block multiplies two wide signed numbers. If one is the sum of several weights, each shifted by an
offset of its own, and the other of several activations, their product is the sum of all products of a weight
and an activation, each at the sum of its offsets: a field of the result. `PackedMultiplier` takes them out of
it again, exactly, whatever the offsets, fields that overlap included.

Sources: Xilinx WP486 (two int8 products in a DSP48E2); J. Sommer et al., "DSP-Packing: Squeezing
Low-precision Arithmetic into FPGA DSP Blocks", FPL 2022 (offsets of both operands; overlapping fields,
"overpacking"). There the fields of an overpacking are wrong by a little; here the bits that another field
lies upon are computed beside.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

__all__ = ["DSP48E2", "FAMILIES", "MULT18X18D", "ROWS", "Dsp", "EnginePackings", "Field", "Packing"]


@dataclass(frozen=True)
class Dsp:
    """The multiplier of a DSP block: signed operands of so many bits.

    `cell` is its name in a netlist. `pre_adder`: it adds two wide operands before it multiplies, which forms
    the sum of two shifted weights (a synthesis that does not use it adds them in look-up tables).
    """

    cell: str
    weight_bits: int
    activation_bits: int
    result_bits: int
    pre_adder: bool


#: UltraScale+ (AMD UG579): 27 x 18 bits, result of 48 bits.
DSP48E2 = Dsp("DSP48E2", weight_bits=27, activation_bits=18, result_bits=48, pre_adder=True)
#: ECP5 (Lattice FPGA-TN-02205): 18 x 18 bits, result of 36 bits.
MULT18X18D = Dsp("MULT18X18D", weight_bits=18, activation_bits=18, result_bits=36, pre_adder=False)


class Field(NamedTuple):
    """A product in the result: the offset of its lowest bit, its weight and its activation."""

    offset: int
    weight: int
    activation: int


def _span(bits: int, offsets: tuple[int, ...]) -> tuple[int, int]:
    """Least and largest sum of signed numbers of so many bits at these offsets."""
    ones = sum(1 << offset for offset in offsets)
    return -ones << bits - 1, ones * ((1 << bits - 1) - 1)


def _fits(low: int, high: int, bits: int) -> bool:
    return -(1 << bits - 1) <= low and high < 1 << bits - 1


@dataclass(frozen=True)
class Packing:
    """One way to pack: all products of some signed weights and some signed activations in one DSP block.

    Raises
    ------
    ValueError
        If offsets do not rise from 0, two products share a field, or a packed operand or the result does not
        fit the block for some weights and activations of these widths.
    """

    dsp: Dsp
    weight_bits: int
    activation_bits: int
    weight_offsets: tuple[int, ...]
    activation_offsets: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        def need(ok: bool, wanted: str) -> None:
            if not ok:
                raise ValueError(f"a packing on {self.dsp.cell} needs {wanted}, found {self!r}")

        for name in ("weight", "activation"):
            bits, offsets = getattr(self, f"{name}_bits"), getattr(self, f"{name}_offsets")
            rising = offsets[:1] == (0,) and all(a < b for a, b in pairwise(offsets))
            port = getattr(self.dsp, f"{name}_bits")
            need(bits >= 2, f"{name}_bits of 2 or more")
            need(rising, f"{name}_offsets that rise from 0")
            need(_fits(*_span(bits, offsets), port), f"{name}s whose sum fits {port} signed bits")
        offsets = [field.offset for field in self.fields]
        need(len(set(offsets)) == len(offsets), "an offset of its own for each product")
        weights = _span(self.weight_bits, self.weight_offsets)
        activations = _span(self.activation_bits, self.activation_offsets)
        products = [w * x for w in weights for x in activations]
        bits = self.dsp.result_bits
        need(_fits(min(products), max(products), bits), f"a result that fits {bits} signed bits")

    @property
    def fields(self) -> tuple[Field, ...]:
        """All products, the lowest first."""
        return tuple(
            sorted(
                Field(w + x, i, j)
                for i, w in enumerate(self.weight_offsets)
                for j, x in enumerate(self.activation_offsets)
            )
        )

    @property
    def products(self) -> int:
        """Products in one block."""
        return len(self.fields)

    @property
    def product_bits(self) -> int:
        """Bits of a product: every one fits, that of the two least numbers too."""
        return self.weight_bits + self.activation_bits

    @property
    def overlaps(self) -> tuple[int, ...]:
        """For each product but the last, how many of its upper bits lie upon the next field."""
        offsets = [field.offset for field in self.fields]
        return tuple(max(0, self.product_bits - (b - a)) for a, b in pairwise(offsets))


@dataclass(frozen=True)
class EnginePackings:
    """How the engine of LINEAR and HEAD packs the weights of two rows on a family's DSP block.

    `wide` takes int8 weights, and int4 ones with their sign extended; `narrow` int4 ones only. Both take one
    activation.
    """

    wide: Packing
    narrow: Packing

    def of(self, activation_bits: int) -> "EnginePackings":
        """The same for activations of so many bits."""
        return EnginePackings(
            replace(self.wide, activation_bits=activation_bits),
            replace(self.narrow, activation_bits=activation_bits),
        )


#: By family. Offsets are the largest that fit the weights' port with -128 (or -8) in both rows.
FAMILIES = {
    "xcup": EnginePackings(Packing(DSP48E2, 8, 12, (0, 18)), Packing(DSP48E2, 4, 12, (0, 18))),
    "ecp5": EnginePackings(Packing(MULT18X18D, 8, 12, (0, 9)), Packing(MULT18X18D, 4, 12, (0, 13))),
}

#: What is studied (`bench.packing`), by name: those of the engines and others.
ROWS = {
    "xcup 2 int8 x 12 bit": FAMILIES["xcup"].wide,
    "xcup 2 int8 x int8": FAMILIES["xcup"].of(8).wide,
    "xcup 3 int4 x int8": Packing(DSP48E2, 4, 8, (0, 11, 22)),
    "xcup 4 int4 x int8": Packing(DSP48E2, 4, 8, (0, 7, 14, 21)),
    "xcup 2 int4 x 2 int8": Packing(DSP48E2, 4, 8, (0, 18), (0, 9)),
    "ecp5 2 int8 x 12 bit": FAMILIES["ecp5"].wide,
    "ecp5 2 int8 x int8": FAMILIES["ecp5"].of(8).wide,
    "ecp5 2 int4 x 12 bit": FAMILIES["ecp5"].narrow,
    "ecp5 2 int4 x int8": FAMILIES["ecp5"].of(8).narrow,
    "ecp5 3 int4 x int8": Packing(MULT18X18D, 4, 8, (0, 7, 13)),
    "ecp5 4 int4 x int8": Packing(MULT18X18D, 4, 8, (0, 5, 9, 13)),
}
