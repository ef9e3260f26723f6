"""Conversion of scaled binary32 numbers to integers of limited magnitude."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Class,
    classified,
    is_zero,
    shift_right_sticky,
    significand,
)
from .shared import SharedComponent

__all__ = ["Fp32ToInt"]


class Fp32ToInt(SharedComponent):
    """A pipelined conversion: ``o = clip(rne(a * 2^shift), -limit, +limit)``.

    The scaling is exact, whatever the exponents, and rne is to nearest, ties to even. Subnormal numbers are
    zero; NaN gives 0; infinities give ``+-limit``. One conversion a cycle; the stages are exponent,
    alignment and rounding. Source: IEEE 754-2019 clause 5.8 (convertToIntegerTiesToEven), with clipping in
    the place of the invalid-operation exception.

    Parameters
    ----------
    width : int
        Bits of the integer, sign included; 2 to 64.

    Attributes
    ----------
    LATENCY : int
        ``o`` and ``saturated`` belong to the inputs presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    a : In(32)
        Number, binary32.
    shift : In(signed(8))
        Power of two by which ``a`` is multiplied; taken together with ``a``.
    limit : In(width - 1)
        Greatest magnitude of the result; taken together with ``a``.
    o : Out(signed(width))
        Integer; undefined until ``LATENCY`` enabled cycles have passed.
    saturated : Out(1)
        Whether the rounded number was beyond ``limit``, or ``a`` infinite or NaN.

    Raises
    ------
    ValueError
        If ``width`` is not an integer from 2 to 64.
    """

    LATENCY = 3

    def __init__(self, width: int) -> None:
        if not isinstance(width, int) or not 2 <= width <= 64:
            raise ValueError(f"Width must be an integer from 2 to 64, not {width!r}")
        self.width = width
        super().__init__(
            {
                "en": In(1),
                "a": In(32),
                "shift": In(signed(8)),
                "limit": In(width - 1),
                "o": Out(signed(width)),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Binary32(self.a)
        bits = self.width - 1

        # |a * 2^shift| is below 2^above; from 2^bits on it is beyond every limit, below 2^-1 it rounds to 0.
        # Zero's exponent field never makes it too large: 2^1 is the most.
        above, room = Signal(signed(10)), Signal(signed(10))
        m.d.comb += [
            above.eq(a.exponent + (self.shift - (BIAS - 1))),
            room.eq((bits + BIAS - 1 - self.shift) - a.exponent),
        ]
        aligning = Signal(range(bits + 1), reset_less=True)
        number = Signal(FRACTION_BITS + 1, reset_less=True)
        number_limit = Signal(bits, reset_less=True)
        of_a = Signal(Class, reset_less=True)
        too_large = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                aligning.eq(room),
                number.eq(significand(a) & ~(is_zero(a) | above[-1]).replicate(FRACTION_BITS + 1)),
                number_limit.eq(self.limit),
                of_a.eq(classified(a)),
                too_large.eq(room[-1]),
            ]

        # Integer bits, guard bit, sticky bit, starting with the significand at the highest integer bit. NaN
        # is beyond a limit of 0.
        digits = max(bits, FRACTION_BITS + 1) + 2
        aligned = shift_right_sticky(m, Cat(Const(0, digits - FRACTION_BITS - 1), number), aligning)
        integer = Signal(bits, reset_less=True)
        guard = Signal(reset_less=True)
        sticky = Signal(reset_less=True)
        limit = Signal(bits, reset_less=True)
        huge = Signal(reset_less=True)
        negative = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                integer.eq(aligned[-bits:]),
                guard.eq(aligned[-bits - 1]),
                sticky.eq(aligned[: -bits - 1].any()),
                limit.eq(number_limit & ~(of_a.full & of_a.fraction.any()).replicate(bits)),
                huge.eq(of_a.full | too_large),
                negative.eq(of_a.sign),
            ]

        # The rounded number is beyond the limit where limit - integer - up is negative. Where it is not, the
        # integer goes on, with what rounding adds, in one sum with the change of sign.
        up = guard & (sticky | integer[0])
        beyond = Signal()
        taken = Signal(bits)
        result = Signal(signed(self.width), reset_less=True)
        saturated = Signal(reset_less=True)
        rest = Cat(~up, limit, Const(0, 1)) + Cat(Const(1, 1), ~integer, Const(1, 1))
        m.d.comb += [
            beyond.eq(huge | rest[bits + 1]),
            taken.eq(Mux(beyond, limit, integer)),
        ]
        with m.If(self.en):
            m.d.sync += [
                result.eq(
                    (Cat(taken, Const(0, 1)) ^ negative.replicate(self.width)) + ((up & ~beyond) ^ negative)
                ),
                saturated.eq(beyond),
            ]
        m.d.comb += [
            self.o.eq(result),
            self.saturated.eq(saturated),
        ]
        return m
