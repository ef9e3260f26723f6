"""The tape of an integer matrix: units of codes, group scales and row scales, in the order of the ISA."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .integer_engine import ROWS, factors_layout
from .isa import Width
from .machine import MachineConfig
from .ports import TapePort, instruction_layout

__all__ = ["IntegerTape"]

_SCALE_BITS = 32
_BLOCK_BITS = (BLOCK - 1).bit_length()


class IntegerTape(wiring.Component):
    """Takes a LINEAR or HEAD from the tape, pair of rows by pair of rows, and says what each part means.

    A unit of codes, the scales and minima of a group, and the row scales of a pair take a cycle each; no
    cycle is lost between them.

    Parameters
    ----------
    config : MachineConfig
        ``head_lanes`` bytes in a unit.

    Members
    -------
    en : In(1)
        Something may be taken.
    start, instruction : In(1), In(the layout of LINEAR)
        Begin with this matrix in the next cycle or later; only while nothing is under way. HEAD's fields of
        the same names lie in the same places.
    run : In(1)
        The beginning is over: take from the tape. From ``start`` to the first such cycle one passes or more.
    free : In(1)
        The row scales of a pair may be taken.
    tape : Out(TapePort(config))
        Takes a part or nothing; ``want`` is a register, 0 before ``start`` and after the last part.
    read : Out(BlockRead(...))
        Port of the activation buffer.
    may : Out(1)
        Something is taken if it is there; known before that is.
    take : Out(1)
        A unit is taken; its ``codes`` are the lowest bytes of the tape.
    narrow, live, activations : Out(1), Out(head_lanes), Out(ArrayLayout(activation_bits * head_lanes, tile))
        Its codes are int4; which of its activations count; activations.
    end, factors : Out(1), Out(factors_layout())
        A group ends; with scales 1 and minima 0 where there are no groups.
    final, row_scales : Out(1), Out(64)
        The pair ends: its row scales, the even one lowest.
    single, last : Out(1), Out(1)
        With ``final``: the odd row is none; this is the last pair.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        lanes, bits = config.head_lanes, config.activation_bits
        super().__init__({
            "en": In(1),
            "start": In(1),
            "instruction": In(instruction_layout("LINEAR")),
            "run": In(1),
            "free": In(1),
            "tape": Out(TapePort(config)),
            "read": Out(BlockRead(max(1, lanes // BLOCK), config.tile, bits)),
            "may": Out(1),
            "take": Out(1),
            "narrow": Out(1),
            "live": Out(lanes),
            "activations": Out(data.ArrayLayout(bits * lanes, config.tile)),
            "end": Out(1),
            "factors": Out(factors_layout()),
            "final": Out(1),
            "row_scales": Out(ROWS * _SCALE_BITS),
            "single": Out(1),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.head_lanes
        matrix = Signal(instruction_layout("LINEAR"))
        #: First activation of the unit after the next one, and of that one in its block; how many are left in
        #: the row and in the group.
        ahead, element = Signal(16), Signal(_BLOCK_BITS)
        left = Signal(16)
        group_left = Signal(16)
        rows_left = Signal.like(matrix.rows)

        unit = Signal(range(lanes + 1))
        row_ends, group_ends, grouped = Signal(), Signal(), Signal()
        tail_bytes, factor_bytes = Signal(range(9)), factors_layout().size // 8
        m.d.comb += [
            self.narrow.eq(matrix.width == Width.INT4),
            unit.eq(Mux(self.narrow, lanes, lanes // ROWS)),
            row_ends.eq(left <= unit),
            grouped.eq(matrix.group != 0),
            group_ends.eq(row_ends | (grouped & (group_left <= unit))),
            tail_bytes.eq(Mux(matrix.minima, factor_bytes, factor_bytes // 2)),
            self.single.eq(rows_left == 1),
            self.last.eq(rows_left <= ROWS),
        ]

        # What is next on the tape, and whether all of it is there. What follows is known before it is taken.
        wanted = Signal(range(max(lanes, 8) + 1))
        row_bytes = ROWS * _SCALE_BITS // 8
        taken = Signal()
        m.d.comb += [
            self.may.eq(self.en & self.run),
            taken.eq(self.may & self.tape.enough),
            self.tape.want.eq(wanted),
            self.tape.starved.eq(self.may & ~taken),
            self.tape.take.eq(taken),
        ]
        # Activations of the unit after the next one are asked for in each cycle, and come as the next one is
        # taken: the first ones in the cycle after ``start``.
        began, advance = Signal(), Signal()
        m.d.sync += began.eq(self.start)
        m.d.comb += [
            advance.eq(began),
            self.read.block.eq(ahead >> _BLOCK_BITS),
            self.read.hold.eq(~advance),
        ]
        with m.If(advance):
            m.d.sync += [element.eq(ahead), ahead.eq(ahead + unit)]
        with m.FSM():
            with m.State("codes"):
                m.d.comb += self.take.eq(taken)
                with m.If(taken):
                    m.d.comb += advance.eq(1)
                    with m.If(row_ends):
                        m.d.sync += ahead.eq(matrix.q)
                    m.d.sync += [
                        left.eq(Mux(row_ends, 0, left - unit)),
                        group_left.eq(group_left - unit),
                    ]
                    with m.If(group_ends & grouped):
                        m.d.sync += wanted.eq(tail_bytes)
                        m.next = "group"
                    with m.Elif(row_ends):
                        m.d.sync += wanted.eq(row_bytes)
                        m.next = "scales"
            with m.State("group"):
                m.d.comb += self.end.eq(taken)
                with m.If(taken):
                    m.d.sync += [group_left.eq(matrix.group), wanted.eq(lanes)]
                    m.next = "codes"
                    with m.If(left == 0):
                        m.d.sync += wanted.eq(row_bytes)
                        m.next = "scales"
            with m.State("scales"):
                m.d.comb += [
                    self.may.eq(self.en & self.run & self.free),
                    self.end.eq(taken & ~grouped),
                    self.final.eq(taken),
                ]
                with m.If(taken):
                    m.d.comb += advance.eq(1)
                    m.d.sync += [
                        left.eq(matrix.k),
                        group_left.eq(matrix.group),
                        rows_left.eq(rows_left - ROWS),
                        wanted.eq(Mux(self.last, 0, lanes)),
                    ]
                    m.next = "codes"
        with m.If(self.start):
            m.d.sync += [
                ahead.eq(self.instruction.q),
                matrix.eq(self.instruction),
                left.eq(self.instruction.k),
                group_left.eq(self.instruction.group),
                rows_left.eq(self.instruction.rows),
                wanted.eq(lanes),
            ]

        factors = data.View(factors_layout(), self.tape.data[: factors_layout().size])
        m.d.comb += self.row_scales.eq(self.tape.data)
        for r in range(ROWS):
            m.d.comb += [
                self.factors.scale[r].eq(Mux(grouped, factors.scale[r], 1)),
                self.factors.minimum[r].eq(Mux(matrix.minima & grouped, factors.minimum[r], 0)),
            ]

        # The activations of the unit that is next. A small unit is a part of a block, in halves of
        # `head_lanes`: a unit of int8 has activations in its lower half only.
        half = lanes // ROWS
        part = element[(half - 1).bit_length() :]
        width = half * self.config.activation_bits
        for t in range(self.config.tile):
            words = self.read.data[t]
            lower, upper = words.word_select(part, width), words[width : 2 * width]
            if len(part) > 1:
                upper = words.word_select(part | 1, width)
            m.d.comb += self.activations[t].eq(Cat(lower, upper))
        for i in range(lanes):
            counts = left > i
            m.d.comb += self.live[i].eq(counts if i < half else counts & self.narrow)
        return m
