"""Multiplication of binary32 numbers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Class,
    Unrounded,
    classified,
    rounded,
    significand,
)
from .shared import SharedComponent

__all__ = ["Fp32Mul"]

#: Bits of the second significand in the first product: what a DSP block multiplies by, unsigned.
_LOW = 17


class Fp32Mul(SharedComponent):
    """A pipelined multiplier: ``o = fl(a * b)``, the arithmetic of :mod:`hw.fp32_format`.

    0 times infinity is NaN. One product a cycle; the stages are the products, their sum with the
    normalisation, and the rounding. Method: Handbook of Floating-Point Arithmetic, section 8.4; IEEE 754-2019
    clause 5.4.1.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``a``, ``b`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    a, b : In(32)
        Factors, binary32.
    o : Out(32)
        Product, binary32; undefined until ``LATENCY`` enabled cycles have passed.
    """

    LATENCY = 3

    en: In(1)
    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Binary32(self.a)
        b = Binary32(self.b)

        # Two products, each of one DSP block; the next stage adds them.
        low = Signal(FRACTION_BITS + 1 + _LOW, reset_less=True)
        high = Signal(2 * (FRACTION_BITS + 1) - _LOW, reset_less=True)
        exponent = Signal(signed(10), reset_less=True)
        of_a = Signal(Class, reset_less=True)
        of_b = Signal(Class, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                low.eq(significand(a) * significand(b)[:_LOW]),
                high.eq(significand(a) * significand(b)[_LOW:]),
                exponent.eq(a.exponent + b.exponent - BIAS),
                of_a.eq(classified(a)),
                of_b.eq(classified(b)),
            ]

        # The product of two significands lies in [1, 4): its highest bit says in which half.
        exact = Signal(Unrounded, reset_less=True)
        product = Signal(2 * FRACTION_BITS + 2)
        m.d.comb += product.eq(Cat(low[:_LOW], (high + low[_LOW:])[: len(high)]))
        above_two = product[-1]
        nan = (of_a.full & (of_a.fraction | of_b.zero)) | (of_b.full & (of_b.fraction | of_a.zero))
        with m.If(self.en):
            m.d.sync += [
                Cat(exact.guard, exact.fraction).eq(Mux(above_two, product[23:47], product[22:46])),
                exact.sticky.eq(product[:22].any() | (above_two & product[22])),
                exact.exponent.eq(exponent + above_two),
                exact.kind.sign.eq(of_a.sign ^ of_b.sign),
                exact.kind.nan.eq(nan),
                exact.kind.inf.eq(of_a.full | of_b.full),
                exact.kind.zero.eq(of_a.zero | of_b.zero),
            ]

        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded(exact))
        m.d.comb += self.o.eq(result)
        return m
