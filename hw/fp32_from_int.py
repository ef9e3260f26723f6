"""Conversion of integers to binary32."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import BIAS, FRACTION_BITS, Unrounded, normalise, rounded_integer
from .shared import SharedComponent

__all__ = ["Fp32FromInt"]


class Fp32FromInt(SharedComponent):
    """A pipelined conversion: ``o = fl(i)``, rounded once, to nearest, ties to even; 0 gives +0.

    For an unsigned integer, let ``width`` be one more than its bits. One conversion a cycle; the stages are
    absolute value, normalisation and rounding. Method: Handbook of Floating-Point Arithmetic, section 8.2;
    IEEE 754-2019 clause 5.4.1 (convertFromInt).

    Parameters
    ----------
    width : int
        Bits of the integer, sign included; 2 to 128, so that nothing overflows.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``i`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    i : In(signed(width))
        Integer.
    o : Out(32)
        The same as binary32; undefined until ``LATENCY`` enabled cycles have passed.

    Raises
    ------
    ValueError
        If ``width`` is not an integer from 2 to 128.
    """

    LATENCY = 3

    def __init__(self, width: int) -> None:
        if not isinstance(width, int) or not 2 <= width <= 128:
            raise ValueError(f"Width must be an integer from 2 to 128, not {width!r}")
        self.width = width
        super().__init__({"en": In(1), "i": In(signed(width)), "o": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # The magnitude of the most negative integer needs all bits.
        magnitude = Signal(self.width, reset_less=True)
        negative = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                magnitude.eq((self.i ^ self.i[-1].replicate(self.width)) + self.i[-1]),
                negative.eq(self.i[-1]),
            ]

        # Below the leading 1 there are at least a fraction, a guard and a sticky bit, zeros if need be.
        normal, zeros = normalise(m, magnitude)
        below = Cat(Const(0, FRACTION_BITS + 2), normal[:-1])[-max(FRACTION_BITS + 2, self.width - 1) :]
        exact = Signal(Unrounded, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                exact.fraction.eq(below[-FRACTION_BITS:]),
                exact.guard.eq(below[-FRACTION_BITS - 1]),
                exact.sticky.eq(below[: -FRACTION_BITS - 1].any()),
                exact.exponent.eq(BIAS + self.width - 1 - zeros),
                exact.kind.sign.eq(negative),
                exact.kind.zero.eq(~normal[-1]),
            ]

        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded_integer(exact))
        m.d.comb += self.o.eq(result)
        return m
