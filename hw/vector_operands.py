"""Where the vector unit's operands come from."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .isa import Function, Source
from .lane_timing import LaneTiming
from .machine import MachineConfig
from .ports import ATTENTION_SUM_BITS, AccumulatorRead, TapePort, attention_output_layout
from .vector_issue import VectorFlow, passing, token_ends
from .vector_memory import VectorMemory
from .vector_tokens import count_tokens

__all__ = ["VectorOperands"]


class VectorOperands(wiring.Component):
    """Addresses of operands, and the words of sources outside the unit.

    Parameters
    ----------
    config : MachineConfig
        Sizes.

    Members
    -------
    flow : In(VectorFlow(config.tile, timing))
        The words that begin and are under way; ``available`` says whether one of the source is there.
    tape, accumulator, attention
        As in `hw.vector.Vector`.
    a, b, c : Out(16)
        Addresses for `hw.vector_memory.VectorMemory`.
    a_en, b_en : Out(1)
        Those of ``a`` and ``b`` mean something in this cycle; never both.
    late : Out(1)
        The instruction has both: a word of ``a`` is read in a cycle of its own, the one before ``issue``.
    a_token, b_token : Out(range(config.tile))
        The tokens of ``a`` and ``b``.
    streamed : Out(ArrayLayout(48, lanes))
        The word of ACCUMULATOR, LINEAR, ATTENTION or TAPE, `VectorMemory.LATENCY` cycles after ``issue``.
    head_scale : Out(32)
        The scale of ATTENTION, `LaneTiming.convert` cycles after ``streamed``.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.lanes, self.tokens = config.lanes, config.tile
        self.timing = LaneTiming(config.multiply_cycles)
        super().__init__({
            "flow": In(VectorFlow(self.tokens, self.timing)),
            "tape": Out(TapePort(config)),
            "accumulator": Out(AccumulatorRead(config.lanes)),
            "attention": In(stream.Signature(attention_output_layout(config.lanes))),
            "a": Out(16), "b": Out(16), "c": Out(16),
            "a_en": Out(1), "b_en": Out(1), "late": Out(1),
            "a_token": Out(range(self.tokens)), "b_token": Out(range(self.tokens)),
            "streamed": Out(ArrayLayout(ATTENTION_SUM_BITS, config.lanes)),
            "head_scale": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, plan, lanes = self.flow, self.flow.plan, self.lanes
        tape_word = 4 * lanes
        # What follows from the instruction alone is found as it begins, and held.
        decoded = flow.decoded
        names = "of_tape of_attention of_accumulator of_memory of_two b_at_once c_at_once"
        of_tape, of_attention, of_accumulator, of_memory, of_two, b_at_once, c_at_once = (
            Signal(name=name) for name in names.split()
        )
        with m.If(flow.lasts[0] & (flow.token == flow.more)):  # that wants no more
            m.d.sync += of_tape.eq(0)
        with m.If(flow.start):
            m.d.sync += [
                of_tape.eq(decoded.map & (decoded.source == Source.TAPE) & decoded.words.any()),
                of_attention.eq(decoded.map & (decoded.source == Source.ATTENTION)),
                of_accumulator.eq(
                    decoded.map & ((decoded.source == Source.ACCUMULATOR) | (decoded.source == Source.LINEAR))
                ),
                of_memory.eq(decoded.quantise | (decoded.map & (decoded.source == Source.ACTIVATION))),
                of_two.eq(decoded.map & decoded.second),
                self.late.eq(decoded.map & decoded.second & (decoded.source == Source.ACTIVATION)),
                b_at_once.eq(decoded.b_at_once),
                c_at_once.eq(decoded.c_at_once),
            ]

        def asked(taps: Value, at: Value, at_once: Value, name: str) -> Value:
            """A second operand or constant is asked for with the word that begins, or later."""
            return passing(m, flow.start, taps, at, name) | (at_once & taps[0])

        b_due = passing(m, flow.start, flow.words, plan.b_at, "b_words")
        b_words = b_due | (b_at_once & flow.issue)
        c_words = asked(flow.words, plan.c_at, c_at_once, "c_words")
        c_ends = asked(flow.ends, plan.c_at, c_at_once, "c_ends")

        # The first operand is asked for when its word begins.
        m.d.comb += flow.available.eq(1)
        with m.If(of_tape):
            m.d.comb += flow.available.eq(self.tape.enough)
        with m.If(of_attention):
            m.d.comb += flow.available.eq(self.attention.valid)
        # Activation memory has one port to read: with two operands there, the first one is read a cycle
        # ahead, where no second one is due.
        ahead, read_ahead = Signal(), Signal()
        m.d.comb += [
            self.b_en.eq(of_two & b_words),
            # A second operand that is asked for at once belongs to a word that was read ahead.
            ahead.eq(self.late & flow.ready & ~read_ahead & ~b_due),
            self.a_en.eq(Mux(self.late, ahead, of_memory & flow.ready)),
        ]
        m.d.sync += read_ahead.eq(ahead)
        with m.If(self.late):
            m.d.comb += flow.available.eq(read_ahead)
        m.d.comb += [
            self.tape.want.eq(Mux(of_tape, tape_word, 0)),
            self.tape.take.eq(flow.issue & of_tape),
            self.tape.starved.eq(flow.ready & of_tape & ~flow.available),
            self.attention.ready.eq(flow.ready & of_attention),
            self.accumulator.en.eq(flow.issue & of_accumulator),
            self.accumulator.address.eq(self.a),
            self.accumulator.token.eq(flow.token),
        ]

        # The others are asked for just in time. Each token begins where the first one did; a rotation's row
        # begins again with each segment, and the next token has the next row.
        several = self.tokens > 1
        b_ends = asked(flow.lasts, plan.b_at, b_at_once, "b_lasts") if several else Const(0, 1)
        m.d.comb += [
            self.a_token.eq(flow.token),
            self.b_token.eq(count_tokens(m, self.tokens, flow.start, b_ends, "b_due")),
        ]
        with m.If(flow.issue):
            m.d.sync += self.a.eq(self.a + lanes)
        with m.If(token_ends(flow, 0)):
            m.d.sync += self.a.eq(plan.a)
        with m.If(b_words):
            m.d.sync += self.b.eq(self.b + lanes)
        with m.If(b_ends):
            m.d.sync += self.b.eq(plan.b)
        # What ends a segment or a token is a word too: it enables, and that it ends one chooses last.
        rope = plan.control.function == Function.ROPE
        row, c_begins, first = plan.c, flow.start, flow.decoded.c
        if several:
            row = Signal(16)
            segment = Cat(Const(0, (lanes - 1).bit_length()), plan.segment_words)
            c_begins = flow.start | asked(flow.lasts, plan.c_at, c_at_once, "c_lasts")
            first = Mux(flow.start, flow.decoded.c, Mux(rope, row + segment, plan.c)[:16])
            with m.If(c_begins):
                m.d.sync += row.eq(first)
        with m.If(flow.start | c_words):
            m.d.sync += self.c.eq(Mux(c_begins, first, Mux(rope & c_ends, row, self.c + lanes)))
        with m.If(flow.start):
            m.d.sync += [self.a.eq(flow.decoded.a), self.b.eq(flow.decoded.b)]

        # As late as words of memory: partial sums come one cycle after their address, the others at once.
        early = Signal.like(self.streamed, reset_less=True)
        for lane in range(lanes):
            sums = self.attention.payload.sums.word_select(lane, ATTENTION_SUM_BITS)
            bits = self.tape.data.word_select(lane, 32)
            partial = self.accumulator.data.word_select(lane, 32).as_signed()
            m.d.sync += [
                early[lane].eq(Mux(of_attention, sums, bits)),
                self.streamed[lane].eq(Mux(of_accumulator, partial, early[lane].as_signed())),
            ]
        scale = Signal(32, reset_less=True)
        m.d.comb += [
            scale.eq(self.attention.payload.scale),
            self.head_scale.eq(delay(m, scale, VectorMemory.LATENCY + self.timing.convert)),
        ]
        return m
