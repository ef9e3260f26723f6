"""Addition of binary32 numbers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    FRACTION_BITS,
    Binary32,
    Kind,
    Unrounded,
    is_inf,
    is_nan,
    is_zero,
    normalise,
    rounded,
    shift_right_sticky,
    significand,
)
from .shared import SharedComponent

__all__ = ["Fp32Add"]


class Fp32Add(SharedComponent):
    """A pipelined adder: ``o = fl(a + b)``, the arithmetic of :mod:`hw.fp32_format`.

    The caller subtracts by inverting the sign bit of ``b``. A sum of opposite numbers is +0, the sum of two
    zeros of the same sign keeps it, and the sum of opposite infinities is NaN. One sum a cycle; the stages
    are swap, align and add, normalise, round. Method: Handbook of Floating-Point Arithmetic, section 8.3
    (single path); IEEE 754-2019 clauses 5.4.1 and 6.3.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``a``, ``b`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    a, b : In(32)
        Summands, binary32.
    o : Out(32)
        Sum, binary32; undefined until ``LATENCY`` enabled cycles have passed.
    """

    LATENCY = 4

    en: In(1)
    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Order by magnitude, so that a difference is not negative.
        large = Signal(Binary32)
        small = Signal(Binary32)
        swap = self.a[:31] < self.b[:31]
        m.d.comb += [
            large.eq(Mux(swap, self.b, self.a)),
            small.eq(Mux(swap, self.a, self.b)),
        ]
        distance = Signal(8)
        m.d.comb += distance.eq(large.exponent - small.exponent)

        augend = Signal(FRACTION_BITS + 1, reset_less=True)
        addend = Signal(FRACTION_BITS + 1, reset_less=True)
        shift = Signal(5, reset_less=True)
        subtract = Signal(reset_less=True)
        exponent = Signal(8, reset_less=True)
        kind = Signal(Kind, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                augend.eq(significand(large)),
                addend.eq(Mux(is_zero(small), 0, significand(small))),
                shift.eq(distance[:5] | distance[5:].any().replicate(5)),
                subtract.eq(large.sign ^ small.sign),
                exponent.eq(large.exponent),
                kind.sign.eq(Mux(is_zero(large), large.sign & small.sign, large.sign)),
                kind.nan.eq(is_nan(large) | (is_inf(small) & (large.sign ^ small.sign))),
                kind.inf.eq(is_inf(large)),
                kind.zero.eq(is_zero(large)),
            ]

        # Guard, round and sticky bit below the significands make the sum of the aligned ones exact enough.
        aligned = shift_right_sticky(m, Cat(Const(0, 3), addend), shift)
        total = Signal(FRACTION_BITS + 5, reset_less=True)
        total_exponent = Signal(8, reset_less=True)
        total_kind = Signal(Kind, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                total.eq(Cat(Const(0, 3), augend) + (aligned ^ subtract.replicate(len(total))) + subtract),
                total_exponent.eq(exponent),
                total_kind.eq(kind),
            ]

        normal, zeros = normalise(m, total)
        cancelled = ~total.any()
        exact = Signal(Unrounded, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                exact.fraction.eq(normal[4:-1]),
                exact.guard.eq(normal[3]),
                exact.sticky.eq(normal[:3].any()),
                exact.exponent.eq(total_exponent + 1 - zeros),
                exact.kind.eq(total_kind),
            ]
            with m.If(cancelled):
                m.d.sync += [
                    exact.kind.sign.eq(0),
                    exact.kind.zero.eq(1),
                ]

        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded(exact))
        m.d.comb += self.o.eq(result)
        return m
