"""The scales of the segments of a QUANTISE, ahead of their words."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa import STATISTICS
from .quantise_scale import QuantiseScale

__all__ = ["QuantiseSegments"]


class QuantiseSegments(wiring.Component):
    """Divides by the absmax of a segment while the words of the one before it stream.

    Divisions lie so far apart that what belongs to a segment is kept until all its words, and its mark, have
    passed through the pipeline.

    Members
    -------
    start, quantise, slot : In(1), In(1), In(range(STATISTICS))
        An instruction begins; it is a QUANTISE with elements; its first statistics slot.
    wide : In(1)
        It quantises to 16 bits.
    read_slot, maximum : Out(range(STATISTICS)), In(32)
        A slot, and its absmax in the same cycle. Other instructions find their slot here too.
    divided : Out(1)
        The factor of the next segment is there.
    mark, more : In(1)
        That segment begins; another one follows it.
    mark_late : In(1)
        That mark, one cycle ahead of the multiplication of words that follow it.
    inverse : Out(32)
        The factor of the words that are multiplied now.
    scale : Out(32)
        The live absmax of the segment that began last.
    """

    start: In(1)
    quantise: In(1)
    slot: In(range(STATISTICS))
    wide: In(1)
    read_slot: Out(range(STATISTICS))
    maximum: In(32)
    divided: Out(1)
    mark: In(1)
    more: In(1)
    mark_late: In(1)
    inverse: Out(32)
    scale: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.divide = divide = QuantiseScale()
        wanted = Signal()
        next_inverse = Signal(32, reset_less=True)
        m.d.comb += [
            divide.i.payload.maximum.eq(self.maximum),
            divide.i.payload.wide.eq(self.wide),
            divide.i.valid.eq(wanted),
            self.divided.eq(divide.o.valid),
            divide.o.ready.eq(self.mark),
        ]
        with m.If(wanted & divide.i.ready):
            m.d.sync += [
                wanted.eq(0),
                self.read_slot.eq(self.read_slot + 1),
            ]
        with m.If(self.mark):
            m.d.sync += [
                wanted.eq(self.more),
                next_inverse.eq(divide.o.payload.inverse),
                self.scale.eq(divide.o.payload.live),
            ]
        with m.If(self.mark_late):
            m.d.sync += self.inverse.eq(next_inverse)
        with m.If(self.start):
            m.d.sync += [
                wanted.eq(self.quantise),
                self.read_slot.eq(self.slot),
            ]
        return m
