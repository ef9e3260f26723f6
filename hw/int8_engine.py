"""Dot products of int8 vectors, for the language-model head."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree

__all__ = ["Int8Engine"]

PRODUCT_BITS = 16
SUM_BITS = 32


class Int8Engine(wiring.Component):
    """Multiplies units of int8 codes with as many activations and adds all products up to ``last``.

    Parameters
    ----------
    lanes : int
        Products a cycle.

    Attributes
    ----------
    latency : int
        Enabled cycles from ``last`` to ``valid``.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    take : In(1)
        Add the products of this unit.
    codes, activations : In(8 * lanes), In(8 * lanes)
        The unit: signed bytes, lane 0 lowest.
    last : In(1)
        The sum ends here, with this unit if ``take`` is 1 as well.
    valid : Out(1)
        ``sum`` is complete; stays until the pipeline advances.
    sum : Out(signed(32))
        Sum of products, modulo 2^32 (int8 rows of up to 2^16 never wrap).
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.tree = AdderTree(lanes, PRODUCT_BITS, tag=2)
        self.latency = 2 + self.tree.latency
        super().__init__({
            "en": In(1),
            "take": In(1),
            "codes": In(8 * lanes),
            "activations": In(8 * lanes),
            "last": In(1),
            "valid": Out(1),
            "sum": Out(signed(SUM_BITS)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = tree = self.tree
        unit = data.ArrayLayout(signed(8), self.lanes)
        codes, activations = data.View(unit, self.codes), data.View(unit, self.activations)

        marks = data.StructLayout({"take": 1, "last": 1})
        multiplied = Signal(marks)
        products = Signal(data.ArrayLayout(signed(PRODUCT_BITS), self.lanes), reset_less=True)
        with m.If(self.en):
            m.d.sync += [products[i].eq(codes[i] * activations[i]) for i in range(self.lanes)]
            m.d.sync += [multiplied.take.eq(self.take), multiplied.last.eq(self.last)]

        m.d.comb += [tree.en.eq(self.en), tree.i.eq(products), tree.tag.eq(multiplied)]

        added = data.View(marks, tree.tag_out)
        total = Signal(signed(SUM_BITS))
        m.d.comb += total.eq(Mux(self.valid, 0, self.sum) + Mux(added.take, tree.sum, 0))
        with m.If(self.en):
            m.d.sync += [self.sum.eq(total), self.valid.eq(added.last)]
        return m
