"""Statistics of the results of MAP: sum of squares and absmax of each segment, into slots."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .absmax import Absmax
from .delay_line import delay
from .isa import STATISTICS
from .square_sum import TOTAL_BITS, SquareSum
from .vector_tokens import count_tokens

__all__ = ["StatisticsWrite", "VectorStatistics"]


class StatisticsWrite(wiring.Signature):
    """Write the halves of statistics slots, each when it is finished (seen from the writer).

    Parameters
    ----------
    tokens : int
        Tokens of a tile.

    Members
    -------
    total_en, total_token, total_slot, total : Out(1), Out(range(tokens)), Out(range(STATISTICS)), Out(63)
        A sum of squares.
    maximum_en, maximum_token, maximum_slot, maximum
        The same with an absmax, binary32.
    """

    def __init__(self, tokens: int) -> None:
        slot, token = range(STATISTICS), range(tokens)
        super().__init__({
            "total_en": Out(1), "total_token": Out(token), "total_slot": Out(slot), "total": Out(TOTAL_BITS),
            "maximum_en": Out(1), "maximum_token": Out(token), "maximum_slot": Out(slot), "maximum": Out(32),
        })  # fmt: skip


class VectorStatistics(wiring.Component):
    """Gathers {sum of squares of z, absmax of z or of fl(z * gain)} and numbers the slots.

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.
    tokens : int
        Tokens of a tile.
    multiply : int
        Cycles of a multiplication, which are those from the last z of a segment to ``write``.

    Attributes
    ----------
    MAXIMUM_LATENCY : int
        Cycles from the last y of a segment to ``write``.

    Members
    -------
    start, slot : In(1), In(range(STATISTICS))
        The next segments belong to token 0, this slot and those after it. ``slot`` stays.
    grid, gain : In(signed(8)), In(1)
        Exponent of the grid of squares; whether the absmax is of y.
    z, z_valid, z_last : In(ArrayLayout(32, lanes)), In(1), In(1)
        A word of results; it is there; it ends a segment.
    y, y_valid, y_last : In(ArrayLayout(32, lanes)), In(1), In(1)
        A word of results times the gain; a word to take the absmax of is there, here or, without gain, in z;
        it ends a segment.
    z_final, y_final : In(1), In(1)
        With ``z_last`` and ``y_last``: the next segment is the first one of the next token.
    write : Out(StatisticsWrite(tokens))
        Finished statistics.
    """

    MAXIMUM_LATENCY = Absmax.LATENCY

    def __init__(self, lanes: int, tokens: int, multiply: int) -> None:
        self.lanes, self.tokens, self.multiply = lanes, tokens, multiply
        word, slot = ArrayLayout(32, lanes), range(STATISTICS)
        super().__init__({
            "start": In(1), "slot": In(slot), "grid": In(signed(8)), "gain": In(1),
            "z": In(word), "z_valid": In(1), "z_last": In(1), "z_final": In(1),
            "y": In(word), "y_valid": In(1), "y_last": In(1), "y_final": In(1),
            "write": Out(StatisticsWrite(tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.square_sum = square_sum = SquareSum(self.lanes, self.multiply)
        m.submodules.absmax = absmax = Absmax(self.lanes)
        write = self.write
        weighed = Signal.like(self.y)
        m.d.comb += [
            weighed.eq(Mux(self.gain, self.y, self.z)),
            square_sum.x.eq(self.z),
            square_sum.valid.eq(self.z_valid),
            square_sum.last.eq(self.z_last),
            square_sum.grid.eq(self.grid),
            absmax.x.eq(weighed),
            absmax.valid.eq(self.y_valid),
            absmax.last.eq(self.y_last),
            write.total_en.eq(square_sum.done),
            write.total.eq(square_sum.total),
            write.maximum_en.eq(absmax.done),
            write.maximum.eq(absmax.maximum),
        ]
        for name, en, slot, token, final, latency in (
            ("total_due", write.total_en, write.total_slot, write.total_token,
             self.z_final, square_sum.latency),
            ("maximum_due", write.maximum_en, write.maximum_slot, write.maximum_token,
             self.y_final, self.MAXIMUM_LATENCY),
        ):  # fmt: skip
            token_end = en & delay(m, final, latency) if self.tokens > 1 else Const(0)
            m.d.comb += token.eq(count_tokens(m, self.tokens, self.start, token_end, name))
            with m.If(en):
                m.d.sync += slot.eq(slot + 1)
            with m.If(self.start | token_end):
                m.d.sync += slot.eq(self.slot)
        return m
