"""The logistic function on fixed-point numbers, by table and linear interpolation."""

import math
from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib.data import StructLayout
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .dsp48_product import interpolated
from .shared import SharedComponent, primitives

__all__ = ["Sigmoid"]

#: Intervals over [0, 16), each of 2^7 steps of 2^-12.
_INTERVALS = 512
_STEP_BITS = 7
#: An interval's value at its start and its rise, in units of 2^-24.
_Entry = StructLayout({"base": 24, "rise": 17})


def _entries() -> list[dict[str, int]]:
    """The table: error of the interpolation below (2^-5)^2 / 8 * max|sigma''| = 1.2e-5, plus one unit."""
    knots = [round(2**24 / (1 + math.exp(-i / 32))) for i in range(_INTERVALS + 1)]
    return [{"base": low, "rise": high - low} for low, high in pairwise(knots)]


class Sigmoid(SharedComponent):
    """A pipelined table: ``o = sigma(t / 2^12) * 2^24``, as `models.numerics.sigmoid` rounds it.

    One value a cycle; the stages are the look-up, the product and the sum. Negative arguments use
    sigma(-t) = 1 - sigma(t).

    Parameters
    ----------
    latency : int
        `LEAST`, or one more: what is looked up is a register of its own, where blocks are slow or far apart.

    Attributes
    ----------
    latency : int
        ``o`` belongs to the ``t`` presented this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    t : In(signed(18))
        Argument in units of 2^-12, from -2^16 to 2^16.
    o : Out(25)
        Result in units of 2^-24, from 2 to 2^24 - 2; undefined until ``latency`` enabled cycles have passed.
    """

    LEAST = 3

    en: In(1)
    t: In(signed(18))
    o: Out(25)

    def __init__(self, latency: int = LEAST) -> None:
        if latency not in (self.LEAST, self.LEAST + 1):
            raise ValueError(f"latency must be {self.LEAST} or {self.LEAST + 1}, found {latency}")
        self.latency = latency
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # The last interval is closed at both ends: 16 itself is its offset 2^7.
        magnitude = Signal(17)
        m.d.comb += magnitude.eq(Mux(self.t[-1], -self.t, self.t))
        end = magnitude[-1]
        m.submodules.table = table = Memory(shape=_Entry, depth=_INTERVALS, init=_entries())  # pyright: ignore[reportCallIssue, reportArgumentType]  rows: as const() takes
        entry = table.read_port()
        offset = Signal(_STEP_BITS + 1, reset_less=True)
        negative = Signal(reset_less=True)
        m.d.comb += [
            entry.en.eq(self.en),
            entry.addr.eq(magnitude[_STEP_BITS:-1] | end.replicate(len(entry.addr))),
        ]
        with m.If(self.en):
            m.d.sync += [
                offset.eq(Mux(end, 1 << _STEP_BITS, magnitude[:_STEP_BITS])),
                negative.eq(self.t[-1]),
            ]

        base, rise, offset, negative = (
            delay(m, value, self.latency - self.LEAST, self.en)
            for value in (entry.data.base, entry.data.rise, offset, negative)
        )
        result = interpolated(m, self.en, base, rise, offset, negative, primitives(platform))
        m.d.comb += self.o.eq(result)
        return m
