"""Weights of attention: probability times relative value scale."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay

__all__ = ["ValueWeight", "biased_ceiling"]

PROBABILITY_BITS = 24
FRACTION_BITS = 23
#: Bits of the lower half of a factor: what a DSP block of any family multiplies by, unsigned.
_LOW = 17


def biased_ceiling(bits: Value) -> Value:
    """Biased exponent of the least power of two at or above a binary32 >= 0; 1 for +0.

    This is ``numerics.value_exponent`` + 127. It is the exponent field of that power: above 2**127, and for
    NaN, it is 255, that of infinity.
    """
    exponent = bits[FRACTION_BITS:31]
    return Mux(bits[:31] == 0, 1, exponent + (bits[:FRACTION_BITS].any() & ~exponent.all()))[:8]


class ValueWeight(wiring.Component):
    """A pipelined multiplier: ``o = round_shift(probability * scale / 2**exponent)``.

    The arithmetic of ``numerics.value_weight``. One weight a cycle; the stages are what the scale says,
    products, their sum with most of the shift, and the rest of it with the rounding (to nearest, halves
    upwards).

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``probability`` presented this many enabled cycles earlier.
    SCALE_LATENCY : int
        And to the other inputs of this many enabled cycles earlier: one more.

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
    SCALE_LATENCY = LATENCY + 1

    en: In(1)
    probability: In(PROBABILITY_BITS)
    scale: In(32)
    exponent: In(8)
    o: Out(PROBABILITY_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Found before the products, as multipliers are slow. The significand is s * 2**(23 - its exponent);
        # the shift undoes that, less one bit for the rounding. Infinity and NaN have the fraction of a power
        # of two. Of the products of the halves the outer ones do not overlap.
        exponent = self.scale[FRACTION_BITS:31]
        fraction = self.scale[:FRACTION_BITS] & ~exponent.all().replicate(FRACTION_BITS)
        significand = Signal(PROBABILITY_BITS, reset_less=True)
        below = Signal(8, reset_less=True)
        zero = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                significand.eq(Cat(fraction, Const(1, 1))),
                below.eq(self.exponent - exponent),
                zero.eq(self.scale[:31] == 0),
            ]
        below, zero = delay(m, below, 1, self.en), delay(m, zero, 1, self.en)
        halves = [(x[:_LOW], x[_LOW:]) for x in (self.probability, significand)]
        products = [
            [
                Signal(len(p) + len(s), reset_less=True, name=f"product_{i}{j}")
                for j, s in enumerate(halves[1])
            ]
            for i, p in enumerate(halves[0])
        ]
        with m.If(self.en):
            m.d.sync += [products[i][j].eq(halves[0][i] * halves[1][j]) for i in range(2) for j in range(2)]

        # The shift is done in multiples of 4, then, with the rounding, the rest of it.
        outer = Cat(products[0][0], products[1][1])
        product = Signal(2 * PROBABILITY_BITS)
        across = products[0][1] + products[1][0]
        m.d.comb += product.eq(Cat(outer[:_LOW], (outer[_LOW:] + across)[: len(product) - _LOW]))
        coarse: Value = product[FRACTION_BITS - 1 :]
        for bit in (4, 3, 2):
            coarse = Mux(below[bit], coarse >> (1 << bit), coarse)
        shifted = Signal(PROBABILITY_BITS + 2, reset_less=True)
        rest = Signal(2, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                shifted.eq(coarse & ~(zero | below[5:].any()).replicate(len(shifted))),
                rest.eq(below[:2]),
            ]

        fine = Signal(len(shifted))
        m.d.comb += fine.eq(shifted >> rest)
        with m.If(self.en):
            m.d.sync += self.o.eq((fine + 1) >> 1)
        return m
