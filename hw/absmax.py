"""Greatest magnitudes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, View
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_format import NAN, Binary32, is_nan, is_zero

__all__ = ["Absmax"]


def _larger(a: Value, b: Value) -> Value:
    """The greater of two unsigned values."""
    return Mux(a > b, a, b)


def _halved(numbers: list[Value]) -> list[Value]:
    return [_larger(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]


def _magnitude(x: View) -> Value:
    """The magnitude's bits, of NaN those of the canonical one, of a subnormal number 0."""
    kept = x.as_value()[:31] & ~(is_nan(x) | is_zero(x)).replicate(31)
    return kept | Mux(is_nan(x), NAN, 0)[:31]


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

        # Elements come late in a cycle: they are held first. Then a level of comparisons, of their bits as
        # they are (a NaN is above all numbers, a subnormal one below the others), then the others.
        taken = Signal.like(self.x, reset_less=True)
        m.d.sync += taken.eq(self.x)
        magnitudes: list[Value] = [_magnitude(Binary32(x)) for x in taken]
        if len(magnitudes) > 1:
            magnitudes = [
                Mux(taken[i][:31] > taken[i + 1][:31], magnitudes[i], magnitudes[i + 1])
                for i in range(0, self.lanes, 2)
            ]
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
