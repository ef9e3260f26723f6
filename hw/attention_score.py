"""Attention scores: from dot products to fixed point, with the maximum of each head."""

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_to_int import Fp32ToInt
from .key_dot import DOT_BITS, dot_layout
from .machine import MachineConfig

__all__ = ["SCORE_BITS", "AttentionScore"]

SCORE_BITS = 32
SCORE_FRACTION = 16
SCORE_LIMIT = 2**31 - 1


class AttentionScore(wiring.Component):
    """Scales dot products, ``numerics.attention_score``, and keeps the scores in order of arrival.

    A score a cycle; score and maximum of its head can be read `LATENCY` cycles after its dot product.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of ``dot_en`` to the first in which the score can be read.

    Members
    -------
    restart : In(1)
        The next dot product is the first of a pass; only while not ``busy``.
    dot_en, dot : In(1), In(dot_layout(config))
        Dot products; always accepted.
    query_head, query_scale : Out(range(max_heads)), In(32)
        Head whose s_q is wanted, and this, in the same cycle.
    saturated : Out(1)
        The score that is being written was beyond the limit; a NaN, which becomes 0, was not.
    busy : Out(1)
        Dot products are under way.
    count : Out(range(score_words + 1))
        Scores kept in this pass.
    en, address, score : In(1), In(range(score_words)), Out(signed(32))
        Read score number ``address`` (token * heads + head), one cycle after ``en``.
    head, maximum : In(range(max_heads)), Out(signed(32))
        Head whose greatest score is wanted, and this, in the same cycle.
    """

    LATENCY = Fp32FromInt.LATENCY + 2 * Fp32Mul.LATENCY + Fp32ToInt.LATENCY + 1

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        head = range(config.max_heads)
        super().__init__(
            {
                "restart": In(1),
                "dot_en": In(1),
                "dot": In(dot_layout(config)),
                "query_head": Out(head),
                "query_scale": In(32),
                "saturated": Out(1),
                "busy": Out(1),
                "count": Out(range(config.score_words + 1)),
                "en": In(1),
                "address": In(range(config.score_words)),
                "score": Out(signed(SCORE_BITS)),
                "head": In(head),
                "maximum": Out(signed(SCORE_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # fl(dot), times s_q, times s_k, to an integer.
        m.submodules.convert = convert = Fp32FromInt(DOT_BITS)
        m.submodules.by_query = by_query = Fp32Mul()
        m.submodules.by_key = by_key = Fp32Mul()
        m.submodules.fix = fix = Fp32ToInt(SCORE_BITS)
        head_converted = delay(m, self.dot.head, convert.LATENCY)
        m.d.comb += [
            convert.en.eq(1),
            convert.i.eq(self.dot.dot),
            self.query_head.eq(head_converted),
            by_query.en.eq(1),
            by_query.a.eq(convert.o),
            by_query.b.eq(self.query_scale),
            by_key.en.eq(1),
            by_key.a.eq(by_query.o),
            by_key.b.eq(delay(m, self.dot.key_scale, convert.LATENCY + by_query.LATENCY)),
            fix.en.eq(1),
            fix.a.eq(by_key.o),
            fix.shift.eq(SCORE_FRACTION),
            fix.limit.eq(SCORE_LIMIT),
        ]

        under_way = [self.dot_en]
        for _ in range(self.LATENCY - 1):
            under_way.append(delay(m, under_way[-1], 1))
        valid = under_way[-1]
        head = delay(m, head_converted, self.LATENCY - 1 - convert.LATENCY)
        fresh = delay(m, self.dot.fresh, self.LATENCY - 1)
        m.d.comb += [
            self.busy.eq(Cat(under_way).any()),
            self.saturated.eq(valid & fix.saturated & fix.o.any()),  # a NaN became 0
        ]

        m.submodules.scores = scores = memory.Memory(
            shape=signed(SCORE_BITS), depth=self.config.score_words, init=[]
        )
        write = scores.write_port()
        read = scores.read_port()
        m.d.comb += [
            write.en.eq(valid),
            write.addr.eq(self.count),
            write.data.eq(fix.o),
            read.en.eq(self.en),
            read.addr.eq(self.address),
            self.score.eq(read.data),
        ]
        with m.If(valid):
            m.d.sync += self.count.eq(self.count + 1)
        with m.If(self.restart):
            m.d.sync += self.count.eq(0)

        m.submodules.maxima = maxima = memory.Memory(
            shape=signed(SCORE_BITS), depth=self.config.max_heads, init=[]
        )
        update = maxima.write_port()
        before = maxima.read_port(domain="comb")
        found = maxima.read_port(domain="comb")
        m.d.comb += [
            before.addr.eq(head),
            update.en.eq(valid & (fresh | (fix.o > before.data))),
            update.addr.eq(head),
            update.data.eq(fix.o),
            found.addr.eq(self.head),
            self.maximum.eq(found.data),
        ]
        return m
