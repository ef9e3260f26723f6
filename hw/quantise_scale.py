"""The factor that quantises a segment, and the scale that is stored with it."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_div_pipelined import Fp32DivPipelined

__all__ = ["ONE", "Levels", "QuantiseScale", "live", "live_exponent"]

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
    """The factor by which a segment is multiplied before rounding: fl(levels / maximum), or 0; one a cycle.

    Where the maximum is below 2^-100 the factor is 0: then every element, a NaN too, quantises to 0. So it is
    for mantissas where the power of two above the maximum is infinite, or the maximum is NaN. The factor of
    mantissas, 2048 by that power, is computed as 1024 by the one below: the maximum without its fraction.

    Parameters
    ----------
    mantissas : bool
        Whether there are mantissas. Else ``i.mantissa`` is 0.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``i`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    i : In(Levels)
        The segment's absolute maximum.
    o : Out(32)
        The factor, binary32; undefined until ``LATENCY`` enabled cycles have passed.
    """

    LATENCY = Fp32DivPipelined.LATENCY

    en: In(1)
    i: In(Levels)
    o: Out(32)

    def __init__(self, mantissas: bool = True) -> None:
        self.mantissas = mantissas
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.div = div = Fp32DivPipelined()
        maximum, mantissa = self.i.maximum, self.i.mantissa if self.mantissas else Const(0, 1)
        levels = Mux(self.i.wide, _INT16_LEVELS, _INT8_LEVELS)
        huge = mantissa & maximum[24:31].all()
        nothing = huge | (maximum[23:31] < _MIN_EXPONENT)
        m.d.comb += [
            div.en.eq(self.en),
            div.a.eq(Mux(mantissa, _HALF_MANTISSA_ONE, levels)),
            div.b.eq(Cat(maximum[:23] & ~mantissa.replicate(23), maximum[23:])),
            self.o.eq(div.o & ~delay(m, nothing, div.LATENCY, self.en).replicate(32)),
        ]
        return m
