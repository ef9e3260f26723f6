"""Weights of attention: probability times relative value scale."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay

__all__ = ["ValueWeight", "biased_ceiling"]

PROBABILITY_BITS = 24
FRACTION_BITS = 23
#: A product of two 24-bit numbers, shifted this much further than its fraction, rounds to 0.
DEEPEST = PROBABILITY_BITS + 2


def biased_ceiling(bits: Value) -> Value:
    """Biased exponent of the least power of two at or above a binary32 >= 0; 1 for +0.

    This is ``numerics.value_exponent`` + 127. It is the exponent field of that power: above 2**127, and for
    NaN, it is 255, that of infinity.
    """
    exponent = bits[FRACTION_BITS:31]
    return Mux(bits[:31] == 0, 1, exponent + (bits[:FRACTION_BITS].any() & ~exponent.all()))[:8]


class ValueWeight(wiring.Component):
    """A pipelined multiplier: ``o = round_shift(probability * scale / 2**exponent)``.

    The arithmetic of ``numerics.value_weight``. One weight a cycle; the stages are product, shift and
    rounding (to nearest, halves upwards).

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the inputs presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    probability : In(24)
        u0.24.
    scale : In(32)
        Value scale, binary32: +0 or a positive normal number not above 2**exponent; infinity, NaN
        like it.
    exponent : In(8)
        Biased exponent, see `biased_ceiling`.
    o : Out(24)
        u0.24; undefined until ``LATENCY`` enabled cycles have passed.
    """

    LATENCY = 3

    en: In(1)
    probability: In(PROBABILITY_BITS)
    scale: In(32)
    exponent: In(8)
    o: Out(PROBABILITY_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # The significand is s * 2**(23 - its exponent); the shift undoes that, less one bit for the rounding.
        fraction = Mux(self.scale[FRACTION_BITS:31].all(), 0, self.scale[:FRACTION_BITS])
        significand = Mux(self.scale[:31] == 0, 0, fraction | 1 << FRACTION_BITS)[: FRACTION_BITS + 1]
        below = Signal(8)
        m.d.comb += below.eq(self.exponent - self.scale[FRACTION_BITS:31])
        shift = delay(m, Mux(below > DEEPEST, DEEPEST, below)[: DEEPEST.bit_length()], 1, self.en)
        product = Signal(2 * PROBABILITY_BITS, reset_less=True)
        with m.If(self.en):
            m.d.sync += product.eq(self.probability * significand)

        shifted = Signal(PROBABILITY_BITS + 1, reset_less=True)
        with m.If(self.en):
            m.d.sync += shifted.eq(product[FRACTION_BITS - 1 :] >> shift)

        with m.If(self.en):
            m.d.sync += self.o.eq((shifted + 1) >> 1)
        return m
