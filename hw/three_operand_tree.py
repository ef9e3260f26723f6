"""A pipelined tree of adders of three operands."""

from amaranth.hdl import Const, Module, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent, primitives, shared
from .three_operand_adder import ThreeOperandAdder

__all__ = ["ThreeOperandTree"]


class ThreeOperandTree(SharedComponent):
    """The exact sum of numbers that are not negative, one sum a cycle. A register follows each level.

    With LUT6s (UltraScale+) a bit of an adder of three operands costs a LUT, as of one of two.

    Parameters
    ----------
    terms : int
        Numbers added, 1 or more.
    width : int
        Bits of each.
    levels : int or None
        Levels of adders; None for as many as leave one sum.

    Attributes
    ----------
    latency : int
        ``sum`` belongs to the terms of this many enabled cycles earlier. 0 for one term.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    i : In(ArrayLayout(width, terms))
        Terms.
    sum : Out(width + ceil(log2(terms)))
        Their sum. With ``levels`` instead:
    sums : Out(ArrayLayout(width + ceil(log2(3**levels)), ...))
        The sums that those levels leave.

    Raises
    ------
    ValueError
        If there are no terms.
    """

    def __init__(self, terms: int, width: int, levels: int | None = None) -> None:
        if terms < 1:
            raise ValueError(f"A tree of adders needs 1 term or more, not {terms!r}")
        self.terms, self.width, self.levels = terms, width, levels
        self.latency, left = 0, terms
        while left > 1 if levels is None else self.latency < levels:
            left, self.latency = -(-left // 3), self.latency + 1
        each = width + (min(terms, 3**self.latency) - 1).bit_length()
        super().__init__({
            "en": In(1),
            "i": In(data.ArrayLayout(unsigned(width), terms)),
            **({"sum": Out(each)} if levels is None else {"sums": Out(data.ArrayLayout(each, left))}),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        largest = (1 << self.width) - 1
        #: Numbers and the largest that each can be.
        row: list[tuple[Value, int]] = [(term, largest) for term in self.i]
        for level in range(self.latency):
            sums: list[tuple[Value, int]] = []
            for start in range(0, len(row), 3):
                group = row[start : start + 3]
                name = f"level{level}_{start // 3}"
                most = sum(bound for _, bound in group)
                if len(group) == 1:
                    total = Signal(most.bit_length(), name=name, reset_less=True)
                    with m.If(self.en):
                        m.d.sync += total.eq(group[0][0])
                else:
                    adder = ThreeOperandAdder(most.bit_length(), primitives(platform))
                    m.submodules[name] = shared(adder, platform)
                    operands = [*(value for value, _ in group), Const(0, 1)]
                    m.d.comb += [
                        adder.en.eq(self.en),
                        *(port.eq(v) for port, v in zip((adder.a, adder.b, adder.c), operands, strict=False)),
                    ]
                    total = adder.sum
                sums.append((total, most))
            row = sums
        if self.levels is None:
            m.d.comb += self.sum.eq(row[0][0])
        else:
            m.d.comb += [place.eq(value) for place, (value, _) in zip(self.sums, row, strict=True)]
        return m
