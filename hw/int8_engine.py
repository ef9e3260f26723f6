"""Dot products of int8 vectors, for the language-model head."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree

__all__ = ["Int8Engine"]

PRODUCT_BITS = 16
SUM_BITS = 32


class Int8Engine(wiring.Component):
    """Multiplies units of int8 codes with as many activations of each token and adds up to ``last``.

    Parameters
    ----------
    lanes : int
        Products a cycle, of one token.
    tokens : int
        Tokens that share the codes.

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
    codes, activations : In(8 * lanes), In(ArrayLayout(8 * lanes, tokens))
        The unit: signed bytes, lane 0 lowest.
    last : In(1)
        The sum ends here, with this unit if ``take`` is 1 as well.
    valid : Out(1)
        ``sums`` are complete; they stay until the pipeline advances.
    sums : Out(ArrayLayout(signed(32), tokens))
        Sums of products, modulo 2^32 (int8 rows of up to 2^16 never wrap).
    """

    def __init__(self, lanes: int, tokens: int) -> None:
        self.lanes = lanes
        # The tree of the first token carries the marks.
        self.trees = [AdderTree(lanes, PRODUCT_BITS, tag=0 if t else 2) for t in range(tokens)]
        self.latency = 2 + self.trees[0].latency
        super().__init__({
            "en": In(1),
            "take": In(1),
            "codes": In(8 * lanes),
            "activations": In(data.ArrayLayout(8 * lanes, tokens)),
            "last": In(1),
            "valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = data.ArrayLayout(signed(8), self.lanes)
        codes = data.View(unit, self.codes)

        marks = data.StructLayout({"take": 1, "last": 1})
        multiplied = Signal(marks)
        added = data.View(marks, self.trees[0].tag_out)
        m.d.comb += self.trees[0].tag.eq(multiplied)
        with m.If(self.en):
            m.d.sync += [
                multiplied.take.eq(self.take),
                multiplied.last.eq(self.last),
                self.valid.eq(added.last),
            ]

        for t, tree in enumerate(self.trees):
            m.submodules[f"tree{t}"] = tree
            activations = data.View(unit, self.activations[t])
            products = Signal(
                data.ArrayLayout(signed(PRODUCT_BITS), self.lanes), name=f"products{t}", reset_less=True
            )
            total = Signal(signed(SUM_BITS), name=f"total{t}")
            m.d.comb += [
                tree.en.eq(self.en),
                tree.i.eq(products),
                total.eq(Mux(self.valid, 0, self.sums[t]) + Mux(added.take, tree.sum, 0)),
            ]
            with m.If(self.en):
                m.d.sync += [products[i].eq(codes[i] * activations[i]) for i in range(self.lanes)]
                m.d.sync += self.sums[t].eq(total)
        return m
