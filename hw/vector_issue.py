"""When the words of a vector instruction begin, and where in the pipeline they are."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .vector_decode import MAX_TAP, VectorPlan
from .vector_lane import VectorLane

__all__ = ["VectorFlow", "VectorIssue"]


class VectorFlow(wiring.Signature):
    """Where the words of the instruction are (seen from `VectorIssue`).

    Members
    -------
    start : Out(1)
        ``decoded`` is a new instruction; no word of an earlier one is in the pipeline after this cycle.
    decoded : Out(VectorPlan)
        The instruction.
    plan : Out(VectorPlan)
        The instruction that was started last.
    available : In(1)
        The first operand of a word is there.
    ready : Out(1)
        A word begins if it is available.
    issue, mark : Out(1)
        A word begins; a segment of QUANTISE begins, and its factor is taken.
    words, ends, lasts, marks : Out(MAX_TAP + 1)
        Bit k: k cycles ago began a word; one that ends a segment; the last one; a segment of QUANTISE.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": Out(1), "decoded": Out(VectorPlan), "plan": Out(VectorPlan), "available": In(1),
            "ready": Out(1), "issue": Out(1), "mark": Out(1),
            **{name: Out(MAX_TAP + 1) for name in ("words", "ends", "lasts", "marks")},
        })  # fmt: skip


class VectorIssue(wiring.Component):
    """Counts words and segments of one MAP or QUANTISE and follows them through the pipeline.

    A word begins in every cycle in which its operand is available, the first in the one after ``start``, or
    ``wait`` cycles later. QUANTISE begins each segment with a mark, in a cycle of its own, once the division
    for it is finished.

    Members
    -------
    start : In(1)
        Begin the instruction ``decoded``.
    decoded : In(VectorPlan)
        Instruction.
    divided : In(1)
        The factor of the next segment of QUANTISE is there; it is taken with ``mark``.
    more : Out(1)
        With ``mark``: another segment follows.
    flow : Out(VectorFlow())
        What is under way.
    """

    start: In(1)
    decoded: In(VectorPlan)
    divided: In(1)
    more: Out(1)
    flow: Out(VectorFlow())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, plan = self.flow, self.flow.plan
        words_left = Signal.like(plan.words)
        segment_left = Signal.like(plan.segment_words)
        wait = Signal.like(plan.wait)

        m.d.comb += [
            flow.start.eq(self.start),
            flow.decoded.eq(self.decoded),
        ]

        # A word that needs the multiplier a second time keeps the one a multiplication later waiting.
        taken = plan.twice & flow.words[VectorLane.SCALE]
        last = words_left == 1
        segment_end = segment_left == 1
        m.d.comb += [
            flow.ready.eq((words_left != 0) & (segment_left != 0) & (wait == 0) & ~taken),
            flow.issue.eq(flow.ready & flow.available),
            flow.mark.eq(self.divided & (words_left != 0) & (segment_left == 0)),
            self.more.eq(words_left > plan.segment_words),
        ]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(flow.issue):
            m.d.sync += [
                words_left.eq(words_left - 1),
                segment_left.eq(segment_left - 1),
            ]
            with m.If(segment_end & plan.map):
                m.d.sync += segment_left.eq(plan.segment_words)
        with m.If(flow.mark):
            m.d.sync += segment_left.eq(plan.segment_words)
        with m.If(self.start):
            m.d.sync += [
                plan.eq(self.decoded),
                words_left.eq(self.decoded.words),
                segment_left.eq(Mux(self.decoded.quantise, 0, self.decoded.segment_words)),
                wait.eq(self.decoded.wait),
            ]

        # What an earlier instruction left would pass the later taps of the next one.
        for name, taps, now in (
            ("words", flow.words, flow.issue),
            ("ends", flow.ends, flow.issue & (segment_end | last)),
            ("lasts", flow.lasts, flow.issue & last),
            ("marks", flow.marks, flow.mark),
        ):
            past = Signal(MAX_TAP, name=f"past_{name}")
            m.d.comb += taps.eq(Cat(now, past))
            m.d.sync += past.eq(Mux(self.start, 0, taps))
        return m
