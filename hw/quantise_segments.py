"""The factors and scales of the segments of a QUANTISE."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .isa import STATISTICS
from .lane_timing import LaneTiming
from .quantise_scale import QuantiseScale, live
from .vector_decode import max_tap, vector_plan
from .vector_issue import passing
from .vector_memory import VectorMemory
from .vector_tokens import count_tokens

__all__ = ["QuantiseSegments"]


class QuantiseSegments(wiring.Component):
    """Divides by the absmax of each segment, all of a token and token after token, ahead of their words.

    A division begins in each cycle, the first in the one after ``start``. Once the first quotient is there,
    the divider goes on with each that is taken; those behind it wait in its stages without gaps. A segment's
    is taken when its mark passes the multiplication, so the first mark goes ahead of its quotient. Scales
    wait in a queue until they are written.

    Parameters
    ----------
    tokens : int
        Tokens of a tile.
    mantissas : bool
        Whether the machine has 12-bit mantissas.
    timing : LaneTiming
        Cycles of the lanes' units.

    Attributes
    ----------
    QUEUE : int
        Scales on the way at once, at most: those of the divisions, and of marks between multiplication and
        write.

    Members
    -------
    start, decoded, plan, more, marks : In, as `VectorFlow` has them
        The instruction, and where its marks are. At least one word follows each mark.
    read_token, read_slot, maximum : Out(range(tokens)), Out(range(STATISTICS)), In(32)
        A slot of a token, and its absmax in the same cycle. Other instructions find their slot here too.
    divided : Out(1)
        A mark that begins now, or later, finds its quotient at the multiplication.
    inverse : Out(32)
        The factor of the words that are multiplied now.
    scale : Out(32)
        The live absmax, not of mantissas, of the segment whose mark passes the write; of a query the one
        whose mark passes a multiplication before it.
    """

    QUEUE = 32

    def __init__(self, tokens: int, mantissas: bool, timing: LaneTiming) -> None:
        self.tokens, self.mantissas, self.timing = tokens, mantissas, timing
        plan = vector_plan(timing)
        super().__init__({
            "start": In(1), "decoded": In(plan), "plan": In(plan), "more": In(range(tokens)),
            "marks": In(max_tap(timing) + 1),
            "read_token": Out(range(tokens)), "read_slot": Out(range(STATISTICS)), "maximum": In(32),
            "divided": Out(1), "inverse": Out(32), "scale": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, decoded = self.plan, self.decoded
        m.submodules.divide = divide = QuantiseScale(self.mantissas)
        m.submodules.scales = scales = memory.Memory(shape=32, depth=self.QUEUE, init=[])

        # Walk the segments into the divider.
        walking = Signal()
        left = Signal.like(plan.words)
        step = walking & divide.en
        token_end = step & (left <= plan.segment_words)
        token = count_tokens(m, self.tokens, self.start, token_end, "due")
        with m.If(step):
            m.d.sync += [
                left.eq(left - plan.segment_words),
                self.read_slot.eq(self.read_slot + 1),
            ]
        with m.If(token_end):
            m.d.sync += [
                left.eq(plan.words),
                self.read_slot.eq(plan.slot),
                walking.eq(token != self.more),
            ]
        with m.If(self.start):
            m.d.sync += [
                left.eq(decoded.words),
                self.read_slot.eq(decoded.slot),
                walking.eq(decoded.quantise & decoded.words.any()),
            ]

        # The mark that waits for the first quotient begins so many cycles before it: `x_at` of a QUANTISE.
        wait = Signal(range(divide.LATENCY + 1))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.start):
            at = VectorMemory.LATENCY
            scaled = divide.LATENCY - at - self.timing.scale
            m.d.sync += wait.eq(Mux(decoded.control.scaled, scaled, divide.LATENCY - at))

        take = passing(m, self.start, self.marks, plan.x_at, "take")
        m.d.comb += [
            self.read_token.eq(token),
            self.divided.eq(plan.quantise & (wait == 0)),
            divide.i.maximum.eq(self.maximum),
            divide.i.wide.eq(plan.control.wide),
            divide.i.mantissa.eq(plan.mantissa),
            divide.en.eq(~delay(m, walking, divide.LATENCY, divide.en) | take),
        ]
        with m.If(take):
            m.d.sync += self.inverse.eq(divide.o)

        put, due = Signal(range(self.QUEUE)), Signal(range(self.QUEUE))
        use = plan.z_at - Mux(plan.control.wide, self.timing.multiply, 0)
        with m.If(step):
            m.d.sync += put.eq(put + 1)
        with m.If(self.marks.bit_select(use.as_unsigned(), 1)):
            m.d.sync += due.eq(due + 1)
        write, read = scales.write_port(), scales.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(step),
            write.addr.eq(put),
            write.data.eq(live(self.maximum)),
            read.addr.eq(due),
            self.scale.eq(read.data),
        ]
        return m
