"""The scales of the segments of a QUANTISE, ahead of their words."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa import STATISTICS
from .quantise_scale import QuantiseScale
from .vector_tokens import count_tokens

__all__ = ["QuantiseSegments"]


class QuantiseSegments(wiring.Component):
    """Divides by the absmax of a segment while the words of the one before it stream, across tokens.

    Divisions lie so far apart that what belongs to a segment is kept until all its words, and its mark, have
    passed through the pipeline.

    Parameters
    ----------
    tokens : int
        Tokens of a tile.

    Members
    -------
    start, quantise, slot : In(1), In(1), In(range(STATISTICS))
        An instruction begins; it is a QUANTISE with elements; its first statistics slot.
    wide, mantissa : In(1), In(1)
        It quantises to 16 bits; to mantissas.
    first_slot : In(range(STATISTICS))
        ``slot`` from the cycle after ``start`` on.
    read_token, read_slot, maximum : Out(range(tokens)), Out(range(STATISTICS)), In(32)
        A slot of a token, and its absmax in the same cycle. Other instructions find their slot here too.
    divided : Out(1)
        The factor of the next segment is there.
    mark, another, crosses : In(1)
        That segment begins; another one follows it; that is the first one of the next token.
    mark_late : In(1)
        That mark, one cycle ahead of the multiplication of words that follow it.
    inverse : Out(32)
        The factor of the words that are multiplied now.
    scale : Out(32)
        The live absmax of the segment that began last; not of mantissas.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        slot = range(STATISTICS)
        super().__init__({
            "start": In(1), "quantise": In(1), "slot": In(slot), "first_slot": In(slot),
            "wide": In(1), "mantissa": In(1),
            "read_token": Out(range(tokens)), "read_slot": Out(slot), "maximum": In(32),
            "divided": Out(1), "mark": In(1), "another": In(1), "crosses": In(1), "mark_late": In(1),
            "inverse": Out(32), "scale": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.divide = divide = QuantiseScale()
        wanted = Signal()
        next_inverse = Signal(32, reset_less=True)
        token_end = self.mark & self.crosses if self.tokens > 1 else Const(0)
        m.d.comb += [
            self.read_token.eq(count_tokens(m, self.tokens, self.start, token_end, "due")),
            divide.i.payload.maximum.eq(self.maximum),
            divide.i.payload.wide.eq(self.wide),
            divide.i.payload.mantissa.eq(self.mantissa),
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
                wanted.eq(self.another),
                next_inverse.eq(divide.o.payload.inverse),
                self.scale.eq(divide.o.payload.live),
            ]
        with m.If(token_end):
            m.d.sync += self.read_slot.eq(self.first_slot)
        with m.If(self.mark_late):
            m.d.sync += self.inverse.eq(next_inverse)
        with m.If(self.start):
            m.d.sync += [
                wanted.eq(self.quantise),
                self.read_slot.eq(self.slot),
            ]
        return m
