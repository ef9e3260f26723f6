"""Square root of binary32 numbers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fp32_format import BIAS, FRACTION_BITS, Binary32, Kind, Unrounded, is_inf, is_nan, is_zero, rounded

__all__ = ["Fp32Sqrt"]


class Fp32Sqrt(wiring.Component):
    """A sequential square root: ``o = fl(sqrt(i))``, the arithmetic of :mod:`hw.fp32_format`.

    The root of -0 is -0, that of any number below is NaN. One root at a time, with the same latency for all
    operands; one bit of the root a cycle by a restoring step. Method: Handbook of Floating-Point
    Arithmetic, sections 8.7 and 5.3; IEEE 754-2019 clause 5.4.1.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of the transfer on ``i`` to the first in which ``o.valid`` is 1.

    Members
    -------
    i : In(stream.Signature(32))
        Radicand, binary32. Ready only while no root is in progress and none waits.
    o : Out(stream.Signature(32))
        Root, binary32.
    """

    #: The root of a number in [1, 4) begins with a 1 that needs no step; its last bit is the guard bit.
    _STEPS = FRACTION_BITS + 1

    LATENCY = _STEPS + 2

    i: In(stream.Signature(32))
    o: Out(stream.Signature(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number = Binary32(self.i.payload)
        fraction = number.fraction

        # The remainder is at most twice the root; each step takes two more bits of the radicand.
        radicand = Signal(FRACTION_BITS + 1, reset_less=True)
        remainder = Signal(FRACTION_BITS + 3, reset_less=True)
        root = Signal(FRACTION_BITS + 2, reset_less=True)
        exponent = Signal(8, reset_less=True)
        kind = Signal(Kind, reset_less=True)
        step = Signal(range(self._STEPS), reset_less=True)

        minuend = Cat(radicand[-2:], remainder)
        difference = Signal(len(minuend))
        digit = ~difference[-1]
        m.d.comb += difference.eq(minuend - Cat(Const(1, 2), root))

        exact = Signal(Unrounded)
        m.d.comb += [
            exact.fraction.eq(root[1:-1]),
            exact.guard.eq(root[0]),
            exact.sticky.eq(remainder.any()),
            exact.exponent.eq(exponent),
            exact.kind.eq(kind),
        ]
        result = Signal(32, reset_less=True)
        m.d.comb += self.o.payload.eq(result)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    exponent.eq((number.exponent + BIAS) >> 1),
                    root.eq(1),
                    kind.sign.eq(number.sign),
                    kind.nan.eq(is_nan(number) | (number.sign & ~is_zero(number))),
                    kind.inf.eq(is_inf(number)),
                    kind.zero.eq(is_zero(number)),
                    step.eq(0),
                ]
                # An odd power of two leaves a radicand in [2, 4). The 1 that the root begins with is taken.
                with m.If(number.exponent[0]):
                    m.d.sync += [
                        remainder.eq(0),
                        radicand.eq(Cat(Const(0, 1), fraction)),
                    ]
                with m.Else():
                    m.d.sync += [
                        remainder.eq(fraction[-1] + 1),
                        radicand.eq(Cat(Const(0, 2), fraction[:-1])),
                    ]
                with m.If(self.i.valid):
                    m.next = "extract"
            with m.State("extract"):
                m.d.sync += [
                    remainder.eq(Mux(digit, difference, minuend)),
                    radicand.eq(radicand << 2),
                    root.eq(Cat(digit, root)),
                    step.eq(step + 1),
                ]
                with m.If(step == self._STEPS - 1):
                    m.next = "round"
            with m.State("round"):
                m.d.sync += result.eq(rounded(exact))
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
        return m
