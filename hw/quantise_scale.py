"""The factor that quantises a segment, and the scale that is stored with it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .fp32_div import Fp32Div

__all__ = ["ONE", "Levels", "QuantiseScale", "Scales", "live", "live_exponent"]

#: 1.0, 127.0, 32767.0 and 1024.0 as binary32.
ONE = 0x3F80_0000
_INT8_LEVELS = 0x42FE_0000
_INT16_LEVELS = 0x46FF_FE00
_HALF_MANTISSA_ONE = 0x4480_0000
#: Exponent field of 2^-100: an absolute maximum below it counts as 0.
_MIN_EXPONENT = 127 - 100

#: An absolute maximum, and what it becomes: 32767 where ``wide``, else 127; or where ``mantissa``, what the
#: power of two above it becomes: 2048.
Levels = StructLayout({"maximum": 32, "wide": 1, "mantissa": 1})
#: The factor fl(levels / maximum), or 0, and the live maximum.
Scales = StructLayout({"inverse": 32, "live": 32})


def live(maximum: Value) -> Value:
    """An absolute maximum, or 0 where it is below 2^-100 (`models.numerics.live_scale`)."""
    return Mux(maximum[23:31] < _MIN_EXPONENT, 0, maximum)


def live_exponent(maximum: Value) -> Value:
    """The least power of two above an absolute maximum, or 0 where this is below 2^-100; as
    `models.numerics.live_exponent`: above 2^127 it is infinite, infinity and NaN stay.
    """
    exponent = maximum[23:31]
    above = Mux(exponent.all(), maximum, Cat(Const(0, 23), (exponent + 1)[:8]))
    return Mux(exponent < _MIN_EXPONENT, 0, above)


class QuantiseScale(wiring.Component):
    """The factor by which a segment is multiplied before rounding, by one sequential division.

    Where the maximum is below 2^-100 the factor is 0: then every element, a NaN too, quantises to 0. So it is
    for mantissas where the power of two above the maximum is infinite, or the maximum is NaN. The factor of
    mantissas, 2048 by that power, is computed as 1024 by the one below: the maximum without its fraction.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of the transfer on ``i`` to the first in which ``o.valid`` is 1.

    Members
    -------
    i : In(stream.Signature(Levels))
        The segment's absolute maximum. Ready only while no division is in progress and no result waits.
    o : Out(stream.Signature(Scales))
        The factor and the scale to store. The scale of mantissas means nothing (NORM gives it).
    """

    LATENCY = Fp32Div.LATENCY

    i: In(stream.Signature(Levels))
    o: Out(stream.Signature(Scales))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.div = div = Fp32Div()
        maximum, mantissa = self.i.payload.maximum, self.i.payload.mantissa
        levels = Mux(self.i.payload.wide, _INT16_LEVELS, _INT8_LEVELS)
        huge = mantissa & maximum[24:31].all()
        scale = Signal(32, reset_less=True)
        m.d.comb += [
            div.i.payload.a.eq(Mux(mantissa, _HALF_MANTISSA_ONE, levels)),
            div.i.payload.b.eq(Cat(Mux(mantissa, 0, maximum[:23]), maximum[23:])),
            div.i.valid.eq(self.i.valid),
            self.i.ready.eq(div.i.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += scale.eq(Mux(huge, 0, live(maximum)))
        m.d.comb += [
            self.o.payload.live.eq(scale),
            self.o.payload.inverse.eq(Mux(scale.any(), div.o.payload, 0)),
            self.o.valid.eq(div.o.valid),
            div.o.ready.eq(self.o.ready),
        ]
        return m
