"""The factor that quantises a segment, and the scale that is stored with it."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .fp32_div import Fp32Div

__all__ = ["ONE", "Levels", "QuantiseScale", "Scales", "live"]

#: 1.0, 127.0 and 32767.0 as binary32.
ONE = 0x3F80_0000
_INT8_LEVELS = 0x42FE_0000
_INT16_LEVELS = 0x46FF_FE00
#: Exponent field of 2^-100: an absolute maximum below it counts as 0.
_MIN_EXPONENT = 127 - 100

#: An absolute maximum, and whether it becomes 32767 (or 127).
Levels = StructLayout({"maximum": 32, "wide": 1})
#: The factor fl(levels / maximum), or 0, and the live maximum.
Scales = StructLayout({"inverse": 32, "live": 32})


def live(maximum: Value) -> Value:
    """An absolute maximum, or 0 where it is below 2^-100 (`models.numerics.live_scale`)."""
    return Mux(maximum[23:31] < _MIN_EXPONENT, 0, maximum)


class QuantiseScale(wiring.Component):
    """The factor by which a segment is multiplied before rounding, by one sequential division.

    Where the maximum is below 2^-100 the factor is 0: then every element, a NaN too, quantises to 0.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of the transfer on ``i`` to the first in which ``o.valid`` is 1.

    Members
    -------
    i : In(stream.Signature(Levels))
        The segment's absolute maximum. Ready only while no division is in progress and no result waits.
    o : Out(stream.Signature(Scales))
        The factor and the scale to store.
    """

    LATENCY = Fp32Div.LATENCY

    i: In(stream.Signature(Levels))
    o: Out(stream.Signature(Scales))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.div = div = Fp32Div()
        maximum = live(self.i.payload.maximum)
        scale = Signal(32, reset_less=True)
        m.d.comb += [
            div.i.payload.a.eq(Mux(self.i.payload.wide, _INT16_LEVELS, _INT8_LEVELS)),
            div.i.payload.b.eq(self.i.payload.maximum),
            div.i.valid.eq(self.i.valid),
            self.i.ready.eq(div.i.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += scale.eq(maximum)
        m.d.comb += [
            self.o.payload.live.eq(scale),
            self.o.payload.inverse.eq(Mux(scale.any(), div.o.payload, 0)),
            self.o.valid.eq(div.o.valid),
            div.o.ready.eq(self.o.ready),
        ]
        return m
