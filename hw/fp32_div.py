"""Division of binary32 numbers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Kind,
    Unrounded,
    bounds_less,
    is_inf,
    is_nan,
    is_zero,
    rounded,
    significand,
)
from .shared import SharedComponent

__all__ = ["Fp32Div"]


class Fp32Div(SharedComponent):
    """A sequential divider: ``o = fl(a / b)``, the arithmetic of :mod:`hw.fp32_format`.

    A number other than 0 and NaN divided by 0 is an infinity; 0 / 0 and infinity / infinity are NaN. One
    division at a time, with the same latency for all operands; two bits of the quotient a cycle by two
    restoring steps in series. Method: Handbook of Floating-Point Arithmetic, sections 8.6 and 5.1;
    IEEE 754-2019 clauses 5.4.1 and 7.3.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of the transfer on ``i`` to the first in which ``o.valid`` is 1.

    Members
    -------
    i : In(stream.Signature(StructLayout({"a": 32, "b": 32})))
        Dividend and divisor, binary32. Ready only while no division is in progress and no quotient waits.
    o : Out(stream.Signature(32))
        Quotient, binary32.
    """

    #: Bits of quotient that decide the rounding: below 1 the highest is 0, the last is then the guard bit.
    _QUOTIENT_BITS = FRACTION_BITS + 3
    _STEPS = _QUOTIENT_BITS // 2

    LATENCY = _STEPS + 2

    i: In(stream.Signature(StructLayout({"a": 32, "b": 32})))
    o: Out(stream.Signature(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Binary32(self.i.payload.a)
        b = Binary32(self.i.payload.b)

        # The remainder stays below twice the divisor.
        remainder = Signal(FRACTION_BITS + 2, reset_less=True)
        divisor = Signal(FRACTION_BITS + 1, reset_less=True)
        quotient = Signal(self._QUOTIENT_BITS, reset_less=True)
        exponent = Signal(signed(10), reset_less=True)
        kind = Signal(Kind, reset_less=True)
        step = Signal(range(self._STEPS), reset_less=True)

        digits = []
        left = remainder
        for name in ("first", "second"):
            difference = Signal(FRACTION_BITS + 3, name=f"difference_{name}")
            doubled = Signal(FRACTION_BITS + 2, name=f"remainder_{name}")
            digit = ~difference[-1]
            m.d.comb += [
                difference.eq(left - divisor),
                doubled.eq(Mux(digit, difference, left) << 1),
            ]
            digits.append(digit)
            left = doubled

        # An exact quotient has 24 bits at most, so the remainder alone tells whether more bits follow.
        exact = Signal(Unrounded)
        from_one = quotient[-1]
        m.d.comb += [
            Cat(exact.guard, exact.fraction).eq(Mux(from_one, quotient[1:-1], quotient[:-2])),
            exact.sticky.eq(remainder.any()),
            exact.exponent.eq(exponent - ~from_one),
            exact.kind.eq(kind),
        ]
        result = Signal(32, reset_less=True)
        m.d.comb += self.o.payload.eq(result)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    remainder.eq(significand(a)),
                    divisor.eq(significand(b)),
                    exponent.eq(a.exponent - b.exponent + BIAS),
                    kind.sign.eq(a.sign ^ b.sign),
                    kind.nan.eq(is_nan(a) | is_nan(b) | (is_zero(a) & is_zero(b)) | (is_inf(a) & is_inf(b))),
                    kind.inf.eq(is_inf(a) | is_zero(b)),
                    kind.zero.eq(is_zero(a) | is_inf(b)),
                    step.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "divide"
            with m.State("divide"):
                m.d.sync += [
                    remainder.eq(left),
                    quotient.eq(Cat(*reversed(digits), quotient)),
                    step.eq(step + 1),
                ]
                with m.If(step == self._STEPS - 1):
                    m.next = "round"
            with m.State("round"):
                m.d.sync += result.eq(rounded(exact, bounds_less(exponent, ~from_one)))
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
        return m
