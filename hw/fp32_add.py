"""Addition of binary32 numbers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from .fp32_format import (
    FRACTION_BITS,
    Binary32,
    Class,
    Kind,
    Unrounded,
    bounds_less,
    classified,
    is_zero,
    normalise_coarsely,
    normalise_finely,
    rounded,
    shift_right_sticky,
)
from .shared import SharedComponent

__all__ = ["Fp32Add"]


class Fp32Add(SharedComponent):
    """A pipelined adder: ``o = fl(a + b)``, the arithmetic of :mod:`hw.fp32_format`.

    The caller subtracts by inverting the sign bit of ``b``. A sum of opposite numbers is +0, the sum of two
    zeros of the same sign keeps it, and the sum of opposite infinities is NaN. One sum a cycle; the stages
    are swap, align and add, normalise in steps of four bits, the rest of it with rounding. Method: Handbook
    of Floating-Point Arithmetic, section 8.3 (single path); IEEE 754-2019 clauses 5.4.1 and 6.3.

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

        # Order by magnitude, so that a difference is not negative. The difference of the exponents has the
        # sign that says which is larger: of equal ones the distance is 0, whatever the order. From
        # 32 on it is 31.
        a, b = Binary32(self.a), Binary32(self.b)
        swap = self.a[:31] < self.b[:31]
        ahead, behind = Signal(9), Signal(9)
        m.d.comb += [
            ahead.eq(a.exponent - b.exponent),
            behind.eq(b.exponent - a.exponent),
        ]

        # A zero adds nothing to the other operand. What kind of result there is, is found a stage later.
        far_ahead, far_behind = ahead[5:8].any(), behind[5:8].any()
        augend = Signal(FRACTION_BITS + 1, reset_less=True)
        addend = Signal(FRACTION_BITS + 1, reset_less=True)
        shift = Signal(5, reset_less=True)
        exponent = Signal(8, reset_less=True)
        swapped = Signal(reset_less=True)
        classes = [Signal(Class, reset_less=True, name=f"class_{name}") for name in "ab"]
        parts = [Cat(x.fraction, 1) & ~is_zero(x).replicate(FRACTION_BITS + 1) for x in (a, b)]
        with m.If(self.en):
            m.d.sync += [
                augend.eq(Cat(Mux(swap, b.fraction, a.fraction), 1)),
                addend.eq(Mux(swap, parts[0], parts[1])),
                shift.eq(
                    Mux(ahead[-1], behind[:5] | far_behind.replicate(5), ahead[:5] | far_ahead.replicate(5))
                ),
                exponent.eq(Mux(ahead[-1], b.exponent, a.exponent)),
                swapped.eq(swap),
                *(known.eq(classified(x)) for known, x in zip(classes, (a, b), strict=True)),
            ]
        of_a, of_b = classes
        subtract = of_a.sign ^ of_b.sign

        # Guard, round and sticky bit below the significands make the sum of the aligned ones exact enough.
        aligned = shift_right_sticky(m, Cat(Const(0, 3), addend), shift)
        total = Signal(FRACTION_BITS + 5, reset_less=True)
        total_exponent = Signal(8, reset_less=True)
        total_kind = Signal(Kind, reset_less=True)
        inf_a, inf_b = (x.full & ~x.fraction.any() for x in classes)
        nan_a, nan_b = (x.full & x.fraction.any() for x in classes)
        sign = Mux(of_a.zero & of_b.zero, of_a.sign & of_b.sign, Mux(swapped, of_b.sign, of_a.sign))
        with m.If(self.en):
            m.d.sync += [
                total.eq(Cat(Const(0, 3), augend) + (aligned ^ subtract.replicate(len(total))) + subtract),
                total_exponent.eq(exponent),
                total_kind.sign.eq(sign),
                total_kind.nan.eq(nan_a | nan_b | (inf_a & inf_b & subtract)),
                total_kind.inf.eq(inf_a | inf_b),
                total_kind.zero.eq(of_a.zero & of_b.zero),
            ]

        # The leading 1 comes among the highest four bits; what is left of the shift is done when rounding.
        coarse, fours = normalise_coarsely(m, total)
        cancelled = ~total.any()
        held = Signal(FRACTION_BITS + 5, reset_less=True)
        held_exponent = Signal(signed(10), reset_less=True)
        kind = Signal(Kind, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                held.eq(coarse),
                held_exponent.eq(total_exponent + 1 - (fours << 2)),
                kind.eq(total_kind),
            ]
            with m.If(cancelled):
                m.d.sync += [
                    kind.sign.eq(0),
                    kind.zero.eq(1),
                ]

        normal, zeros = normalise_finely(m, held)
        exact = Signal(Unrounded)
        m.d.comb += [
            exact.fraction.eq(normal[4:-1]),
            exact.guard.eq(normal[3]),
            exact.sticky.eq(normal[:3].any()),
            exact.exponent.eq(held_exponent - zeros),
            exact.kind.eq(kind),
        ]
        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded(exact, bounds_less(held_exponent, zeros)))
        m.d.comb += self.o.eq(result)
        return m
