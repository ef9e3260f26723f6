"""Statistics of the results of MAP: sum of squares and absmax of each segment, into slots."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .absmax import Absmax
from .isa import STATISTICS
from .square_sum import TOTAL_BITS, SquareSum

__all__ = ["StatisticsWrite", "VectorStatistics"]


class StatisticsWrite(wiring.Signature):
    """Write the halves of statistics slots, each when it is finished (seen from the writer).

    Members
    -------
    total_en, total_slot, total : Out(1), Out(range(STATISTICS)), Out(63)
        A sum of squares.
    maximum_en, maximum_slot, maximum : Out(1), Out(range(STATISTICS)), Out(32)
        An absmax, binary32.
    """

    def __init__(self) -> None:
        slot = range(STATISTICS)
        super().__init__(
            {"total_en": Out(1), "total_slot": Out(slot), "total": Out(TOTAL_BITS),
             "maximum_en": Out(1), "maximum_slot": Out(slot), "maximum": Out(32)}
        )  # fmt: skip


class VectorStatistics(wiring.Component):
    """Gathers {sum of squares of z, absmax of z or of fl(z * gain)} and numbers the slots.

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.

    Attributes
    ----------
    TOTAL_LATENCY, MAXIMUM_LATENCY : int
        Cycles from the last word of a segment, of z and y, to ``write``.

    Members
    -------
    start, slot : In(1), In(range(STATISTICS))
        The next segments belong to this slot and those after it.
    grid, gain : In(signed(8)), In(1)
        Exponent of the grid of squares; whether the absmax is of y.
    z, z_valid, z_last : In(ArrayLayout(32, lanes)), In(1), In(1)
        A word of results; it is there; it ends a segment.
    y, y_valid, y_last : In(ArrayLayout(32, lanes)), In(1), In(1)
        A word of results times the gain; a word to take the absmax of is there, here or, without gain, in z;
        it ends a segment.
    write : Out(StatisticsWrite())
        Finished statistics.
    """

    TOTAL_LATENCY = SquareSum.LATENCY
    MAXIMUM_LATENCY = Absmax.LATENCY

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        word, slot = ArrayLayout(32, lanes), range(STATISTICS)
        super().__init__({
            "start": In(1), "slot": In(slot), "grid": In(signed(8)), "gain": In(1),
            "z": In(word), "z_valid": In(1), "z_last": In(1),
            "y": In(word), "y_valid": In(1), "y_last": In(1),
            "write": Out(StatisticsWrite()),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.square_sum = square_sum = SquareSum(self.lanes)
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
        for en, slot in ((write.total_en, write.total_slot), (write.maximum_en, write.maximum_slot)):
            with m.If(en):
                m.d.sync += slot.eq(slot + 1)
            with m.If(self.start):
                m.d.sync += slot.eq(self.slot)
        return m
