"""The tape reader: FIFO words in, any number of bytes a cycle out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fetch import word_layout
from .machine import MachineConfig
from .ports import TapePort


class TapeReader(wiring.Component):
    """Byte-granular gearbox between the tape FIFO and the units.

    Holds up to unit_bytes + fifo_bytes - 1 bytes; takes a FIFO word whenever fewer than unit_bytes would
    remain, so a consumer sustains min(unit_bytes, fifo_bytes) bytes a cycle.

    Parameters
    ----------
    config : MachineConfig
    consumers : int
        Units that share the tape; the program lets one at a time take from it.

    Members
    -------
    word : stream of `fetch.word_layout`
    consumer : TapePort (from its other side), one per unit
    discard : In(1)
        Throw away what is held and what comes; no unit may take meanwhile.
    held : Out(1)
        Some byte is held or offered.

    Latency: a word can be taken from the cycle after it is accepted.
    """

    def __init__(self, config: MachineConfig, consumers: int):
        self.config = config
        super().__init__(
            {
                "word": In(stream.Signature(word_layout(config))),
                "consumer": In(TapePort(config)).array(consumers),
                "discard": In(1),
                "held": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit, fifo = self.config.unit_bytes, self.config.fifo_bytes
        capacity = unit + fifo - 1
        held, level = Signal(8 * capacity), Signal(range(capacity + 1))

        consumers = [self.consumer[i] for i in range(self.signature.members["consumer"].dimensions[0])]
        take = Signal(range(unit + 1))
        for port in consumers:
            m.d.comb += [port.data.eq(held[: 8 * unit]), port.level.eq(Mux(level > unit, unit, level))]
        total = consumers[0].take
        for port in consumers[1:]:
            total = total | port.take
        m.d.comb += take.eq(total)

        rest, remaining = Signal(8 * capacity), Signal(range(capacity + 1))
        # The word behind what remains, fewer than `unit` bytes of it where the word is taken.
        placed = Signal(8 * capacity)
        padded = Cat(Const(0, 8 * unit), self.word.payload.data)
        m.d.comb += placed.eq(padded.bit_select((unit - remaining)[: len(level)] << 3, 8 * capacity))
        m.d.comb += [rest.eq(held >> (take << 3)), remaining.eq(level - take)]
        m.d.comb += [
            self.word.ready.eq((remaining < unit) | self.discard),
            self.held.eq((level != 0) | self.word.valid),
        ]
        with m.If(self.discard):
            m.d.sync += [held.eq(0), level.eq(0)]
        with m.Elif(self.word.valid & self.word.ready):
            m.d.sync += [
                held.eq(rest | placed),
                level.eq(remaining + self.word.payload.count),
            ]
        with m.Else():
            m.d.sync += [held.eq(rest), level.eq(remaining)]
        return m
