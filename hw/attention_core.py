"""The attention of some tokens of the tile."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .attention_output import AttentionOutput
from .attention_score import AttentionScore
from .attention_weight import AttentionWeight
from .delay_line import delay
from .head_geometry import head_geometry_layout
from .key_dot import KeyDot
from .kv_row import part_layout
from .machine import MachineConfig
from .output_scale import OutputScale
from .part_steps import PartSteps
from .ports import QueryWrite, attention_output_layout
from .query_memory import QueryMemory
from .step_sums import StepSums

__all__ = ["AttentionCore"]


class AttentionCore(wiring.Component):
    """Exact two-pass softmax attention of ``core_tokens`` tokens over the int8 K and V rows that they see.

    `PartSteps` takes a part for one query head of one token after another: n tokens that see it take n *
    group cycles; others of the tile none. KEY: `StepSums` multiplies K with `QueryMemory`, `KeyDot` adds,
    `AttentionScore` keeps scores with s_v, and maxima. VALUE: `AttentionWeight` runs ahead of the V rows,
    `StepSums` multiplies and adds; after the last, `OutputScale` and `AttentionOutput` send the heads.
    Nothing stalls behind `PartSteps`. Arithmetic: ``models/numerics.py``, attention.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    query, query_slot : In(QueryWrite), In(range(core_tokens))
        Quantised queries and their scales, of the tokens of this core only; of which one.
    value : In(1)
        Half: 0 KEY, 1 VALUE.
    begin : In(1)
        A pass begins: the row that comes next is its first; only while not ``busy``.
    finish, last_slot : In(1), In(range(core_tokens))
        The pass is over: no rows remain, and the core is not ``busy``. KEY: the weights are begun; VALUE: the
        output of tokens up to ``last_slot``, which is held.
    part_en, part, tokens, part_ready : In(1), In(part_layout(config)), In(core_tokens), Out(1)
        A part of such a row, and who sees it; taken while ``part_ready``, which does not depend on
        ``part_en``.
    busy : Out(1)
        Steps, scores or sums are under way.
    score_saturated : Out(1)
        A score saturated, in this cycle.
    output : Out(stream of attention_output_layout)
        Sums and scales.
    token_end : Out(1)
        The beat of output is the last of its token.
    sending : Out(1)
        Output remains to be sent.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        slot = range(config.core_tokens)
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "query": In(QueryWrite(config.lanes)),
                "query_slot": In(slot),
                "value": In(1),
                "begin": In(1),
                "finish": In(1),
                "last_slot": In(slot),
                "part_en": In(1),
                "part": In(part_layout(config)),
                "tokens": In(config.core_tokens),
                "part_ready": Out(1),
                "busy": Out(1),
                "score_saturated": Out(1),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "token_end": Out(1),
                "sending": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.steps = steps = PartSteps(config)
        m.submodules.queries = queries = QueryMemory(config)
        m.submodules.dots = dots = KeyDot(config)
        m.submodules.scores = scores = AttentionScore(config)
        m.submodules.weights = weights = AttentionWeight(config)
        m.submodules.sums = sums = StepSums(config)
        m.submodules.output_scale = output_scale = OutputScale(config)
        m.submodules.output_stream = output_stream = AttentionOutput(config)
        for part in (steps, output_scale, output_stream):
            m.d.comb += part.geometry.eq(self.geometry)

        # Steps: operands are read, then multiplied.
        connect(m, flipped(self.query), queries.write)
        m.d.comb += [
            steps.value.eq(self.value),
            steps.begin.eq(self.begin),
            steps.part.payload.eq(self.part),
            steps.part.valid.eq(self.part_en),
            steps.tokens.eq(self.tokens),
            steps.hold.eq(~weights.available),
            self.part_ready.eq(steps.part.ready),
            queries.write_slot.eq(self.query_slot),
            queries.en.eq(steps.en & ~self.value),
            queries.slot.eq(steps.step.at.slot),
            queries.address.eq(steps.step.address),
            sums.value.eq(self.value),
            sums.data.eq(delay(m, steps.data, 1)),
            sums.query.eq(queries.word),
            sums.weight.eq(delay(m, weights.weight, 1)),
        ]
        # What a step is of, and that it is of the pass: beside its operands, and with its products.
        passes = Cat(steps.en & ~self.value, steps.en & self.value, steps.step)
        beside = [delay(m, passes, 1)]
        for _ in range(sums.LATENCY):
            beside.append(delay(m, beside[-1], 1))

        # KEY: scores, maxima, value scales.
        key_flow = [steps.en & ~self.value]
        for _ in range(1 + sums.LATENCY + dots.latency):
            key_flow.append(delay(m, key_flow[-1], 1))
        m.d.comb += [
            dots.en.eq(beside[-1][0]),
            dots.step.eq(beside[-1][2:]),
            dots.products.eq(sums.products),
            scores.restart.eq(self.begin & ~self.value),
            scores.scales_en.eq(steps.en & ~self.value & steps.step.last),
            scores.key_scale.eq(steps.key_scale),
            scores.value_scale.eq(steps.value_scale),
            scores.dot_en.eq(dots.dot_en),
            scores.dot.eq(dots.dot),
            queries.scale_slot.eq(scores.query_at.slot),
            queries.head.eq(scores.query_at.head),
            scores.query_scale.eq(queries.scale),
            self.score_saturated.eq(scores.saturated),
        ]

        # VALUE: sums; the weights are begun as soon as the KEY pass is over.
        m.d.comb += [
            weights.start.eq(self.finish & ~self.value),
            weights.count.eq(scores.count),
            scores.en.eq(weights.en),
            scores.address.eq(weights.score_address),
            weights.score.eq(scores.score),
            scores.weight_at.eq(weights.at),
            weights.maximum.eq(scores.maximum),
            weights.exponent.eq(scores.weight_exponent),
            weights.index.eq(steps.step.index),
            weights.pop.eq(steps.en & self.value & steps.step.ends & steps.step.last),
            sums.step_en.eq(beside[0][1]),
            sums.step.eq(beside[0][2:]),
        ]
        # A step in this cycle is in `steps.busy`; those of KEY up to their dot product and of VALUE up to
        # their sum are found a cycle before.
        passing = Signal()
        m.d.sync += passing.eq(
            steps.en | Cat(key_flow[1:-1]).any() | Cat(stage[1] for stage in beside[: sums.LATENCY - 1]).any()
        )
        m.d.comb += self.busy.eq(steps.busy | passing | scores.busy | sums.busy)

        # The heads, after the last VALUE. A token that saw nothing has a sum of 0.
        m.d.comb += [
            output_scale.start.eq(self.finish & self.value),
            output_scale.last_slot.eq(self.last_slot),
            weights.total_at.eq(output_scale.at),
            output_scale.total.eq(Mux(steps.unseen.bit_select(output_scale.at.slot, 1), 0, weights.total)),
            scores.output_at.eq(output_scale.at),
            output_scale.exponent.eq(scores.output_exponent),
            output_stream.start.eq(output_scale.start),
            output_stream.last_slot.eq(self.last_slot),
            output_stream.empty.eq(steps.unseen),
            sums.en.eq(output_stream.en & output_stream.busy),
            sums.slot.eq(output_stream.slot),
            sums.address.eq(output_stream.address),
            output_stream.sums.eq(sums.sums),
            self.token_end.eq(output_stream.token_end),
            self.sending.eq(output_stream.busy),
        ]
        connect(m, output_scale.scale, output_stream.scale)
        connect(m, output_stream.output, flipped(self.output))
        return m
