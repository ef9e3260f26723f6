"""The vector unit: MAP, QUANTISE and NORM."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .fp32_mul import Fp32Mul
from .isa import Dest, Source
from .lane_timing import LaneTiming
from .machine import MachineConfig
from .ports import (
    LAYER_BITS,
    AccumulatorRead,
    ActivationRead,
    ElementWrite,
    QueryWrite,
    ScalarRead,
    StageWrite,
    TapePort,
    UnitPort,
    attention_output_layout,
)
from .quantise_segments import QuantiseSegments
from .quantise_targets import QuantiseTargets
from .shared import shared
from .vector_decode import VectorDecode
from .vector_issue import VectorIssue, passing, token_ends
from .vector_lane import VectorLane
from .vector_memory import VectorMemory
from .vector_norm import VectorNorm
from .vector_operands import VectorOperands
from .vector_statistics import VectorStatistics
from .vector_tokens import count_tokens

__all__ = ["Vector"]

_TAPS = ("words", "ends", "lasts", "marks")


class Vector(wiring.Component):
    """Executes MAP, QUANTISE and NORM of `hw.isa`, bit for bit as `models.numerics` computes.

    An instruction acts for each live token of its tile, one after another; the words of a token follow those
    of the one before it through the pipeline, which does not drain.

    One instruction at a time: the next is taken in the cycle of ``done``. A word of `lanes` elements begins
    in each cycle, the first in the one after the command was taken, and passes through chains of units that
    never stall, but stand still between instructions; `hw.vector_decode` says after how many cycles it passes
    which point. Gaps arise

    - while tape or attention have nothing;
    - in a scaled MAP from ACTIVATION, LINEAR or TAPE, one cycle before each token, for the scalars' product;
    - in every second cycle at least of a MAP whose operands both are in activation memory, which has one port
      to read;
    - in half of the cycles of a scaled MAP from ATTENTION, whose words need the multiplier twice;
    - in QUANTISE, one cycle before each segment, and first until the division by the first absmax is so far
      that it is finished when the first word is multiplied; `hw.quantise_segments` has the others ready.

    NORM takes the time of `hw.vector_norm`. Operands are read when they are needed; an instruction may write
    to where it reads, element for element; a NORM to the scalars it reads only with its last token. An
    instruction with n = 0 does nothing.

    Parameters
    ----------
    config : MachineConfig
        Sizes.

    Attributes
    ----------
    memory : VectorMemory
        Its memories, for simulation.

    Members
    -------
    unit : In(UnitPort())
        Commands.
    tape : Out(TapePort(config))
        Source TAPE: 4 * lanes bytes a word.
    accumulator : Out(AccumulatorRead(config.lanes))
        Sources ACCUMULATOR and LINEAR.
    attention : In(stream.Signature(attention_output_layout(config.lanes)))
        Source ATTENTION.
    activation : In(ActivationRead(config.lanes))
        A word of activation memory for another unit, in cycles in which this one reads none.
    q_write : Out(ElementWrite(config.lanes, config.activation_bits))
        Target MATMUL: int8 codes, or 12-bit mantissas where the machine has them.
    query : Out(QueryWrite(config.lanes))
        Target QUERY.
    stage : Out(StageWrite(config.lanes))
        Targets KEY and VALUE.
    scalar : In(ScalarRead())
        A scalar for another unit.
    error : Out(1)
        A NORM with ``normalise`` met a saturated sum of a live token; high for one cycle, that of its
        ``done``.
    error_layer : Out(16)
        The layer of that NORM.
    busy : Out(1)
        An instruction is being executed.
    elements : Out(range(lanes + 1))
        Elements that begin in MAP or QUANTISE in this cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.memory = VectorMemory(config)
        super().__init__(
            {
                "unit": In(UnitPort()),
                "tape": Out(TapePort(config)),
                "accumulator": Out(AccumulatorRead(config.lanes)),
                "attention": In(stream.Signature(attention_output_layout(config.lanes))),
                "activation": In(ActivationRead(config.lanes)),
                "q_write": Out(ElementWrite(config.lanes, config.activation_bits)),
                "query": Out(QueryWrite(config.lanes)),
                "stage": Out(StageWrite(config.lanes)),
                "scalar": In(ScalarRead()),
                "error": Out(1),
                "error_layer": Out(LAYER_BITS),
                "busy": Out(1),
                "elements": Out(range(config.lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens, bits = self.config.lanes, self.config.tile, self.config.activation_bits
        mantissas, timing = bits > 8, LaneTiming(self.config.multiply_cycles)
        # From the issue of a word to its multiplication, where it is an integer, and to its second one.
        once = VectorMemory.LATENCY + timing.convert
        again_at = once + timing.scale
        m.submodules.memory = memory = self.memory
        m.submodules.decode = decode = VectorDecode(lanes, mantissas, timing)
        m.submodules.issue = issue = VectorIssue(tokens, timing)
        m.submodules.operands = operands = VectorOperands(self.config)
        m.submodules.product = product = Fp32Mul(timing.multiply)
        m.submodules.segments = segments = QuantiseSegments(tokens, mantissas, timing)
        m.submodules.targets = targets = QuantiseTargets(lanes, tokens, bits)
        m.submodules.statistics = statistics = VectorStatistics(lanes, tokens, timing.multiply)
        m.submodules.norm = norm = VectorNorm(tokens, mantissas, timing.multiply)
        flow, plan = issue.flow, issue.flow.plan

        # Take a command.
        command = self.unit.command
        accept = command.valid & command.ready
        fresh, empty = Signal(), Signal()
        m.d.comb += [
            command.ready.eq(~self.busy | self.unit.done),
            decode.word.eq(command.payload.word),
            issue.start.eq(accept),
            issue.decoded.eq(decode.plan),
            issue.more.eq(command.payload.more),
        ]
        m.d.sync += [fresh.eq(accept), empty.eq(~decode.plan.norm & ~decode.plan.words.any())]
        with m.If(self.unit.done):
            m.d.sync += self.busy.eq(0)
        with m.If(accept):
            m.d.sync += [
                self.busy.eq(1),
                self.error_layer.eq(command.payload.layer),
            ]

        # Divide by the absmax of each segment of a QUANTISE. The mark of a segment passes ahead of its words.
        m.d.comb += [
            segments.start.eq(flow.start),
            segments.decoded.eq(flow.decoded),
            segments.plan.eq(plan),
            segments.more.eq(flow.more),
            segments.marks.eq(flow.marks),
            memory.slot.eq(segments.read_slot),
            memory.maximum_token.eq(
                Mux(plan.norm, Mux(plan.normalise, norm.late_token, norm.token), segments.read_token)
            ),
            segments.maximum.eq(memory.maximum),
            issue.divided.eq(segments.divided),
        ]

        # The product of two scalars: for MAP of those it names, for a query of one with the segment's scale.
        # Where it enters the multiplier, the next token's follows that of the last word of a token.
        begun = Mux(
            plan.twice,
            token_ends(flow, again_at - timing.multiply),
            Mux(plan.control.integer, token_ends(flow, once - timing.multiply), token_ends(flow, 0)),
        )
        with m.If(plan.map & begun):
            m.d.sync += memory.index_0.eq(memory.index_0 + 1)
        with m.If(accept):
            m.d.sync += memory.index_0.eq(decode.plan.index_0)
        m.d.comb += [
            memory.index_1.eq(plan.index_1),
            memory.index_2.eq(self.scalar.index),
            self.scalar.value.eq(memory.value_2),
            product.en.eq(1),
            memory.instead_en.eq(plan.quantise),
            memory.instead.eq(segments.scale),
            product.a.eq(memory.value_1),
            product.b.eq(memory.value_0),
        ]

        # Read the operands of a word.
        connect(m, flow, operands.flow)
        connect(m, operands.tape, flipped(self.tape))
        connect(m, operands.accumulator, flipped(self.accumulator))
        connect(m, operands.attention, flipped(self.attention))
        connect(m, flipped(self.activation), memory.spill)
        m.d.comb += [
            memory.a.eq(operands.a),
            memory.a_en.eq(operands.a_en),
            memory.a_token.eq(operands.a_token),
            memory.b.eq(operands.b),
            memory.b_en.eq(operands.b_en),
            memory.b_token.eq(operands.b_token),
            memory.c.eq(operands.c),
            self.elements.eq(Mux(flow.issue, lanes, 0)),
        ]

        # Compute.
        in_memory, of_attention = Signal(), Signal()
        with m.If(accept):
            m.d.sync += [
                in_memory.eq(decode.plan.source == Source.ACTIVATION),
                of_attention.eq(decode.plan.source == Source.ATTENTION),
            ]
        # What is multiplied again, and by what, is known a cycle ahead.
        again, per_head = Signal(), Signal()
        again_next = ~flow.start & plan.twice & flow.words[again_at - 1]
        m.d.sync += [again.eq(again_next), per_head.eq(of_attention & ~again_next)]
        units = [VectorLane(bool(lane % 2), timing) for lane in range(lanes)]
        for lane, unit in enumerate(units):
            m.submodules[f"lane_{lane}"] = shared(unit, platform)
            gain = memory.c_word[lane]
            m.d.comb += [
                unit.en.eq(self.busy),
                unit.control.eq(plan.control),
                unit.word.eq(
                    Mux(
                        in_memory,
                        Mux(operands.late, memory.late_word[lane], memory.word[lane]),
                        operands.streamed[lane],
                    )
                ),
                unit.factor.eq(Mux(plan.quantise, gain, Mux(per_head, operands.head_scale, product.o))),
                unit.again.eq(again),
                unit.other.eq(units[lane ^ 1].x),
                unit.b.eq(memory.word[lane]),
                unit.cosine.eq(memory.c_word[lane & ~1]),
                unit.sine.eq(memory.c_word[lane | 1]),
                unit.inverse.eq(segments.inverse),
                unit.gain.eq(gain),
            ]

        # Write.
        connect(m, targets.matmul, flipped(self.q_write))
        connect(m, targets.query, flipped(self.query))
        connect(m, targets.stage, flipped(self.stage))
        d = Signal(16)

        def later(name: str) -> Value:
            """Taps from the second on: a word writes nothing before its operands are there."""
            return Cat(Const(0, 1), getattr(flow, name)[1:])

        at_z = {name: passing(m, flow.start, later(name), plan.z_at, f"z_{name}") for name in _TAPS}
        at_y = {name: passing(m, flow.start, later(name), plan.y_at, f"y_{name}") for name in _TAPS[:3]}
        written = at_z["words"]
        z_ends = at_z["lasts"] if tokens > 1 else Const(0, 1)
        z_token = count_tokens(m, tokens, accept, z_ends, "z_due")
        banked = plan.quantise | (plan.dest == Dest.ACTIVATION)
        # NORM writes scalar by scalar.
        with m.If(written | norm.en):
            m.d.sync += d.eq(d + Cat(plan.norm, Const(0, (lanes - 1).bit_length() - 1), ~plan.norm))
        with m.If(fresh | (z_ends & banked)):
            m.d.sync += d.eq(plan.d)
        m.d.comb += [
            memory.write_token.eq(z_token),
            memory.write_en.eq(plan.map & written),
            memory.write_dest.eq(plan.dest),
            memory.write_address.eq(d),
            targets.start.eq(accept | z_ends),
            targets.token.eq(z_token),
            targets.target.eq(plan.target),
            targets.en.eq(plan.quantise & written),
            targets.address.eq(d),
            targets.scale_en.eq(at_z["marks"]),
            targets.scale.eq(segments.scale),
            targets.query_scale.eq(product.o),
        ]
        for lane, unit in enumerate(units):
            m.d.comb += [
                memory.write_word[lane].eq(unit.z),
                targets.q[lane].eq(unit.q),
                statistics.z[lane].eq(unit.z),
                statistics.y[lane].eq(unit.y),
            ]

        # Gather statistics.
        connect(m, statistics.write, memory.statistics)
        gather = plan.map & plan.statistics
        m.d.comb += [
            statistics.start.eq(fresh),
            statistics.slot.eq(plan.slot),
            statistics.grid.eq(plan.grid),
            statistics.gain.eq(plan.gain),
            statistics.z_valid.eq(gather & written),
            statistics.z_last.eq(at_z["ends"]),
            statistics.z_final.eq(z_ends),
            statistics.y_valid.eq(gather & at_y["words"]),
            statistics.y_last.eq(at_y["ends"]),
            statistics.y_final.eq(at_y["lasts"] if tokens > 1 else 0),
        ]

        # Compute a norm.
        m.d.comb += [
            norm.start.eq(accept & decode.plan.norm),
            norm.more.eq(flow.more),
            norm.normalise.eq(plan.normalise),
            norm.mantissa.eq(plan.mantissa),
            memory.total_token.eq(norm.token),
            norm.total.eq(memory.total),
            norm.maximum.eq(memory.maximum),
            norm.c.eq(memory.value_0),
            norm.eps.eq(memory.value_1),
            memory.scalar_en.eq(norm.en),
            memory.scalar_value.eq(norm.value),
            self.error.eq(norm.error),
        ]

        # Finish.
        nothing = fresh & empty
        done = passing(m, flow.start, later("lasts"), plan.done_at, "done")
        done_token = count_tokens(m, tokens, accept, done if tokens > 1 else Const(0, 1), "done_due")
        last = done & (done_token == flow.more)
        m.d.comb += self.unit.done.eq(last | norm.done | nothing)
        return m
