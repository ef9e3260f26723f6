"""Division of binary32 numbers, a quotient a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, ValueLike, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Bounds,
    Class,
    Kind,
    Unrounded,
    bounds_less,
    classified,
    rounded,
    significand,
)

__all__ = ["Fp32DivPipelined"]


class Fp32DivPipelined(wiring.Component):
    """A pipelined divider: ``o = fl(a / b)``, as `hw.fp32_div.Fp32Div`, and with its latency.

    One quotient a cycle. The first stage takes the operands, each of the next ones finds two bits of the
    quotient by non-restoring steps in series, the last rounds. A remainder r in [-b, b) gives the bit r >= 0;
    2 r - b follows it, or where r is negative 2 r + b: an adder for each bit and no multiplexer. Four times
    the LUTs of the sequential divider, so that one takes its place only where divisions come in a row.
    Method: Handbook of Floating-Point Arithmetic, sections 8.6 and 5.1.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``a``, ``b`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    a, b : In(32)
        Dividend and divisor, binary32.
    o : Out(32)
        Quotient, binary32; undefined until ``LATENCY`` enabled cycles have passed.
    """

    #: Bits of quotient that decide the rounding: below 1 the highest is 0, the last is then the guard bit.
    _QUOTIENT_BITS = FRACTION_BITS + 3
    #: A remainder with its sign; 2 r needs a bit more, but not 2 r +- b.
    _REMAINDER_BITS = FRACTION_BITS + 2

    LATENCY = _QUOTIENT_BITS // 2 + 2

    en: In(1)
    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Binary32(self.a), Binary32(self.b)

        def register(value: ValueLike, shape: ShapeLike, name: str, reset_less: bool = True) -> Signal:
            taken = Signal(shape, reset_less=reset_less, name=name)
            with m.If(self.en):
                m.d.sync += taken.eq(value)
            return taken

        # The first step subtracts the divisor from the dividend as it is.
        remainder = register(significand(a), self._REMAINDER_BITS, "dividend")
        divisor = register(b.fraction, FRACTION_BITS, "divisor_0")
        exponent = register(a.exponent - b.exponent + BIAS, signed(10), "exponent_0")
        of_a, of_b = (register(classified(x), Class, f"class_{name}") for x, name in ((a, "a"), (b, "b")))
        nan_a, nan_b = of_a.full & of_a.fraction.any(), of_b.full & of_b.fraction.any()
        kind: ValueLike = Cat(
            of_a.sign ^ of_b.sign,
            nan_a | nan_b | (of_a.zero & of_b.zero) | (of_a.full & of_b.full),
            of_a.full | of_b.zero,
            of_a.zero | of_b.full,
        )
        quotient = Cat()
        bit = Const(1, 1)
        doubled, before, early = remainder, exponent, quotient
        for stage in range(1, self._QUOTIENT_BITS // 2 + 1):
            early = quotient
            for half in range(2):
                # 2 r - b as 2 r + ~b + 1; the 1 is carried in from a place below.
                step = Signal(self._REMAINDER_BITS + 1, name=f"step_{stage}_{half}")
                addend = Cat(divisor, Const(1, 2)) ^ bit.replicate(self._REMAINDER_BITS)
                m.d.comb += step.eq(Cat(bit, doubled) + Cat(bit, addend))
                left = step[1:]
                bit = ~left[-1]
                quotient = Cat(bit, quotient)
                doubled = Cat(Const(0, 1), left[:-1])
            remainder = register(left, self._REMAINDER_BITS, f"remainder_{stage}")
            divisor = register(divisor, FRACTION_BITS, f"divisor_{stage}")
            # What waits is shifted in look-up tables, but what is reset is kept in registers, as the rounding
            # has no time for the others.
            waits = stage < self._QUOTIENT_BITS // 2
            quotient = register(quotient, 2 * stage, f"quotient_{stage}", waits)
            before = exponent
            exponent = register(exponent, signed(10), f"exponent_{stage}", waits)
            kind = register(kind, Kind, f"kind_{stage}", waits)
            bit = quotient[0]
            doubled = Cat(Const(0, 1), remainder[:-1])

        # An exact quotient has 24 bits at most, so after a guard bit of 1 there is always more: no tie. Which
        # range it lies in says its first bit; so all but its last bits take their place a stage ahead.
        exact = Signal(Unrounded)
        upper = register(Mux(early[-1], early[1:-1], early[:-2]), len(early) - 2, "upper")
        below_one = register(~early[-1], 1, "below_one")
        m.d.comb += [
            Cat(exact.guard, exact.fraction).eq(
                Cat(Mux(below_one, quotient[0], quotient[1]), Mux(below_one, quotient[1], quotient[2]), upper)
            ),
            exact.sticky.eq(1),
            exact.exponent.eq(register(before - ~early[-1], signed(10), "exponent")),
            exact.kind.eq(kind),
        ]
        within = Bounds(register(bounds_less(before, ~early[-1]), Bounds.size, "within"))
        m.d.comb += self.o.eq(register(rounded(exact, within), 32, "result"))
        return m
