"""Conversion of integers to binary32."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import BIAS, FRACTION_BITS, Unrounded, normalise_coarsely, normalise_finely, rounded_integer
from .shared import SharedComponent

__all__ = ["Fp32FromInt"]


def _choice(values: list[Value], index: Value) -> Value:
    """The value of that index; the lowest bit, which comes last, selects last."""
    if len(values) == 1:
        return values[0]
    return Mux(index[0], _choice(values[1::2], index[1:]), _choice(values[::2], index[1:]))


class Fp32FromInt(SharedComponent):
    """A pipelined conversion: ``o = fl(i / 2^point)``, rounded once, to nearest, ties to even; 0 gives +0.

    For an unsigned integer, let ``width`` be one more than its bits. One conversion a cycle; the stages are
    absolute value, normalisation in steps of four bits, and the rest of it with rounding. Method: Handbook of
    Floating-Point Arithmetic, section 8.2; IEEE 754-2019 clause 5.4.1 (convertFromInt).

    Parameters
    ----------
    width : int
        Bits of the integer, sign included; 2 to 128, so that nothing overflows.
    point : int
        Bits of the integer that are fraction; 0 to 64.

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
        If ``width`` is not an integer from 2 to 128, or ``point`` not one from 0 to 64.
    """

    LATENCY = 3

    def __init__(self, width: int, point: int = 0) -> None:
        if not isinstance(width, int) or not 2 <= width <= 128:
            raise ValueError(f"Width must be an integer from 2 to 128, not {width!r}")
        if not isinstance(point, int) or not 0 <= point <= 64:
            raise ValueError(f"Point must be an integer from 0 to 64, not {point!r}")
        self.width, self.point = width, point
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

        # The leading 1 comes among the highest four bits. Below them there are at least a fraction, a guard
        # and a sticky bit, zeros if need be.
        digits = FRACTION_BITS + 6
        wide = Cat(Const(0, max(0, digits - self.width)), magnitude)
        coarse, fours = normalise_coarsely(m, wide)
        # What the shift by each count leaves below: found beside the shift.
        below = len(wide) + 1 - digits
        sticky = _choice(
            [wide[: max(0, below - 4 * count)].any() for count in range(-(-len(wide) // 4))], fours
        )
        held = Signal(digits, reset_less=True)
        exponent = Signal(8, reset_less=True)
        sign = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                held.eq(Cat(sticky, coarse[1 - digits :])),
                exponent.eq(BIAS - self.point + self.width - 1 - (fours << 2)),
                sign.eq(negative),
            ]

        normal, zeros = normalise_finely(m, held)
        exact = Signal(Unrounded)
        result = Signal(32, reset_less=True)
        m.d.comb += [
            exact.fraction.eq(normal[-1 - FRACTION_BITS : -1]),
            exact.guard.eq(normal[-2 - FRACTION_BITS]),
            exact.sticky.eq(normal[: -2 - FRACTION_BITS].any()),
            exact.exponent.eq(exponent - zeros),
            exact.kind.sign.eq(sign),
            exact.kind.zero.eq(~held[-4:].any()),
        ]
        with m.If(self.en):
            m.d.sync += result.eq(rounded_integer(exact))
        m.d.comb += self.o.eq(result)
        return m
