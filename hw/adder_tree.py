"""A pipelined tree of adders."""

from amaranth.hdl import Module, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent

__all__ = ["AdderTree"]

#: Levels of adders between two registers.
LEVELS_PER_STAGE = 2


class AdderTree(SharedComponent):
    """The exact sum of signed integers, one sum a cycle, with a tag that travels beside it.

    A register follows every second level and the last one.

    Parameters
    ----------
    terms : int
        Numbers added, 1 or more.
    width : int
        Bits of each.
    tag : int
        Bits of the tag; 0 for a tree beside another one that carries it.

    Attributes
    ----------
    latency : int
        ``sum`` and ``tag_out`` belong to the inputs of this many enabled cycles earlier. 0 for one term.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    i : In(ArrayLayout(signed(width), terms))
        Terms.
    tag : In(tag)
        What goes along with them; 0 in all stages after reset. Without bits, it and ``tag_out`` are absent.
    sum : Out(signed(width + ceil(log2(terms))))
        Their sum.
    tag_out : Out(tag)
        The tag of that sum.

    Raises
    ------
    ValueError
        If there are no terms.
    """

    def __init__(self, terms: int, width: int, tag: int) -> None:
        if terms < 1:
            raise ValueError(f"An adder tree needs 1 term or more, not {terms!r}")
        self.tag_bits = tag
        self.levels = (terms - 1).bit_length()
        self.latency = -(-self.levels // LEVELS_PER_STAGE)
        super().__init__({
            "en": In(1),
            "i": In(data.ArrayLayout(signed(width), terms)),
            "sum": Out(signed(width + self.levels)),
            **({"tag": In(unsigned(tag)), "tag_out": Out(unsigned(tag))} if tag else {}),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()

        row: list[Value] = list(self.i)
        tag = self.tag if self.tag_bits else None
        for level in range(1, self.levels + 1):
            sums = [a + b for a, b in zip(row[::2], row[1::2], strict=False)] + row[len(row) & ~1 :]
            if level % LEVELS_PER_STAGE == 0 or level == self.levels:
                row = []
                for i, total in enumerate(sums):
                    register = Signal(total.shape(), name=f"level{level}_{i}", reset_less=True)
                    with m.If(self.en):
                        m.d.sync += register.eq(total)
                    row.append(register)
                if tag is not None:
                    delayed = Signal.like(tag, name=f"tag{level}")
                    with m.If(self.en):
                        m.d.sync += delayed.eq(tag)
                    tag = delayed
            else:
                row = sums

        m.d.comb += self.sum.eq(row[0])
        if tag is not None:
            m.d.comb += self.tag_out.eq(tag)
        return m
