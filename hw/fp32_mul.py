"""Multiplication of binary32 numbers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from .dsp48_product import significand_product
from .fp32_format import (
    BIAS,
    FRACTION_BITS,
    Binary32,
    Class,
    Kind,
    Unrounded,
    bounds_less,
    classified,
    rounded,
    significand,
)
from .shared import SharedComponent, primitives

__all__ = ["Fp32Mul"]


class Fp32Mul(SharedComponent):
    """A pipelined multiplier: ``o = fl(a * b)``, the arithmetic of :mod:`hw.fp32_format`.

    0 times infinity is NaN. One product a cycle; the stages are products of parts, their sum, and
    the normalisation with the rounding. Method: Handbook of Floating-Point Arithmetic, section 8.4;
    IEEE 754-2019 clause 5.4.1.

    Parameters
    ----------
    latency : int
        `LEAST`, or one more: the factors are registers first, where blocks are slow or far apart.

    Attributes
    ----------
    latency : int
        ``o`` belongs to the ``a``, ``b`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    a, b : In(32)
        Factors, binary32.
    o : Out(32)
        Product, binary32; undefined until ``latency`` enabled cycles have passed.
    """

    LEAST = 3

    en: In(1)
    a: In(32)
    b: In(32)
    o: Out(32)

    def __init__(self, latency: int = LEAST) -> None:
        if latency not in (self.LEAST, self.LEAST + 1):
            raise ValueError(f"latency must be {self.LEAST} or {self.LEAST + 1}, found {latency}")
        self.latency = latency
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Binary32(self.a), Binary32(self.b)
        significands = [significand(a), significand(b)]
        if self.latency > self.LEAST:
            # With their hidden bits, so that all bits of an operand of a block are registers.
            held = [Signal(Binary32, reset_less=True, name=f"{name}_held") for name in "ab"]
            significands = [Signal.like(value, reset_less=True) for value in significands]
            with m.If(self.en):
                m.d.sync += [
                    *(kept.eq(value) for kept, value in zip(held, (a, b), strict=True)),
                    *(kept.eq(significand(value)) for kept, value in zip(significands, (a, b), strict=True)),
                ]
            a, b = held

        # Products of parts, then their sum. The lowest bits only tell whether they are 0.
        high, low = significand_product(m, self.en, significands[0], significands[1], primitives(platform))
        exponent = Signal(signed(10), reset_less=True)
        of_a = Signal(Class, reset_less=True)
        of_b = Signal(Class, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                exponent.eq(a.exponent + b.exponent - (BIAS - 1)),
                of_a.eq(classified(a)),
                of_b.eq(classified(b)),
            ]

        product_exponent = Signal(signed(10), reset_less=True)
        kind = Signal(Kind, reset_less=True)
        nan = (of_a.full & (of_a.fraction.any() | of_b.zero)) | (
            of_b.full & (of_b.fraction.any() | of_a.zero)
        )
        with m.If(self.en):
            m.d.sync += [
                product_exponent.eq(exponent),
                kind.sign.eq(of_a.sign ^ of_b.sign),
                kind.nan.eq(nan),
                kind.inf.eq(of_a.full | of_b.full),
                kind.zero.eq(of_a.zero | of_b.zero),
            ]

        # The product of two significands lies in [1, 4): its highest bit says in which half; the exponent is
        # that of the upper one.
        exact = Signal(Unrounded)
        product = high[-FRACTION_BITS - 3 :]
        above_two = product[-1]
        m.d.comb += [
            Cat(exact.guard, exact.fraction).eq(Mux(above_two, product[1:-1], product[:-2])),
            exact.sticky.eq(low | high[: -len(product)].any() | (above_two & product[0])),
            exact.exponent.eq(product_exponent - ~above_two),
            exact.kind.eq(kind),
        ]

        result = Signal(32, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(rounded(exact, bounds_less(product_exponent, ~above_two)))
        m.d.comb += self.o.eq(result)
        return m
