"""K and V rows cut into scale pairs and row parts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .head_geometry import head_geometry_layout
from .machine import MachineConfig
from .ports import POSITION_BITS, TapePort

__all__ = ["RowReader", "pair_layout", "part_layout"]


def pair_layout(config: MachineConfig) -> data.StructLayout:
    """Scales of one K/V head of one row."""
    return data.StructLayout({"key_scale": 32, "value_scale": 32, "kv_head": range(config.max_heads)})


def part_layout(config: MachineConfig) -> data.StructLayout:
    """``attention_bytes`` neighbouring int8 elements of one K/V head of one row.

    ``first`` and ``last`` mark the ends of the head, ``row_last`` the end of the row.
    """
    return data.StructLayout(
        {"data": 8 * config.attention_bytes, "kv_head": range(config.max_heads),
         "first": 1, "last": 1, "row_last": 1}
    )  # fmt: skip


class RowReader(wiring.Component):
    """Takes ``count`` rows of K or V from a tape: pairs of scales (K only), parts, and what pads the row.

    A row takes ``kv_heads`` cycles for the scales of a K row, ``kv_heads * parts`` for the parts, and where
    it is padded one for each ``unit_bytes`` of the padding, if the tape has the bytes and ``part`` is ready.
    No cycle lies between rows; the first take is in the cycle after ``start``.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    start : In(1)
        Begin; only while not ``busy``. The inputs below are taken together with it.
    value : In(1)
        0: K rows, with scales; 1: V rows.
    padded : In(1)
        Rows are padded to a multiple of ``bus_bytes``.
    count : In(20)
        Rows.
    tape : Out(TapePort)
        Where the rows come from.
    pair_en, pair : Out(1), Out(pair_layout(config))
        Scales; always accepted.
    part : Out(stream of part_layout)
        Parts.
    busy : Out(1)
        Rows remain.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "start": In(1),
                "value": In(1),
                "padded": In(1),
                "count": In(POSITION_BITS),
                "tape": Out(TapePort(config)),
                "pair_en": Out(1),
                "pair": Out(pair_layout(config)),
                "part": Out(stream.Signature(part_layout(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.attention_bytes
        tape = self.tape

        rows = Signal(POSITION_BITS)
        value = Signal()
        padded = Signal()
        kv_head = Signal(range(self.config.max_heads))
        part = Signal.like(self.geometry.parts)
        last_kv_head = kv_head == self.geometry.kv_heads - 1
        last_part = part == self.geometry.parts - 1
        m.d.comb += [
            self.pair.key_scale.eq(tape.data[:32]),
            self.pair.value_scale.eq(tape.data[32:64]),
            self.pair.kv_head.eq(kv_head),
            self.part.payload.data.eq(tape.data),
            self.part.payload.kv_head.eq(kv_head),
            self.part.payload.first.eq(part == 0),
            self.part.payload.last.eq(last_part),
            self.part.payload.row_last.eq(last_part & last_kv_head),
        ]

        # The bytes taken from a row, modulo the bus, tell how many pad it.
        taken = Signal(range(self.config.bus_bytes))
        following = Signal.like(taken)
        padding = Signal.like(taken)
        m.d.comb += [
            following.eq(taken + tape.take),
            padding.eq(-taken),
        ]
        m.d.sync += taken.eq(following)

        def end_row() -> None:
            m.d.sync += [
                kv_head.eq(0),
                rows.eq(rows - 1),
            ]
            m.next = "pairs"
            with m.If(value):
                m.next = "parts"
            with m.If(rows == 1):
                m.next = "idle"

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
            with m.State("idle"):
                m.d.sync += [
                    rows.eq(self.count),
                    value.eq(self.value),
                    padded.eq(self.padded),
                    taken.eq(0),
                ]
                with m.If(self.start & (self.count != 0)):
                    m.next = "parts"
                    with m.If(~self.value):
                        m.next = "pairs"
            with m.State("pairs"):
                with m.If(tape.level >= 8):
                    m.d.comb += [
                        self.pair_en.eq(1),
                        tape.take.eq(8),
                    ]
                    m.d.sync += kv_head.eq(kv_head + 1)
                    with m.If(last_kv_head):
                        m.d.sync += kv_head.eq(0)
                        m.next = "parts"
                with m.Else():
                    m.d.comb += tape.starved.eq(1)
            with m.State("parts"):
                m.d.comb += self.part.valid.eq(tape.level >= size)
                m.d.comb += tape.starved.eq(~self.part.valid & self.part.ready)
                with m.If(self.part.valid & self.part.ready):
                    m.d.comb += tape.take.eq(size)
                    m.d.sync += part.eq(part + 1)
                    with m.If(last_part):
                        m.d.sync += [
                            part.eq(0),
                            kv_head.eq(kv_head + 1),
                        ]
                        with m.If(last_kv_head):
                            with m.If(padded & (following != 0)):
                                m.next = "padding"
                            with m.Else():
                                end_row()
            with m.State("padding"):
                m.d.comb += tape.take.eq(Mux(tape.level < padding, tape.level, padding))
                m.d.comb += tape.starved.eq(tape.level == 0)
                with m.If(following == 0):
                    end_row()
        return m
