"""The attention of one token of the tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .attention_output import AttentionOutput
from .attention_score import AttentionScore
from .attention_weight import AttentionWeight
from .head_geometry import head_geometry_layout
from .key_dot import KeyDot
from .kv_row import pair_layout, part_layout
from .machine import MachineConfig
from .output_scale import OutputScale
from .ports import QueryWrite, attention_output_layout
from .query_memory import QueryMemory
from .value_scale import ValueScales
from .value_sum import ValueSum

__all__ = ["AttentionCore"]


class AttentionCore(wiring.Component):
    """Exact two-pass softmax attention of one token over the int8 K and V rows that it sees.

    KEY: `KeyDot` multiplies K parts with `QueryMemory`, `AttentionScore` keeps scores and maxima,
    `ValueScales` s_v. VALUE: `AttentionWeight` runs ahead of the V rows, `ValueSum` adds; after the last,
    `OutputScale` and `AttentionOutput` send the heads. Arithmetic: ``models/numerics.py``, attention.

    Parameters
    ----------
    config : MachineConfig
        Machine.
    waits : bool
        Another core sends before this one: up to ``max_heads`` output scales are computed meanwhile.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    query : In(QueryWrite)
        Quantised queries and their scales, of this token only.
    value : In(1)
        Half: 0 KEY, 1 VALUE.
    begin : In(1)
        A pass begins: the row that comes next is its first.
    finish : In(1)
        The pass is over: no rows remain, and the core is not ``busy``. KEY: the weights are begun; VALUE: the
        output.
    pair_en, pair : In(1), In(pair_layout(config))
        Scales of a row that the token sees; always accepted.
    part_en, part, part_ready : In(1), In(part_layout(config)), Out(1)
        A part of such a row is taken; only while ``part_ready``, which does not depend on ``part_en``.
    busy : Out(1)
        Scores or sums are under way.
    score_saturated : Out(1)
        A score saturated, in this cycle.
    output : Out(stream of attention_output_layout)
        Sums and scales.
    sending : Out(1)
        Output remains to be sent.
    """

    def __init__(self, config: MachineConfig, waits: bool = False) -> None:
        self.config, self.waits = config, waits
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "query": In(QueryWrite(config.lanes)),
                "value": In(1),
                "begin": In(1),
                "finish": In(1),
                "pair_en": In(1),
                "pair": In(pair_layout(config)),
                "part_en": In(1),
                "part": In(part_layout(config)),
                "part_ready": Out(1),
                "busy": Out(1),
                "score_saturated": Out(1),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "sending": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.queries = queries = QueryMemory(config)
        m.submodules.dots = dots = KeyDot(config)
        m.submodules.scores = scores = AttentionScore(config)
        m.submodules.scales = scales = ValueScales(config)
        m.submodules.weights = weights = AttentionWeight(config)
        m.submodules.sums = sums = ValueSum(config)
        m.submodules.output_scale = output_scale = OutputScale(config)
        m.submodules.output_stream = output_stream = AttentionOutput(config)
        for part in (dots, weights, sums, output_scale, output_stream):
            m.d.comb += part.geometry.eq(self.geometry)

        # No row of this pass has been taken to its end.
        fresh = Signal()
        with m.If(self.begin):
            m.d.sync += fresh.eq(1)
        with m.Elif(self.part_en & self.part.row_last):
            m.d.sync += fresh.eq(0)
        m.d.comb += [
            self.part_ready.eq(Mux(self.value, sums.part.ready, dots.part.ready)),
            self.busy.eq(dots.busy | scores.busy | sums.busy),
        ]

        # KEY: scores, maxima, value scales.
        connect(m, flipped(self.query), queries.write)
        m.d.comb += [
            dots.pair_en.eq(self.pair_en),
            dots.pair.eq(self.pair),
            dots.part.payload.eq(self.part),
            dots.part.valid.eq(self.part_en & ~self.value),
            dots.fresh.eq(fresh),
            queries.en.eq(dots.query_en),
            queries.addresses.eq(dots.query_addresses),
            dots.query_words.eq(queries.words),
            scores.restart.eq(self.begin & ~self.value),
            scores.dot_en.eq(dots.dot_en),
            scores.dot.eq(dots.dot),
            queries.head.eq(scores.query_head),
            scores.query_scale.eq(queries.scale),
            self.score_saturated.eq(scores.saturated),
            scales.restart.eq(scores.restart),
            scales.pair_en.eq(self.pair_en),
            scales.pair.eq(self.pair),
            scales.fresh.eq(fresh),
        ]

        # VALUE: sums; the weights are begun as soon as the KEY pass is over.
        m.d.comb += [
            weights.start.eq(self.finish & ~self.value),
            weights.count.eq(scores.count),
            scores.en.eq(weights.en),
            scores.address.eq(weights.score_address),
            weights.score.eq(scores.score),
            scores.head.eq(weights.head),
            weights.maximum.eq(scores.maximum),
            scales.en.eq(weights.en),
            scales.address.eq(weights.scale_address),
            weights.scale.eq(scales.scale),
            scales.weight_kv_head.eq(weights.kv_head),
            weights.exponent.eq(scales.weight_exponent),
            sums.part.payload.eq(self.part),
            sums.part.valid.eq(self.part_en & self.value),
            sums.fresh.eq(fresh),
        ]
        connect(m, weights.weights, sums.weights)

        # The heads, after the last VALUE.
        m.d.comb += [
            output_scale.start.eq(self.finish & self.value),
            weights.total_head.eq(output_scale.head),
            output_scale.total.eq(weights.total),
            scales.output_kv_head.eq(output_scale.kv_head),
            output_scale.exponent.eq(scales.output_exponent),
            output_stream.start.eq(output_scale.start),
            output_stream.empty.eq(fresh),
            sums.en.eq(output_stream.en & output_stream.busy),
            sums.address.eq(output_stream.address),
            sums.member.eq(output_stream.member),
            output_stream.sums.eq(sums.sums),
            self.sending.eq(output_stream.busy),
        ]
        if self.waits:
            m.submodules.ready_scales = ready_scales = fifo.SyncFIFO(width=32, depth=config.max_heads)
            m.d.comb += [
                ready_scales.w_data.eq(output_scale.scale.payload),
                ready_scales.w_en.eq(output_scale.scale.valid),
                output_scale.scale.ready.eq(ready_scales.w_rdy),
                output_stream.scale.payload.eq(ready_scales.r_data),
                output_stream.scale.valid.eq(ready_scales.r_rdy),
                ready_scales.r_en.eq(output_stream.scale.ready),
            ]
        else:
            connect(m, output_scale.scale, output_stream.scale)
        connect(m, output_stream.output, flipped(self.output))
        return m
