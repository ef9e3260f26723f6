"""What an instruction of the vector unit asks for, and when its words pass the points of the pipeline."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .isa import BY_NAME, HEADER, INSTRUCTION_BITS, SCALARS, STATISTICS, Function, Source, Target
from .lane_timing import LaneTiming
from .ports import instruction_layout
from .vector_lane import LaneControl, lane_choice
from .vector_memory import VectorMemory
from .vector_statistics import VectorStatistics

__all__ = ["VectorDecode", "max_tap", "vector_plan"]


def max_tap(timing: LaneTiming) -> int:
    """Cycles from the issue of a word to the last event it causes, at most."""
    gathered = max(timing.multiply, timing.gain + VectorStatistics.MAXIMUM_LATENCY)
    computed = timing.convert + 2 * timing.scale + max(timing.function.values())
    return VectorMemory.LATENCY + computed + gathered


def vector_plan(timing: LaneTiming) -> StructLayout:
    """An instruction, decoded.

    ``words`` and ``segment_words`` count words of `lanes` elements. A tap is a number of cycles from the
    issue of a word: to ``x`` (`x_at`), to the addresses of its second operand and of its constants (`b_at`,
    `c_at`; `b_at_once`, `c_at_once`: it is 0), to the result (`z_at`), to what the absmax is of (`y_at`), to
    its last effect. `.._less_2` is that count minus 2.
    """
    tap = range(max_tap(timing) + 1)
    return StructLayout({
        "map": 1, "quantise": 1, "norm": 1,
        "control": LaneControl, "source": 3, "dest": 2, "target": 2,
        "twice": 1, "second": 1, "statistics": 1, "gain": 1, "normalise": 1, "mantissa": 1,
        "words": 16, "segment_words": 16, "words_less_2": signed(17), "segment_less_2": signed(17),
        "a": 16, "b": 16, "c": 16, "d": 16,
        "index_0": range(SCALARS), "index_1": range(SCALARS), "slot": range(STATISTICS), "grid": signed(8),
        "wait": range(timing.multiply + 1),
        "x_at": tap, "b_at": tap, "c_at": tap, "z_at": tap, "y_at": tap, "done_at": tap,
        "b_at_once": 1, "c_at_once": 1,
    })  # fmt: skip


def _patterns(codes: list[int]) -> list[str]:
    """Patterns that tell the codes apart by as few bits as dropping one after another leaves."""
    bits = list(range(HEADER[0].bits))
    for bit in reversed(range(len(bits))):
        fewer = [other for other in bits if other != bit]
        if len({tuple(code >> other & 1 for other in fewer) for code in codes}) == len(codes):
            bits = fewer
    places = list(reversed(range(HEADER[0].bits)))
    return ["".join(str(code >> i & 1) if i in bits else "-" for i in places) for code in codes]


class VectorDecode(wiring.Component):
    """Combinational decoder of MAP, QUANTISE and NORM (`hw.isa`).

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.
    mantissas : bool
        Whether the machine has 12-bit mantissas. Else it has no hardware for them: ``mantissa`` is 0
        whatever the instruction says.
    timing : LaneTiming
        Cycles of the lanes' units.

    Members
    -------
    word : In(INSTRUCTION_BITS)
        Instruction.
    plan : Out(vector_plan(timing))
        What it means. ``twice`` marks the one case in which a word needs the multiplier for scales twice, the
        attention output with other scalars; ``second``, that there is a second operand; ``wait`` is the
        number of cycles by which the first word must be late so that the product of two scalars is in time;
        NORM's scalar to write is ``d``.
    """

    def __init__(self, lanes: int, mantissas: bool, timing: LaneTiming) -> None:
        self.lanes, self.mantissas, self.timing = lanes, mantissas, timing
        super().__init__({"word": In(INSTRUCTION_BITS), "plan": Out(vector_plan(timing))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What the fields say; `plan` has also what follows from it.
        self.wanted = wanted = Signal(vector_plan(self.timing))
        plan = self.plan
        opcode = self.word[: HEADER[0].bits]
        a_map, a_quantise, a_norm = _patterns([BY_NAME[name].opcode for name in ("MAP", "QUANTISE", "NORM")])
        n, segment, segmented = Signal(16), Signal(16), Signal()
        for name, pattern in (("MAP", a_map), ("QUANTISE", a_quantise)):
            fields = instruction_layout(name)(self.word)
            with m.If(opcode.matches(pattern)):
                m.d.comb += [n.eq(fields.n), segment.eq(fields.segment), segmented.eq(fields.segment.any())]
        shift = (self.lanes - 1).bit_length()
        words, segment_words = n >> shift, segment >> shift
        m.d.comb += [
            plan.eq(wanted),
            plan.words.eq(words),
            plan.words_less_2.eq(words - 2),
            plan.segment_words.eq(Mux(segmented, segment_words, words)),
            plan.segment_less_2.eq(Mux(segmented, segment_words - 2, words - 2)),
        ]
        lane_choice(m, wanted.control, plan.control)
        with m.Switch(opcode):
            with m.Case(a_map):
                self._map(m)
            with m.Case(a_quantise):
                self._quantise(m)
            with m.Case(a_norm):
                norm = instruction_layout("NORM")(self.word)
                m.d.comb += [
                    wanted.norm.eq(1),
                    wanted.normalise.eq(norm.normalise),
                    wanted.mantissa.eq(norm.mantissa & self.mantissas),
                    wanted.index_0.eq(norm.c),
                    wanted.index_1.eq(norm.eps),
                    wanted.slot.eq(norm.stat),
                    wanted.d.eq(norm.d),
                ]
        return m

    def _map(self, m: Module) -> None:
        plan, lane = self.wanted, self.timing
        fields = instruction_layout("MAP")(self.word)
        attention = fields.source == Source.ATTENTION
        integer = attention | (fields.source == Source.ACCUMULATOR)
        second_operand = Const(0, 1)
        for kind in lane.second:
            second_operand = second_operand | (fields.function == kind)
        m.d.comb += [
            plan.map.eq(1),
            plan.control.integer.eq(integer),
            plan.control.scaled.eq(fields.scaled | attention),
            plan.control.function.eq(fields.function),
            plan.twice.eq(fields.scaled & attention),
            plan.second.eq(second_operand),
            plan.index_0.eq(fields.s1),
            plan.index_1.eq(fields.s2),
            plan.slot.eq(fields.stat),
            *(plan[name].eq(fields[name]) for name in
              ("source", "dest", "statistics", "gain", "a", "b", "c", "d", "grid")),
        ]  # fmt: skip

        # The product is there one multiplication after the cycle in which the first word could begin.
        head_start = VectorMemory.LATENCY
        with m.If(fields.scaled & ~integer):
            m.d.comb += plan.wait.eq(max(0, lane.multiply - head_start))
        with m.Elif(fields.scaled):
            m.d.comb += plan.wait.eq(max(0, lane.multiply - head_start - lane.convert))

        function = Signal(range(max(lane.function.values()) + 1))
        second = Signal(range(max(lane.second.values()) + 1))
        with m.Switch(fields.function):
            for kind, latency in lane.function.items():
                with m.Case(kind):
                    m.d.comb += [
                        function.eq(latency),
                        second.eq(lane.second.get(kind, 0)),
                    ]
        x_at = (
            VectorMemory.LATENCY + Mux(integer, lane.convert, 0) + Mux(attention, lane.scale, 0)
            + Mux(fields.scaled, lane.scale, 0)
        )  # fmt: skip
        early = ~integer & ~fields.scaled
        rope = fields.function == Function.ROPE
        constants = Mux(rope, plan.x_at, plan.z_at)
        total, maximum = lane.multiply, VectorStatistics.MAXIMUM_LATENCY
        after = Mux(fields.gain, max(total, lane.gain + maximum), max(total, maximum))
        m.d.comb += [
            plan.x_at.eq(x_at),
            plan.b_at.eq(plan.x_at + second - VectorMemory.LATENCY),
            plan.b_at_once.eq(early & (second == 0)),
            plan.c_at.eq(constants - VectorMemory.LATENCY),
            plan.c_at_once.eq(early & (rope | (function == 0))),
            plan.z_at.eq(plan.x_at + function),
            plan.y_at.eq(plan.z_at + Mux(fields.gain, lane.gain, 0)),
            plan.done_at.eq(plan.z_at + Mux(fields.statistics, after, 0)),
        ]

    def _quantise(self, m: Module) -> None:
        plan, lane = self.wanted, self.timing
        fields = instruction_layout("QUANTISE")(self.word)
        m.d.comb += [
            plan.quantise.eq(1),
            plan.control.quantise.eq(1),
            plan.control.scaled.eq(fields.gain),
            plan.control.wide.eq(fields.target == Target.QUERY),
            plan.control.mantissa.eq(fields.mantissa & self.mantissas),
            plan.mantissa.eq(fields.mantissa & self.mantissas),
            plan.source.eq(Source.ACTIVATION),
            plan.c_at_once.eq(1),
            plan.index_0.eq(fields.s1),
            plan.slot.eq(fields.stat),
            *(plan[name].eq(fields[name]) for name in ("target", "a", "c", "d")),
            plan.x_at.eq(VectorMemory.LATENCY + Mux(fields.gain, lane.scale, 0)),
            plan.z_at.eq(plan.x_at + lane.quantise),
            plan.done_at.eq(plan.z_at),
        ]
