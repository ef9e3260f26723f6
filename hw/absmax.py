"""Greatest magnitudes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_format import NAN, Binary32, is_nan, is_zero

__all__ = ["Absmax"]


def _larger(a: Value, b: Value) -> Value:
    """The greater of two unsigned values."""
    return Mux(a > b, a, b)


def _halved(numbers: list[Value]) -> list[Value]:
    return [_larger(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]


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

    LATENCY = 3

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

        # Elements come late in a cycle: they are held first. Then a level of comparisons, then the others.
        taken = Signal.like(self.x, reset_less=True)
        m.d.sync += taken.eq(self.x)
        magnitudes: list[Value] = []
        for lane in range(self.lanes):
            x = Binary32(taken[lane])
            magnitude = Signal(31, name=f"magnitude_{lane}")
            m.d.comb += magnitude.eq(Mux(is_nan(x), NAN, Mux(is_zero(x), 0, taken[lane][:31])))
            magnitudes.append(magnitude)
        if len(magnitudes) > 1:
            magnitudes = _halved(magnitudes)
        held = [Signal(31, name=f"held_{i}", reset_less=True) for i in range(len(magnitudes))]
        m.d.sync += [register.eq(one) for register, one in zip(held, magnitudes, strict=True)]
        magnitudes = list(held)
        while len(magnitudes) > 1:
            magnitudes = _halved(magnitudes)
        word = Signal(31, reset_less=True)
        m.d.sync += word.eq(magnitudes[0])
        valid = delay(m, self.valid, self.LATENCY)
        last = delay(m, self.valid & self.last, self.LATENCY)

        so_far = Signal(31)
        m.d.comb += [
            self.maximum.eq(_larger(word, so_far)),
            self.done.eq(last),
        ]
        with m.If(valid):
            m.d.sync += so_far.eq(Mux(last, 0, self.maximum))
        return m
