"""Weights of the tokens: softmax numerators times relative value scales."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .attention_score import SCORE_BITS, score_layout
from .delay_line import delay
from .exp2 import PROBABILITY_BITS, Exp2
from .machine import MachineConfig
from .part_steps import head_index_layout
from .ports import POSITION_BITS
from .value_weight import ValueWeight

__all__ = ["TOTAL_BITS", "AttentionWeight"]

#: Probabilities of as many tokens as a position can count.
TOTAL_BITS = PROBABILITY_BITS + POSITION_BITS
#: Groups of weights that wait for their V head.
WAITING = 2


class AttentionWeight(wiring.Component):
    """Computes the value weights of all scores in order; sums the probabilities of each head.

    p = 2**(score - maximum), total += p, weight = value_weight(p, s_v, exponent): `Exp2`, `ValueWeight`. One
    weight a cycle. Those of a row and K/V head, of all tokens and members, are a group; up to `WAITING`
    groups wait for their V head, whose parts each need them all. A first group of one weight is there
    `LATENCY` cycles after ``start``.

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
    start : In(1)
        Begin with the first score; only while all weights asked for before have been taken.
    count : In(range(core_scores + 1))
        Scores, taken together with ``start``.
    en : Out(1)
        Advance; for the memory below.
    score_address, score : Out, In(score_layout(config))
        Read port of `AttentionScore`.
    at, maximum, exponent : Out, In(signed(32)), In(8)
        Its port for what is known of a head.
    available : Out(1)
        A group is there; a register.
    index, weight : In(range(core_tokens * max_group)), Out(24)
        Which weight of it is wanted, and this, in the same cycle.
    pop : In(1)
        The group has been used; only while ``available``.
    total_at, total : In(head_index_layout(config)), Out(44)
        Head whose sum is wanted, and this, in the same cycle; of a token that saw something.
    """

    LATENCY = Exp2.LATENCY + ValueWeight.LATENCY + 5

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        at, words = head_index_layout(config), config.core_scores
        super().__init__(
            {
                "start": In(1),
                "count": In(range(words + 1)),
                "en": Out(1),
                "score_address": Out(range(words)),
                "score": In(score_layout(config)),
                "at": Out(at),
                "maximum": In(SCORE_BITS),
                "exponent": In(8),
                "available": Out(1),
                "index": In(range(config.core_tokens * config.max_group)),
                "weight": Out(PROBABILITY_BITS),
                "pop": In(1),
                "total_at": In(at),
                "total": Out(TOTAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, en = self.config, self.en

        # Walk the scores; each tells whose it is.
        left = Signal.like(self.count)
        valid = left != 0
        with m.If(en & valid):
            m.d.sync += [
                left.eq(left - 1),
                self.score_address.eq(self.score_address + 1),
            ]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.count),
                self.score_address.eq(0),
            ]

        # A register behind the memory; distance below the maximum, its power of two.
        m.submodules.power = power = Exp2()
        score = Signal(score_layout(config), reset_less=True)
        distance = Signal(SCORE_BITS, reset_less=True)
        with m.If(en):
            m.d.sync += [
                score.eq(self.score),
                distance.eq(self.maximum - score.score),
            ]
        m.d.comb += [
            self.at.eq(score.at),
            power.en.eq(en),
            power.distance.eq(distance),
        ]
        tags = Cat(score.at, score.fresh, score.ends, delay(m, valid, 2, en))
        tags = delay(m, tags, 1 + power.LATENCY, en)
        at_bits = len(score.at.as_value())
        powered = tags[at_bits + 2]

        # s_v arrives a cycle before the probability.
        m.submodules.weigh = weigh = ValueWeight()
        beside = 1 + power.LATENCY + weigh.LATENCY - weigh.SCALE_LATENCY
        m.d.comb += [
            weigh.en.eq(en),
            weigh.probability.eq(power.o),
            weigh.scale.eq(delay(m, score.value_scale, beside, en)),
            weigh.exponent.eq(delay(m, self.exponent, beside, en)),
        ]

        # Sums. The next score may be of the same head.
        m.submodules.totals = totals = memory.Memory(shape=TOTAL_BITS, depth=max(2, 1 << at_bits), init=[])
        update = totals.write_port()
        before = totals.read_port(domain="comb")
        found = totals.read_port(domain="comb")
        m.d.comb += [
            before.addr.eq(tags[:at_bits]),
            update.en.eq(powered & en),
            update.addr.eq(before.addr),
            update.data.eq(Mux(tags[at_bits], 0, before.data) + power.o),
            found.addr.eq(self.total_at),
            self.total.eq(found.data),
        ]

        # Groups in turn. All halts while a weight has no place.
        weighed, ends = delay(m, Cat(powered, tags[at_bits + 1]), weigh.LATENCY, en)
        place = Signal.like(self.index)
        filling, using = Signal(), Signal()
        full = Signal()
        pushed = Signal()
        m.submodules.groups = groups = memory.Memory(
            shape=PROBABILITY_BITS, depth=WAITING << len(place), init=[]
        )
        put = groups.write_port()
        get = groups.read_port(domain="comb")
        m.d.comb += [
            en.eq(~(weighed & full)),
            put.en.eq(weighed & en),
            put.addr.eq(Cat(place, filling)),
            put.data.eq(weigh.o),
            pushed.eq(put.en & ends),
            get.addr.eq(Cat(self.index, using)),
            self.weight.eq(get.data),
        ]
        # Of 0 to 2 groups, as flags: `full` is two.
        with m.If(pushed ^ self.pop):
            m.d.sync += [
                self.available.eq(pushed | full),
                full.eq(pushed & self.available),
            ]
        m.d.sync += [
            filling.eq(filling ^ pushed),
            using.eq(using ^ self.pop),
        ]
        with m.If(put.en):
            m.d.sync += place.eq(Mux(ends, Const(0), place + 1))
        return m
