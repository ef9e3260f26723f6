"""When the words of a vector instruction begin, and where in the pipeline they are."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .lane_timing import LaneTiming
from .vector_decode import max_tap, vector_plan
from .vector_tokens import count_tokens

__all__ = ["VectorFlow", "VectorIssue", "passing", "token_ends"]

#: A count of 0, where a register holds a count minus 2.
_NONE = -2


class VectorFlow(wiring.Signature):
    """Where the words of the instruction are (seen from `VectorIssue`).

    Parameters
    ----------
    tokens : int
        Tokens of a tile.
    timing : LaneTiming
        Cycles of the lanes' units.

    Members
    -------
    start : Out(1)
        ``decoded`` is a new instruction; no word of an earlier one is in the pipeline after this cycle.
    decoded : Out(vector_plan(timing))
        The instruction.
    plan : Out(vector_plan(timing))
        The instruction that was started last.
    more : Out(range(tokens))
        Tokens it acts for beside the first.
    token : Out(range(tokens))
        The token of the word that begins next.
    available : In(1)
        The first operand of a word is there.
    ready : Out(1)
        A word begins if it is available.
    issue, mark : Out(1)
        A word begins; a segment of QUANTISE begins.
    words, ends, lasts, marks : Out(max_tap(timing) + 1)
        Bit k: k cycles ago began a word; one that ends a segment; the last one of a token; a segment of
        QUANTISE.
    """

    def __init__(self, tokens: int, timing: LaneTiming) -> None:
        plan = vector_plan(timing)
        super().__init__({
            "start": Out(1), "decoded": Out(plan), "plan": Out(plan), "more": Out(range(tokens)),
            "token": Out(range(tokens)), "available": In(1),
            "ready": Out(1), "issue": Out(1), "mark": Out(1),
            **{name: Out(max_tap(timing) + 1) for name in ("words", "ends", "lasts", "marks")},
        })  # fmt: skip


def token_ends(flow: wiring.FlippedInterface | wiring.PureInterface, tap: Value | int) -> Value:
    """The last word of a token passes ``tap``, and another token may follow: never where a tile has one."""
    return flow.lasts.bit_select(tap, 1) if len(flow.more) else Const(0, 1)


def passing(m: Module, start: Value, taps: Value, at: Value, name: str) -> Signal:
    """What passes tap ``at``, 1 or more, of ``taps`` of a `VectorFlow` with this ``start``: in a register of
    that name, chosen among the taps a cycle ahead, the first tap, which is no register, after the others."""
    found = Signal(name=name)
    chosen = Cat(Const(0, 1), taps[1:]).bit_select((at - 1)[: len(at)], 1)
    m.d.sync += found.eq(~start & (chosen | (taps[0] & (at == 1))))
    return found


class VectorIssue(wiring.Component):
    """Counts words and segments of one MAP or QUANTISE and follows them through the pipeline.

    A word begins in every cycle in which its operand is available, the first in the one after ``start``, or
    ``wait`` cycles later; the first of each further token in the one after the last word of the token before
    it, or ``wait`` cycles later. QUANTISE begins each segment with a mark, in a cycle of its own, the first
    one when ``divided`` allows it.

    Parameters
    ----------
    tokens : int
        Tokens of a tile.
    timing : LaneTiming
        Cycles of the lanes' units.

    Members
    -------
    start : In(1)
        Begin the instruction ``decoded``.
    decoded : In(vector_plan(timing))
        Instruction.
    more : In(range(tokens))
        Tokens that it acts for beside the first.
    divided : In(1)
        Segments of QUANTISE may begin.
    flow : Out(VectorFlow(tokens, timing))
        What is under way.
    """

    def __init__(self, tokens: int, timing: LaneTiming) -> None:
        self.tokens, self.timing = tokens, timing
        super().__init__({
            "start": In(1), "decoded": In(vector_plan(timing)), "more": In(range(tokens)), "divided": In(1),
            "flow": Out(VectorFlow(tokens, timing)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, plan = self.flow, self.flow.plan
        # Words left, and those of the segment, minus 2: the sign says that at most one is left, bit 0 which.
        words_left = Signal(signed(len(plan.words) + 1), init=_NONE)
        segment_left = Signal(signed(len(plan.segment_words) + 1), init=_NONE)
        wait = Signal.like(plan.wait)

        m.d.comb += [
            flow.start.eq(self.start),
            flow.decoded.eq(self.decoded),
        ]

        # A word that needs the multiplier a second time keeps the one a multiplication later waiting.
        taken = plan.twice & flow.words[self.timing.scale]
        last = words_left[-1] & words_left[0]
        segment_end = segment_left[-1] & segment_left[0]
        words = ~words_left[-1] | words_left[0]
        in_segment = ~segment_left[-1] | segment_left[0]
        another_token = flow.token != flow.more
        token_end = flow.issue & last & another_token
        token = count_tokens(m, self.tokens, self.start, token_end, "token")
        m.d.comb += [
            flow.token.eq(token),
            flow.ready.eq(words & in_segment & (wait == 0) & ~taken),
            flow.issue.eq(flow.ready & flow.available),
            flow.mark.eq(self.divided & words & ~in_segment),
        ]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(flow.issue):
            m.d.sync += [
                words_left.eq(words_left - 1),
                segment_left.eq(segment_left - 1),
            ]
            with m.If(segment_end & plan.map):
                m.d.sync += segment_left.eq(plan.segment_less_2)
        with m.If(flow.mark):
            m.d.sync += segment_left.eq(plan.segment_less_2)
        with m.If(token_end):
            m.d.sync += [
                words_left.eq(plan.words_less_2),
                segment_left.eq(Mux(plan.quantise, _NONE, plan.segment_less_2)),
                wait.eq(plan.wait),
            ]
        with m.If(self.start):
            m.d.sync += [
                plan.eq(self.decoded),
                flow.more.eq(self.more),
                words_left.eq(self.decoded.words_less_2),
                segment_left.eq(Mux(self.decoded.quantise, _NONE, self.decoded.segment_less_2)),
                wait.eq(self.decoded.wait),
            ]

        # What an earlier instruction left would pass the later taps of the next one.
        for name, taps, now in (
            ("words", flow.words, flow.issue),
            ("ends", flow.ends, flow.issue & (segment_end | last)),
            ("lasts", flow.lasts, flow.issue & last),
            ("marks", flow.marks, flow.mark),
        ):
            past = Signal(max_tap(self.timing), name=f"past_{name}")
            m.d.comb += taps.eq(Cat(now, past))
            m.d.sync += past.eq(Mux(self.start, 0, taps))
        return m
