"""The attention unit."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .attention_output import AttentionOutput
from .attention_score import AttentionScore
from .attention_weight import AttentionWeight
from .head_geometry import head_geometry_layout
from .isa import Feed, Pass
from .key_dot import KeyDot
from .kv_row import RowReader
from .machine import MachineConfig
from .output_scale import OutputScale
from .ports import (
    POSITION_BITS,
    QueryWrite,
    StageRead,
    TapePort,
    UnitPort,
    attention_output_layout,
    instruction_layout,
)
from .query_memory import QueryMemory
from .stage_feed import StageFeed
from .value_scale import ValueScales
from .value_sum import ValueSum

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Executes ATTEND, one at a time: exact two-pass softmax attention over int8 K and V.

    KEY: `RowReader` cuts K rows, `KeyDot` multiplies them with `QueryMemory`, `AttentionScore` keeps scores
    and maxima, `ValueScales` s_v. VALUE: `AttentionWeight` runs ahead of the V rows, `ValueSum` adds; after
    the last, `OutputScale` and `AttentionOutput` send the heads. Arithmetic: ``models/numerics.py``,
    attention.

    Cycles for a token, P = head_size / attention_bytes, if the tape has the bytes: K kv_heads * max(1 + P,
    group), V kv_heads * max(P, group), plus one for each ``unit_bytes`` of row padding. An ATTEND
    costs beside that, from taking the command to ``done``: from the tape 2 (KEY) or at most 12 (VALUE: the
    first weights follow the KEY pass), from the stage at most 25 (KEY) or 6 (VALUE), as the last of its pass.
    Only the last ATTEND of a pass waits for the pipelines, which keep order.

    The output follows ``done``: the first beat `OutputScale.LATENCY` cycles later, then a head each
    ``Fp32Div.LATENCY + 1`` or head_size / lanes cycles, whichever is more. Until its last beat has been sent,
    no command is taken.

    Program order must be that of the passes: KEY (``first`` on the first, ``last`` on the last), then VALUE
    (likewise), over the same tokens in the same order and with one geometry.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    unit : In(UnitPort)
        Commands.
    tape : Out(TapePort)
        Rows of older tokens.
    query : In(QueryWrite)
        Quantised queries and their scales.
    stage : Out(StageRead)
        Rows of the token itself.
    output : Out(stream of attention_output_layout)
        Sums and scales, to MAP.
    score_saturated : Out(1)
        Scores that saturated, in this cycle.
    products : Out(range(attention_bytes * max_group + 1))
        Integer products begun in this cycle: attention_bytes * group for each part of K or V.
    active : Out(1)
        Part of a row (its scales and padding included) was taken in this cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "unit": In(UnitPort()),
                "tape": Out(TapePort(config)),
                "query": In(QueryWrite(config.lanes)),
                "stage": Out(StageRead(config.attention_bytes)),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "score_saturated": Out(1),
                "products": Out(range(config.attention_bytes * config.max_group + 1)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.feed = feed = StageFeed(config)
        m.submodules.rows = rows = RowReader(config)
        m.submodules.queries = queries = QueryMemory(config)
        m.submodules.dots = dots = KeyDot(config)
        m.submodules.scores = scores = AttentionScore(config)
        m.submodules.scales = scales = ValueScales(config)
        m.submodules.weights = weights = AttentionWeight(config)
        m.submodules.sums = sums = ValueSum(config)
        m.submodules.output_scale = output_scale = OutputScale(config)
        m.submodules.output_stream = output_stream = AttentionOutput(config)

        # The command and what follows from it.
        layout = instruction_layout("ATTEND")
        command = Signal(layout)
        count = Signal(POSITION_BITS)
        is_value = command.half == Pass.VALUE
        is_stage = command.feed == Feed.STAGE
        geometry = Signal(head_geometry_layout(config))
        m.d.comb += [
            geometry.kv_heads.eq(command.kv_heads),
            geometry.group.eq(command.group),
            geometry.parts.eq(command.head_size >> (config.attention_bytes - 1).bit_length()),
        ]
        for part in (rows, dots, weights, sums, output_scale, output_stream):
            m.d.comb += part.geometry.eq(geometry)

        start = Signal()
        finish = Signal()
        given = self.unit.command.payload
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.unit.command.ready.eq(~output_stream.busy)
                with m.If(self.unit.command.valid & ~output_stream.busy):
                    m.d.sync += [
                        command.eq(given.word),
                        count.eq(Mux(layout(given.word).feed == Feed.STAGE, 1, given.position)),
                    ]
                    m.next = "start"
            with m.State("start"):
                m.d.comb += start.eq(1)
                m.next = "run"
            with m.State("run"):
                # The pipelines keep order, so only the end of a pass waits for them.
                under_way = dots.busy | scores.busy | sums.busy
                with m.If(~rows.busy & ~(command.last & under_way)):
                    m.d.comb += finish.eq(1)
                    m.next = "idle"
        m.d.comb += self.unit.done.eq(finish)

        # Rows from the tape or the stage.
        connect(m, flipped(self.stage), feed.stage)
        m.d.comb += [
            feed.start.eq(start & is_stage),
            feed.value.eq(is_value),
            rows.start.eq(start),
            rows.first.eq(command.first),
            rows.value.eq(is_value),
            rows.padded.eq(~is_stage),
            rows.count.eq(count),
            self.active.eq(rows.tape.take != 0),
        ]
        with m.If(is_stage):
            connect_tape(m, rows.tape, feed.tape)
        with m.Else():
            connect_tape(m, rows.tape, self.tape)
        with m.If(rows.part.valid & rows.part.ready):
            m.d.comb += self.products.eq(command.group << (config.attention_bytes - 1).bit_length())

        # KEY: scores, maxima, value scales.
        connect(m, flipped(self.query), queries.write)
        m.d.comb += [
            dots.pair_en.eq(rows.pair_en),
            dots.pair.eq(rows.pair),
            dots.part.payload.eq(rows.part.payload),
            dots.part.valid.eq(rows.part.valid & ~is_value),
            queries.en.eq(dots.query_en),
            queries.addresses.eq(dots.query_addresses),
            dots.query_words.eq(queries.words),
            scores.restart.eq(start & command.first & ~is_value),
            scores.dot_en.eq(dots.dot_en),
            scores.dot.eq(dots.dot),
            queries.head.eq(scores.query_head),
            scores.query_scale.eq(queries.scale),
            self.score_saturated.eq(scores.saturated),
            scales.restart.eq(scores.restart),
            scales.pair_en.eq(rows.pair_en),
            scales.pair.eq(rows.pair),
        ]

        # VALUE: sums; the weights are begun as soon as the KEY pass is over.
        m.d.comb += [
            weights.start.eq(finish & command.last & ~is_value),
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
            sums.part.payload.eq(rows.part.payload),
            sums.part.valid.eq(rows.part.valid & is_value),
            rows.part.ready.eq(Mux(is_value, sums.part.ready, dots.part.ready)),
        ]
        connect(m, weights.weights, sums.weights)

        # The heads, after the last VALUE.
        m.d.comb += [
            output_scale.start.eq(finish & is_value & command.last),
            weights.total_head.eq(output_scale.head),
            output_scale.total.eq(weights.total),
            scales.output_kv_head.eq(output_scale.kv_head),
            output_scale.exponent.eq(scales.output_exponent),
            output_stream.start.eq(output_scale.start),
            output_stream.empty.eq(rows.fresh),
            sums.en.eq(output_stream.en & output_stream.busy),
            sums.address.eq(output_stream.address),
            sums.member.eq(output_stream.member),
            output_stream.sums.eq(sums.sums),
        ]
        connect(m, output_scale.scale, output_stream.scale)
        connect(m, output_stream.output, flipped(self.output))
        return m


def connect_tape(m: Module, consumer: wiring.PureInterface, tape: wiring.PureInterface) -> None:
    """Let ``consumer`` read from ``tape``, in the present condition only."""
    m.d.comb += [
        consumer.data.eq(tape.data),
        consumer.level.eq(tape.level),
        tape.take.eq(consumer.take),
        tape.starved.eq(consumer.starved),
    ]
