"""Multiplication of binary32 numbers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Kind,
    Unrounded,
    is_inf,
    is_nan,
    is_zero,
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
        kind = Signal(Kind, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                low.eq(significand(a) * significand(b)[:_LOW]),
                high.eq(significand(a) * significand(b)[_LOW:]),
                exponent.eq(a.exponent + b.exponent - BIAS),
                kind.sign.eq(a.sign ^ b.sign),
                kind.nan.eq(is_nan(a) | is_nan(b) | (is_inf(a) & is_zero(b)) | (is_zero(a) & is_inf(b))),
                kind.inf.eq(is_inf(a) | is_inf(b)),
                kind.zero.eq(is_zero(a) | is_zero(b)),
            ]

        # The product of two significands lies in [1, 4): its highest bit says in which half.
        exact = Signal(Unrounded, reset_less=True)
        product = Signal(2 * FRACTION_BITS + 2)
        m.d.comb += product.eq(Cat(low[:_LOW], (high + low[_LOW:])[: len(high)]))
        above_two = product[-1]
        with m.If(self.en):
            m.d.sync += [
                Cat(exact.guard, exact.fraction).eq(Mux(above_two, product[23:47], product[22:46])),
                exact.sticky.eq(product[:22].any() | (above_two & product[22])),
                exact.exponent.eq(exponent + above_two),
                exact.kind.eq(kind),
            ]

        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded(exact))
        m.d.comb += self.o.eq(result)
        return m
