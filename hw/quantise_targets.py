"""Where QUANTISE writes elements and scales."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .isa import Target
from .ports import ElementWrite, QueryWrite, StageWrite

__all__ = ["QuantiseTargets"]


class QuantiseTargets(wiring.Component):
    """Sends quantised words and the scales of segments to the memory of the target, in the same cycle.

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.
    tokens : int
        Tokens of a tile.
    bits : int
        Bits of an element of target MATMUL, 8 to 16. Other targets than QUERY have 8.

    Members
    -------
    start : In(1)
        The next scale is that of segment 0.
    token : In(range(tokens))
        The token of the word or scale that is there.
    target : In(2)
        One of `hw.isa.Target`.
    en, address, q : In(1), In(16), In(ArrayLayout(signed(16), lanes))
        A quantised word, and the address of its first element.
    scale_en : In(1)
        The scale of the next segment is there; not in a cycle with ``en``.
    scale, query_scale : In(32)
        That scale: to store with K or V; of a query.
    matmul, query, stage : Out(ElementWrite(lanes, bits)), Out(QueryWrite(lanes)), Out(StageWrite(lanes))
        The targets.
    """

    def __init__(self, lanes: int, tokens: int, bits: int) -> None:
        self.bits = bits
        super().__init__(
            {
                "start": In(1),
                "token": In(range(tokens)),
                "target": In(2),
                "en": In(1),
                "address": In(16),
                "q": In(ArrayLayout(signed(16), lanes)),
                "scale_en": In(1),
                "scale": In(32),
                "query_scale": In(32),
                "matmul": Out(ElementWrite(lanes, bits)),
                "query": Out(QueryWrite(lanes)),
                "stage": Out(StageWrite(lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = Signal(8)
        with m.If(self.scale_en):
            m.d.sync += head.eq(head + 1)
        with m.If(self.start):
            m.d.sync += head.eq(0)

        of_query = self.target == Target.QUERY
        value = self.target == Target.VALUE
        of_stage = value | (self.target == Target.KEY)
        m.d.comb += [
            self.matmul.en.eq(self.en & (self.target == Target.MATMUL)),
            self.matmul.token.eq(self.token),
            self.matmul.address.eq(self.address),
            self.matmul.data.eq(Cat(q[: self.bits] for q in self.q)),
            self.query.en.eq(self.en & of_query),
            self.query.token.eq(self.token),
            self.query.address.eq(self.address),
            self.query.data.eq(self.q),
            self.query.scale_en.eq(self.scale_en & of_query),
            self.query.scale_token.eq(self.token),
            self.query.scale_head.eq(head),
            self.query.scale.eq(self.query_scale),
            self.stage.en.eq(self.en & of_stage),
            self.stage.token.eq(self.token),
            self.stage.value.eq(value),
            self.stage.address.eq(self.address),
            self.stage.data.eq(Cat(q[:8] for q in self.q)),
            self.stage.scale_en.eq(self.scale_en & of_stage),
            self.stage.scale_token.eq(self.token),
            self.stage.scale_address.eq(Cat(Const(0, 2), value, head)),
            self.stage.scale.eq(self.scale),
        ]
        return m
