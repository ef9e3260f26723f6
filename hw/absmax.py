"""Greatest magnitudes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .fp32_format import NAN, Binary32, is_nan, is_zero

__all__ = ["Absmax"]


def _larger(a: Value, b: Value) -> Value:
    """The greater of two unsigned values."""
    return Mux(a > b, a, b)


class Absmax(wiring.Component):
    """Greatest magnitude of a segment, as `models.numerics.absmax`.

    A subnormal number counts as 0, NaN as more than all numbers. One word a cycle, with any gaps.
    Magnitudes of binary32 numbers are in the order of their bits.

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.

    Attributes
    ----------
    LATENCY : int
        ``done`` follows ``valid & last`` by this many cycles.

    Members
    -------
    valid, last : In(1)
        A word is presented; it ends a segment.
    x : In(ArrayLayout(32, lanes))
        The word: binary32 elements.
    done : Out(1)
        ``maximum`` is that of a finished segment, in this cycle only.
    maximum : Out(32)
        Binary32, +0 or more; NaN is 0x7FC00000.
    """

    LATENCY = 1

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "valid": In(1),
                "last": In(1),
                "x": In(ArrayLayout(32, lanes)),
                "done": Out(1),
                "maximum": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        magnitudes: list[Value] = []
        for lane in range(self.lanes):
            x = Binary32(self.x[lane])
            magnitude = Signal(31, name=f"magnitude_{lane}")
            m.d.comb += magnitude.eq(Mux(is_nan(x), NAN, Mux(is_zero(x), 0, self.x[lane][:31])))
            magnitudes.append(magnitude)
        while len(magnitudes) > 1:
            magnitudes = [_larger(a, b) for a, b in zip(magnitudes[::2], magnitudes[1::2], strict=True)]
        word = Signal(31, reset_less=True)
        valid = Signal()
        last = Signal()
        m.d.sync += [
            word.eq(magnitudes[0]),
            valid.eq(self.valid),
            last.eq(self.valid & self.last),
        ]

        so_far = Signal(31)
        m.d.comb += [
            self.maximum.eq(_larger(word, so_far)),
            self.done.eq(last),
        ]
        with m.If(valid):
            m.d.sync += so_far.eq(Mux(last, 0, self.maximum))
        return m
