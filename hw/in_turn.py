"""From values of several tokens at once to one after another."""

from amaranth.hdl import Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .ports import TOKEN_BITS

__all__ = ["InTurn"]


class InTurn(wiring.Component):
    """Sends the values of all live tokens, one in each enabled cycle, the first in the cycle they come.

    Parameters
    ----------
    shape : Shape
        A value.
    tokens : int
        Tokens; for one there are only wires.

    Members
    -------
    en : In(1)
        Time passes in cycles in which this is 1, and only in those.
    more : In(TOKEN_BITS)
        Live tokens beside the first; changes only when nothing is under way.
    i_valid, i : In(1), In(ArrayLayout(shape, tokens))
        Values of all tokens; not before ``more`` + 1 enabled cycles have passed since the last ones.
    o_valid, o : Out(1), Out(shape)
        Value of one token.
    token, last : Out(TOKEN_BITS), Out(1)
        Which one; it is the last live one.
    """

    def __init__(self, shape: Shape, tokens: int) -> None:
        self.tokens = tokens
        super().__init__({
            "en": In(1),
            "more": In(TOKEN_BITS),
            "i_valid": In(1),
            "i": In(data.ArrayLayout(shape, tokens)),
            "o_valid": Out(1),
            "o": Out(shape),
            "token": Out(unsigned(TOKEN_BITS)),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.tokens == 1:
            m.d.comb += [self.o_valid.eq(self.i_valid), self.o.eq(self.i[0]), self.last.eq(1)]
            return m

        turn = Signal(range(self.tokens))
        held = Signal.like(self.i, reset_less=True)
        first = Signal()
        m.d.comb += [
            first.eq(turn == 0),
            self.o_valid.eq(self.i_valid | ~first),
            self.o.eq(Mux(first, self.i[0], held[turn])),
            self.token.eq(turn),
            self.last.eq(turn == self.more),
        ]
        with m.If(self.en & self.o_valid):
            m.d.sync += turn.eq(Mux(self.last, 0, turn + 1))
            with m.If(first):
                m.d.sync += held.eq(self.i)
        return m
