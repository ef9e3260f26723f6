"""Index of the largest of a sequence of binary32 numbers."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .fp32_format import Binary32, is_nan, is_zero

__all__ = ["Argmax"]

#: Key of a NaN: below that of minus infinity.
_NAN_KEY = -(2**31)


class Argmax(wiring.Component):
    """``numerics.argmax`` of the numbers since ``start``: ties go to the lowest index, -0 equals +0, NaN is
    lowest, a subnormal counts as zero. One number a cycle.

    Members
    -------
    start : In(1)
        Begin a new sequence; not together with ``valid``.
    valid, value : In(1), In(32)
        The next number.
    last : In(1)
        With ``valid``: the sequence ends.
    index : Out(20)
        Place of the largest so far, from 0.
    done : Out(1)
        High for one cycle, 2 cycles after ``last``: ``index`` is final.
    """

    start: In(1)
    valid: In(1)
    value: In(32)
    last: In(1)
    index: Out(20)
    done: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Integers in the order of the numbers.
        x = Binary32(self.value)
        magnitude = Signal(31)
        key = Signal(signed(32), reset_less=True)
        key_valid = Signal()
        key_last = Signal()
        m.d.comb += magnitude.eq(Mux(is_zero(x), 0, self.value[:31]))
        m.d.sync += [
            key.eq(Mux(is_nan(x), _NAN_KEY, Mux(x.sign, -magnitude, magnitude))),
            key_valid.eq(self.valid),
            key_last.eq(self.last),
        ]

        best = Signal(signed(32), reset_less=True)
        count = Signal.like(self.index)
        with m.If(key_valid):
            m.d.sync += count.eq(count + 1)
            with m.If((count == 0) | (key > best)):
                m.d.sync += [best.eq(key), self.index.eq(count)]
        m.d.sync += self.done.eq(key_valid & key_last)
        with m.If(self.start):
            m.d.sync += count.eq(0)
        return m
