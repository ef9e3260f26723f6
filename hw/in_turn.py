"""From values of several tokens and rows at once to one after another."""

from amaranth.hdl import Array, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .ports import TOKEN_BITS

__all__ = ["InTurn"]


class InTurn(wiring.Component):
    """Sends the values of all live tokens, one in each enabled cycle, the first in the cycle they come.

    Row by row; in a row token by token.

    Parameters
    ----------
    shape : Shape
        A value.
    tokens : int
        Tokens; for one of one row there are only wires.
    rows : int
        Rows whose values come together: 1 or 2.

    Members
    -------
    en : In(1)
        Time passes in cycles in which this is 1, and only in those.
    more : In(TOKEN_BITS)
        Live tokens beside the first; changes only when nothing is under way.
    i_valid, i : In(1), In(ArrayLayout(shape, rows * tokens))
        Values of all tokens, those of the first row first; not before (``more`` + 1) * rows enabled cycles
        have passed since the last ones.
    single : In(1)
        With ``i_valid``: only the first row's values are sent.
    o_valid, o : Out(1), Out(shape)
        Value of one token.
    token, row : Out(TOKEN_BITS), Out(1)
        Which one.
    last, final : Out(1), Out(1)
        It is the last live token of its row; and of the last row that is sent.
    """

    def __init__(self, shape: Shape, tokens: int, rows: int = 1) -> None:
        self.tokens, self.rows = tokens, rows
        super().__init__({
            "en": In(1),
            "more": In(TOKEN_BITS),
            "i_valid": In(1),
            "i": In(data.ArrayLayout(shape, rows * tokens)),
            "single": In(1),
            "o_valid": Out(1),
            "o": Out(shape),
            "token": Out(unsigned(TOKEN_BITS)),
            "row": Out(1),
            "last": Out(1),
            "final": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.tokens * self.rows == 1:
            m.d.comb += [
                self.o_valid.eq(self.i_valid),
                self.o.eq(self.i[0]),
                self.last.eq(1),
                self.final.eq(1),
            ]
            return m

        turn = Signal(range(max(2, self.tokens)))
        row = Signal()
        held = Signal.like(self.i, reset_less=True)
        held_single = Signal()
        first = Signal()
        of_row = [Array(held[r * self.tokens : (r + 1) * self.tokens])[turn] for r in range(self.rows)]
        m.d.comb += [
            first.eq((turn == 0) & ~row),
            self.o_valid.eq(self.i_valid | ~first),
            self.o.eq(Mux(first, self.i[0], Mux(row, of_row[-1], of_row[0]))),
            self.token.eq(turn),
            self.row.eq(row),
            self.last.eq(turn == self.more),
            self.final.eq(self.last & (row | Mux(first, self.single, held_single) | (self.rows == 1))),
        ]
        with m.If(self.en & self.o_valid):
            m.d.sync += turn.eq(Mux(self.last, 0, turn + 1))
            with m.If(self.last):
                m.d.sync += row.eq(~self.final)
            with m.If(first):
                m.d.sync += [held.eq(self.i), held_single.eq(self.single)]
        return m
