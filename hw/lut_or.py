"""A bitwise OR that synthesis finds before what follows from it."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent

__all__ = ["LutOr"]


class LutOr(SharedComponent):
    """``o`` is the OR of all words, at once: a module of its own, for words that come early in a cycle. As
    part of a sum with one that comes late they would go into its look-up tables, and make it deeper.

    Parameters
    ----------
    width, count : int
        Bits of a word; words.

    Members
    -------
    i : In(ArrayLayout(width, count))
        Words.
    o : Out(width)
        Their OR.
    """

    def __init__(self, width: int, count: int) -> None:
        self.width, self.count = width, count
        super().__init__({"i": In(ArrayLayout(width, count)), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(reduce(or_, (self.i[n] for n in range(self.count))))
        return m
