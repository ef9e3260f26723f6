"""Weights of the tokens: softmax numerators times relative value scales."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .attention_score import SCORE_BITS
from .delay_line import delay
from .exp2 import PROBABILITY_BITS, Exp2
from .head_geometry import head_geometry_layout
from .machine import MachineConfig
from .ports import POSITION_BITS
from .value_weight import ValueWeight

__all__ = ["TOTAL_BITS", "AttentionWeight", "weights_layout"]

#: Probabilities of as many tokens as a position can count.
TOTAL_BITS = PROBABILITY_BITS + POSITION_BITS
#: Groups of weights that wait for their V head.
WAITING = 2


def weights_layout(config: MachineConfig) -> data.ArrayLayout:
    """u0.24 weights of the members of one group for one token."""
    return data.ArrayLayout(PROBABILITY_BITS, config.max_group)


class AttentionWeight(wiring.Component):
    """Computes the value weights of all scores in order; sums the probabilities of each head.

    p = 2**(score - maximum), total += p, weight = value_weight(p, s_v, exponent): `Exp2`, `ValueWeight`. One
    weight a cycle; those of a (token, K/V head) leave together, up to `WAITING` groups ahead of their V head.
    The first are there ``LATENCY + group`` cycles after ``start``.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    LATENCY : int
        Cycles from ``start`` to the weight of the first head.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    start : In(1)
        Begin with the first score, sums at 0; only while all weights asked for before have been taken.
    count : In(range(score_words + 1))
        Scores, taken together with ``start``: a multiple of the heads.
    en : Out(1)
        Advance; for the memories below.
    score_address, score, head, maximum : Out, In, Out, In
        Read port of `AttentionScore`.
    scale_address, scale, kv_head, exponent : Out, In, Out, In
        Read port of `ValueScales`.
    weights : Out(stream of weights_layout)
        Weights, one group after the other.
    total_head, total : In(range(max_heads)), Out(44)
        Head whose sum is wanted, and this, in the same cycle; 0 before the first token of the pass.
    """

    LATENCY = Exp2.LATENCY + ValueWeight.LATENCY + 5

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        head, score = range(config.max_heads), range(config.score_words)
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "start": In(1),
                "count": In(range(config.score_words + 1)),
                "en": Out(1),
                "score_address": Out(score),
                "score": In(SCORE_BITS),
                "head": Out(head),
                "maximum": In(SCORE_BITS),
                "scale_address": Out(score),
                "scale": In(32),
                "kv_head": Out(head),
                "exponent": In(8),
                "weights": Out(stream.Signature(weights_layout(config))),
                "total_head": In(head),
                "total": Out(TOTAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = self.en

        # Walk the scores: member, K/V head, token.
        left = Signal.like(self.count)
        fresh = Signal()
        member = Signal(range(self.config.max_group))
        head = Signal(range(self.config.max_heads))
        kv_head = Signal.like(head)
        score_place = Signal.like(self.score_address)
        scale_place = Signal.like(self.scale_address)
        valid = left != 0
        last_member = member == self.geometry.group - 1
        last_head = kv_head == self.geometry.kv_heads - 1
        m.d.comb += self.score_address.eq(score_place)
        with m.If(en & valid):
            m.d.sync += [
                left.eq(left - 1),
                member.eq(member + 1),
                head.eq(head + 1),
                score_place.eq(score_place + 1),
            ]
            with m.If(last_member):
                m.d.sync += [
                    member.eq(0),
                    kv_head.eq(kv_head + 1),
                    scale_place.eq(scale_place + 1),
                ]
                with m.If(last_head):
                    m.d.sync += [
                        head.eq(0),
                        kv_head.eq(0),
                        fresh.eq(0),
                    ]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.count),
                fresh.eq(1),
                score_place.eq(0),
                scale_place.eq(0),
            ]

        # Distance below the maximum, its power of two.
        m.submodules.power = power = Exp2()
        distance = Signal(SCORE_BITS, reset_less=True)
        m.d.comb += self.head.eq(delay(m, head, 1, en))
        with m.If(en):
            m.d.sync += distance.eq(self.maximum - self.score)
        m.d.comb += [
            power.en.eq(en),
            power.distance.eq(distance),
        ]

        # s_v arrives with the probability.
        ahead = 2 + power.LATENCY
        m.submodules.weigh = weigh = ValueWeight()
        m.d.comb += [
            self.scale_address.eq(delay(m, scale_place, ahead - 1, en)),
            self.kv_head.eq(delay(m, kv_head, ahead, en)),
            weigh.en.eq(en),
            weigh.probability.eq(power.o),
            weigh.scale.eq(self.scale),
            weigh.exponent.eq(self.exponent),
        ]

        # Sums. The next score may be of the same head.
        m.submodules.totals = totals = memory.Memory(shape=TOTAL_BITS, depth=self.config.max_heads, init=[])
        update = totals.write_port()
        before = totals.read_port(domain="comb")
        found = totals.read_port(domain="comb")
        powered = delay(m, valid, ahead, en)
        m.d.comb += [
            before.addr.eq(delay(m, self.head, ahead - 1, en)),
            update.en.eq(powered & en),
            update.addr.eq(before.addr),
            update.data.eq(Mux(delay(m, fresh, ahead, en), 0, before.data) + power.o),
            found.addr.eq(self.total_head),
            self.total.eq(Mux(fresh, 0, found.data)),
        ]

        # Gather the members of a group. All halts while a whole group can't leave.
        weighed = delay(m, powered, weigh.LATENCY, en)
        place = delay(m, member, ahead + weigh.LATENCY, en)
        group = Signal(weights_layout(self.config))
        complete = delay(m, weighed & delay(m, last_member, ahead + weigh.LATENCY, en), 1, en)
        with m.If(en & weighed):
            m.d.sync += group[place].eq(weigh.o)

        m.submodules.waiting = waiting = fifo.SyncFIFO(width=len(group.as_value()), depth=WAITING)
        m.d.comb += [
            en.eq(~complete | waiting.w_rdy),
            waiting.w_en.eq(complete),
            waiting.w_data.eq(group),
            self.weights.valid.eq(waiting.r_rdy),
            self.weights.payload.eq(waiting.r_data),
            waiting.r_en.eq(self.weights.ready),
        ]
        return m
