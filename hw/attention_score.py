"""Attention scores: from dot products to fixed point, with the maximum of each head."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_to_int import Fp32ToInt
from .key_dot import DOT_BITS, dot_layout
from .kv_row import VALUE_SCALE_BITS
from .machine import MachineConfig
from .part_steps import head_index_layout
from .value_weight import biased_ceiling

__all__ = ["SCORE_BITS", "AttentionScore", "score_layout"]

SCORE_BITS = 32
SCORE_FRACTION = 16
SCORE_LIMIT = 2**31 - 1
#: Scales that wait for their dot product and its score: more than the stages of both pipelines.
WAITING = 32


def score_layout(config: MachineConfig) -> data.StructLayout:
    """What is kept of one row and query head of one token, in 72 bits at most: a word of large memories.

    ``fresh`` and ``ends`` as in `dot_layout`.
    """
    return data.StructLayout(
        {"score": signed(SCORE_BITS), "value_scale": VALUE_SCALE_BITS, "at": head_index_layout(config),
         "fresh": 1, "ends": 1}
    )  # fmt: skip


class AttentionScore(wiring.Component):
    """Scales dot products, ``numerics.attention_score``; keeps scores and s_v in order of arrival.

    A score a cycle; score and maximum of its head can be read `latency` cycles after its dot product. Beside
    the maximum of each head of each token lies its largest s_v: non-negative binary32 numbers are in the
    order of their bits as integers.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    latency : int
        Cycles from the one of ``dot_en`` to the first in which the score can be read.

    Members
    -------
    restart : In(1)
        The next dot product is the first of a pass; only while not ``busy``.
    scales_en, key_scale, value_scale : In(1), In(32), In(31)
        Scales of a dot product, before it.
    dot_en, dot : In(1), In(dot_layout(config))
        Dot products, in the same order; always accepted.
    query_at, query_scale : Out(head_index_layout(config)), In(32)
        Head whose s_q is wanted, and this, in the same cycle.
    saturated : Out(1)
        The score that is being written was beyond the limit; a NaN, which becomes 0, was not.
    busy : Out(1)
        Dot products are under way.
    count : Out(range(core_scores + 1))
        Scores kept in this pass.
    en, address, score : In(1), In(range(core_scores)), Out(score_layout(config))
        Read score number ``address``, one cycle after ``en``.
    weight_at, maximum, weight_exponent : In(head_index_layout(config)), Out(signed(32)), Out(8)
        Head whose greatest score is wanted, and the biased exponent of the power of two at or above its
        largest s_v: these, in the same cycle.
    output_at, output_exponent : In(head_index_layout(config)), Out(8)
        Such an exponent again.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.latency = Fp32FromInt.LATENCY + 2 * config.multiply_cycles + Fp32ToInt.LATENCY + 1
        at, words = head_index_layout(config), config.core_scores
        super().__init__(
            {
                "restart": In(1),
                "scales_en": In(1),
                "key_scale": In(32),
                "value_scale": In(VALUE_SCALE_BITS),
                "dot_en": In(1),
                "dot": In(dot_layout(config)),
                "query_at": Out(at),
                "query_scale": In(32),
                "saturated": Out(1),
                "busy": Out(1),
                "count": Out(range(words + 1)),
                "en": In(1),
                "address": In(range(words)),
                "score": Out(score_layout(config)),
                "weight_at": In(at),
                "maximum": Out(signed(SCORE_BITS)),
                "weight_exponent": Out(8),
                "output_at": In(at),
                "output_exponent": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        # fl(dot), times s_q, times s_k, to an integer.
        m.submodules.convert = convert = Fp32FromInt(DOT_BITS)
        m.submodules.by_query = by_query = Fp32Mul(config.multiply_cycles)
        m.submodules.by_key = by_key = Fp32Mul(config.multiply_cycles)
        m.submodules.fix = fix = Fp32ToInt(SCORE_BITS)
        under_way = [self.dot_en]
        for _ in range(self.latency - 1):
            under_way.append(delay(m, under_way[-1], 1))
        valid = under_way[-1]
        # All but the dot product of this cycle, found a cycle before.
        beyond = Signal()
        m.d.sync += beyond.eq(Cat(under_way[:-1]).any())
        at_converted = delay(m, self.dot.at.as_value(), convert.LATENCY)
        m.d.comb += [
            convert.en.eq(1),
            convert.i.eq(self.dot.dot),
            self.query_at.eq(at_converted),
            by_query.en.eq(1),
            by_query.a.eq(convert.o),
            by_query.b.eq(self.query_scale),
            by_key.en.eq(1),
            by_key.a.eq(by_query.o),
            fix.en.eq(1),
            fix.a.eq(by_key.o),
            fix.shift.eq(SCORE_FRACTION),
            fix.limit.eq(SCORE_LIMIT),
            self.busy.eq(self.dot_en | beyond),
            self.saturated.eq(valid & fix.saturated & fix.o.any()),  # a NaN became 0
        ]

        # The scales wait beside the pipeline, each until it is wanted.
        taken = {"key_scale": under_way[convert.LATENCY + by_query.latency], "value_scale": valid}
        waiting = {}
        for name, take in taken.items():
            given = getattr(self, name)
            m.submodules[name] = waiting[name] = queue = fifo.SyncFIFO(width=len(given), depth=WAITING)
            m.d.comb += [
                queue.w_en.eq(self.scales_en),
                queue.w_data.eq(given),
                queue.r_en.eq(take),
            ]
        m.d.comb += by_key.b.eq(waiting["key_scale"].r_data)

        found = Signal(score_layout(config))
        m.d.comb += [
            found.score.eq(fix.o),
            found.value_scale.eq(waiting["value_scale"].r_data),
            found.at.eq(delay(m, at_converted, self.latency - 1 - convert.LATENCY)),
            found.fresh.eq(delay(m, self.dot.fresh, self.latency - 1)),
            found.ends.eq(delay(m, self.dot.ends, self.latency - 1)),
        ]
        m.submodules.scores = scores = memory.Memory(
            shape=len(found.as_value()), depth=config.core_scores, init=[]
        )
        write = scores.write_port()
        read = scores.read_port()
        m.d.comb += [
            write.en.eq(valid),
            write.addr.eq(self.count),
            write.data.eq(found),
            read.en.eq(self.en),
            read.addr.eq(self.address),
            self.score.eq(read.data),
        ]
        with m.If(valid):
            m.d.sync += self.count.eq(self.count + 1)
        with m.If(self.restart):
            m.d.sync += self.count.eq(0)

        # Greatest score and largest s_v of each head.
        most = data.StructLayout({"score": signed(SCORE_BITS), "value_scale": VALUE_SCALE_BITS})
        m.submodules.greatest = greatest = memory.Memory(
            shape=most, depth=max(2, 1 << len(found.at.as_value())), init=[]
        )
        update = greatest.write_port()
        before, by_weight, by_output = (greatest.read_port(domain="comb") for _ in range(3))
        higher = found.fresh | (found.score > before.data.score)
        larger = found.fresh | (found.value_scale > before.data.value_scale)
        m.d.comb += [
            before.addr.eq(found.at),
            update.en.eq(valid),
            update.addr.eq(found.at),
            update.data.score.eq(Mux(higher, found.score, before.data.score)),
            update.data.value_scale.eq(Mux(larger, found.value_scale, before.data.value_scale)),
            by_weight.addr.eq(self.weight_at),
            self.maximum.eq(by_weight.data.score),
            self.weight_exponent.eq(biased_ceiling(by_weight.data.value_scale)),
            by_output.addr.eq(self.output_at),
            self.output_exponent.eq(biased_ceiling(by_output.data.value_scale)),
        ]
        return m
