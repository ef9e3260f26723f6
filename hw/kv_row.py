"""K and V rows cut into scale pairs and row parts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .head_geometry import head_geometry_layout, unit_bytes
from .machine import MachineConfig
from .ports import POSITION_BITS, TapePort

__all__ = ["VALUE_SCALE_BITS", "RowReader", "part_layout"]

#: s_v is binary32 without a sign: it is not negative.
VALUE_SCALE_BITS = 31


def part_layout(config: MachineConfig) -> data.StructLayout:
    """At most ``attention_bytes`` neighbouring int8 elements of one K/V head of one row; then anything.

    ``first`` and ``last`` mark the ends of the head, ``row_last`` the end of the row. The scales are those of
    the head; of a V row they mean nothing.
    """
    return data.StructLayout(
        {"data": 8 * config.attention_bytes, "first": 1, "last": 1, "row_last": 1,
         "key_scale": 32, "value_scale": VALUE_SCALE_BITS}
    )  # fmt: skip


class RowReader(wiring.Component):
    """Takes ``count`` rows of K or V from a tape: pairs of scales (K only), parts, and what pads the row.

    A row takes kv_heads / ``scale_pairs`` cycles, rounded up, for the scales of a K row, ``kv_heads * parts``
    for the parts, and where it is padded one for each ``unit_bytes`` of the padding, if the tape has the
    bytes and ``part`` is ready. No cycle lies between rows; the first take is in the cycle after ``start``.

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
    part : Out(stream of part_layout)
        Parts, each with the scales of its head.
    size : Out(range(attention_bytes + 1))
        Elements of the part.
    want : Out(range(attention_bytes + 1))
        Bytes of the next take that is not of padding, until it is made; 0 where none follows.
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
                "part": Out(stream.Signature(part_layout(config))),
                "size": Out(range(config.attention_bytes + 1)),
                "want": Out(range(config.attention_bytes + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        whole, unit, pairs = self.config.attention_bytes, unit_bytes(self.config), self.config.scale_pairs
        tape = self.tape

        rows = Signal(POSITION_BITS)
        value = Signal()
        padded = Signal()
        kv_head = Signal(range(self.config.max_heads))
        part = Signal.like(self.geometry.parts)
        last_kv_head = kv_head == self.geometry.kv_heads - 1
        last_part = part == self.geometry.parts - 1
        m.d.comb += [
            self.size.eq(Mux(last_part, self.geometry.last << (unit.bit_length() - 1), whole)),
            self.part.payload.data.eq(tape.data),
            self.part.payload.first.eq(part == 0),
            self.part.payload.last.eq(last_part),
            self.part.payload.row_last.eq(last_part & last_kv_head),
        ]

        # Scales of a row, some in a word: all of it is written at once, whatever follows the last pair.
        pair_bits = pairs.bit_length() - 1
        m.submodules.scales = scales = memory.Memory(
            shape=64 * pairs, depth=max(2, self.config.max_heads // pairs), init=[]
        )
        write = scales.write_port()
        read = scales.read_port(domain="comb")
        left = Signal(range(self.config.max_heads + 1))
        paired = Signal(range(pairs + 1))
        pair_bytes = paired << 3
        place = kv_head[:pair_bits] if pair_bits else 0
        m.d.comb += [
            left.eq(self.geometry.kv_heads - kv_head),
            paired.eq(Mux(left < pairs, left, pairs)),
            write.addr.eq(kv_head[pair_bits:]),
            write.data.eq(tape.data),
            read.addr.eq(kv_head[pair_bits:]),
            Cat(self.part.payload.key_scale, self.part.payload.value_scale).eq(
                read.data.word_select(place, 64)
            ),
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
                m.d.comb += self.want.eq(pair_bytes)
                with m.If(tape.level >= pair_bytes):
                    m.d.comb += [
                        write.en.eq(1),
                        tape.take.eq(pair_bytes),
                    ]
                    m.d.sync += kv_head.eq(kv_head + pairs)
                    with m.If(left <= pairs):
                        m.d.sync += kv_head.eq(0)
                        m.next = "parts"
                with m.Else():
                    m.d.comb += tape.starved.eq(1)
            with m.State("parts"):
                m.d.comb += self.want.eq(self.size)
                m.d.comb += self.part.valid.eq(tape.level >= self.size)
                m.d.comb += tape.starved.eq(~self.part.valid & self.part.ready)
                with m.If(self.part.valid & self.part.ready):
                    m.d.comb += tape.take.eq(self.size)
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
