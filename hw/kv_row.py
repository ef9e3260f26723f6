"""K and V rows cut into scale pairs and row parts."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
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
        Where the rows come from. ``want`` is a register: 0 where no take follows.
    part : Out(stream of part_layout)
        Parts, each with the scales of its head.
    size : Out(range(attention_bytes + 1))
        Elements of the part, where ``part`` is ``valid``.
    asks : Out(1)
        A take is made in this cycle if ``tape.enough``, on which this does not depend.
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
                "asks": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, geometry, tape = self.config, self.geometry, self.tape
        whole, unit, pairs = config.attention_bytes, unit_bytes(config), config.scale_pairs

        # Where the row is, and what the next take is: both known from registers, as what follows a take is
        # found before it is made.
        rows = Signal(POSITION_BITS)
        value, padded = Signal(), Signal()
        left = Signal(range(config.max_heads + 1))  # heads whose pairs of scales are to come
        kv_head = Signal(range(config.max_heads))
        part = Signal.like(geometry.parts)
        last_part, last_head, last_row = Signal(), Signal(), Signal()
        missing = Signal(range(config.bus_bytes))  # bytes to the next multiple of the bus
        want = Signal(range(max(whole, 8 * pairs, min(config.bus_bytes, config.unit_bytes + 1)) + 1))
        after = Signal.like(missing)
        m.d.comb += [
            tape.want.eq(want),
            self.size.eq(want),
            after.eq(missing - want),
            self.part.payload.data.eq(tape.data),
            self.part.payload.first.eq(part == 0),
            self.part.payload.last.eq(last_part),
            self.part.payload.row_last.eq(last_part & last_head),
        ]

        # Scales of a row, some in a word: all of it is written at once, whatever follows the last pair.
        pair_bits = pairs.bit_length() - 1
        m.submodules.scales = scales = memory.Memory(
            shape=64 * pairs, depth=max(2, config.max_heads // pairs), init=[]
        )
        write = scales.write_port()
        read = scales.read_port(domain="comb")
        place = kv_head[:pair_bits] if pair_bits else 0
        m.d.comb += [
            write.addr.eq(kv_head[pair_bits:]),
            write.data.eq(tape.data),
            read.addr.eq(kv_head[pair_bits:]),
            Cat(self.part.payload.key_scale, self.part.payload.value_scale).eq(
                read.data.word_select(place, 64)
            ),
        ]

        def part_size(is_last: Value) -> Value:
            return Mux(is_last, geometry.last << (unit.bit_length() - 1), whole)

        def pair_bytes(heads: Value) -> Value:
            return Mux(heads < pairs, heads, pairs) << 3

        one_part, one_head = geometry.parts == 1, geometry.kv_heads == 1
        first_part = Signal.like(want)
        m.d.comb += first_part.eq(part_size(one_part))

        def begin_row(of_value: Value) -> None:
            """Registers for the first take of a row."""
            m.d.sync += [
                left.eq(geometry.kv_heads),
                kv_head.eq(0),
                last_head.eq(one_head),
                want.eq(Mux(of_value, first_part, pair_bytes(geometry.kv_heads))),
            ]
            m.next = "pairs"
            with m.If(of_value):
                m.next = "parts"

        def end_row() -> None:
            m.d.sync += [rows.eq(rows - 1), last_row.eq(rows == 2)]
            begin_row(value)
            with m.If(last_row):
                m.d.sync += want.eq(0)
                m.next = "idle"

        m.d.comb += [
            tape.take.eq(self.asks & tape.enough),
            tape.starved.eq(self.asks & ~tape.enough),
        ]
        with m.If(tape.take):
            m.d.sync += missing.eq(after)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
            with m.State("idle"):
                m.d.sync += [
                    rows.eq(self.count),
                    last_row.eq(self.count == 1),
                    value.eq(self.value),
                    padded.eq(self.padded),
                    missing.eq(0),
                    part.eq(0),
                    last_part.eq(one_part),
                ]
                with m.If(self.start & (self.count != 0)):
                    begin_row(self.value)
            with m.State("pairs"):
                m.d.comb += [self.asks.eq(1), write.en.eq(tape.take)]
                with m.If(tape.take):
                    m.d.sync += [
                        left.eq(left - pairs),
                        kv_head.eq(kv_head + pairs),
                        want.eq(pair_bytes((left - pairs)[: len(left)])),
                    ]
                    with m.If(left <= pairs):
                        m.d.sync += [kv_head.eq(0), want.eq(first_part)]
                        m.next = "parts"
            with m.State("parts"):
                m.d.comb += [
                    self.part.valid.eq(tape.enough),
                    self.asks.eq(self.part.ready),
                ]
                with m.If(tape.take):
                    m.d.sync += [
                        part.eq(part + 1),
                        last_part.eq(part + 2 == geometry.parts),
                        want.eq(part_size(part + 2 == geometry.parts)),
                    ]
                    with m.If(last_part):
                        m.d.sync += [
                            part.eq(0),
                            last_part.eq(one_part),
                            kv_head.eq(kv_head + 1),
                            last_head.eq(kv_head + 2 == geometry.kv_heads),
                            want.eq(first_part),
                        ]
                        with m.If(last_head):
                            with m.If(padded & (after != 0)):
                                m.d.sync += want.eq(_padding(config, after))
                                m.next = "padding"
                            with m.Else():
                                end_row()
            with m.State("padding"):
                m.d.comb += self.asks.eq(1)
                with m.If(tape.take):
                    m.d.sync += want.eq(_padding(config, after))
                    with m.If(after == 0):
                        end_row()
        return m


def _padding(config: MachineConfig, missing: Value) -> Value:
    """Bytes of it that are taken at once."""
    most = config.unit_bytes
    return missing if config.bus_bytes <= most else Mux(missing > most, most, missing)
