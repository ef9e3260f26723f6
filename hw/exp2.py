"""Powers of two of attention distances."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay

__all__ = ["Exp2", "exp2_knots"]

#: Fraction bits of the distance, and how many of them select the table entry.
FRACTION_BITS = 16
INDEX_BITS = 8
LOW_BITS = FRACTION_BITS - INDEX_BITS
#: Bits of a probability.
PROBABILITY_BITS = 24
#: A power of two below 2**-25 rounds to 0 whatever its fraction.
DEEPEST = PROBABILITY_BITS + 2


def exp2_knots() -> list[int]:
    """2**(-i / 256) in u1.24 for i = 0 to 256, to nearest: ends of the linear pieces.

    A piece is off by at most (2**-8)**2 / 8 * ln(2)**2 = 9.2e-7, a knot by 2**-25.
    """
    pieces = 1 << INDEX_BITS
    return [round(2 ** (PROBABILITY_BITS - i / pieces)) for i in range(pieces + 1)]


class Exp2(wiring.Component):
    """A pipelined power: ``o = 2**(-distance / 2**16)`` as u0.24, the arithmetic of ``numerics.exp2``.

    Linear interpolation between 257 knots for the fraction, then a rounding shift by the integer; 1 itself
    becomes 1 - 2**-24. One power a cycle; the stages are table, product, difference with shift, rounding.
    Method: table look-up with interpolation after range reduction, Muller, Elementary Functions, chapter 6.

    Attributes
    ----------
    LATENCY : int
        ``o`` belongs to the ``distance`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    distance : In(32)
        Distance below the maximum, in 2**-16 octaves.
    o : Out(24)
        The power; undefined until ``LATENCY`` enabled cycles have passed.
    """

    LATENCY = 4

    en: In(1)
    distance: In(32)
    o: Out(PROBABILITY_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        knots = exp2_knots()
        piece = data.StructLayout({"base": PROBABILITY_BITS + 1, "step": 16})
        m.submodules.table = table = memory.Memory(  # pyright: ignore[reportCallIssue]  as `init`
            shape=piece,
            depth=1 << INDEX_BITS,
            init=[  # pyright: ignore[reportArgumentType]  whatever the shape's const() takes
                {"base": a, "step": a - b} for a, b in pairwise(knots)
            ],
        )
        read = table.read_port()
        m.d.comb += [
            read.en.eq(self.en),
            read.addr.eq(self.distance[LOW_BITS:FRACTION_BITS]),
        ]
        octaves = self.distance[FRACTION_BITS:]
        shift = delay(m, Mux(octaves > DEEPEST, DEEPEST, octaves)[: DEEPEST.bit_length()], 2, self.en)
        low = delay(m, self.distance[:LOW_BITS], 1, self.en)

        base = delay(m, read.data.base, 1, self.en)
        fall = Signal(16 + LOW_BITS, reset_less=True)
        with m.If(self.en):
            m.d.sync += fall.eq(read.data.step * low)

        # One bit below the last place remains, for the rounding.
        value = Signal(PROBABILITY_BITS + 1)
        shifted = Signal(PROBABILITY_BITS + 2, reset_less=True)
        m.d.comb += value.eq(base - ((fall + (1 << LOW_BITS - 1)) >> LOW_BITS))
        with m.If(self.en):
            m.d.sync += shifted.eq((value << 1) >> shift)

        rounded = Signal(PROBABILITY_BITS + 2)
        m.d.comb += rounded.eq((shifted + 1) >> 1)
        with m.If(self.en):
            m.d.sync += self.o.eq(Mux(rounded[PROBABILITY_BITS], (1 << PROBABILITY_BITS) - 1, rounded))
        return m
