"""The tape reader: rows of the tape FIFO in, any number of bytes a cycle out."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fetch import word_layout
from .machine import MachineConfig
from .ports import TapePort
from .rotate import above, rotate

__all__ = ["TapeReader"]


def ring_rows(config: MachineConfig) -> int:
    """Rows held, a power of two. A row is refused only while all of them hold bytes: what a unit leaves then,
    with the row that comes a cycle later, is enough for the next unit."""
    return 1 << (-(-config.unit_bytes // config.fifo_bytes) + 1).bit_length()


class TapeReader(wiring.Component):
    """Ring of `ring_rows` rows of ``fifo_bytes`` between the tape FIFO and the units.

    Bytes stay where they were written; the place that is read moves. A consumer sustains min(unit_bytes,
    fifo_bytes) bytes a cycle. Whether a row is accepted depends on registers alone, and of what is registered
    only the place of the next byte depends on ``take``: a choice and an enable.

    Parameters
    ----------
    config : MachineConfig
    consumers : int
        Units that share the tape; the program lets one at a time take from it.

    Members
    -------
    word : stream of `fetch.word_layout`
        A row, or what there is of it: then the next one is the same row, with more.
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
        unit, width = self.config.unit_bytes, self.config.fifo_bytes
        consumers = [self.consumer[i] for i in range(self.signature.members["consumer"].dimensions[0])]
        count = ring_rows(self.config)
        lane_bits, row_bits = (width - 1).bit_length(), (count - 1).bit_length()

        # Bytes written and read, modulo twice the ring. `filled` stands in the row that comes next.
        place_bits = lane_bits + row_bits + 1
        # `unfilled` is what is missing to -1.
        filled, read = Signal(place_bits), Signal(place_bits)
        unfilled = Signal(place_bits, init=-1)
        rows = [Signal(8 * width, name=f"row{r}", reset_less=True) for r in range(count)]
        row, full = filled[lane_bits:], Signal()
        m.d.comb += [
            full.eq((row ^ read[lane_bits:]) == count),
            self.word.ready.eq(~full),
            self.held.eq((filled != read) | self.word.valid),
        ]
        with m.If(self.word.valid & ~full):
            end = self.word.payload.end
            after_word = Cat(end[:lane_bits], (row + end[lane_bits])[: len(row)])
            m.d.sync += [filled.eq(after_word), unfilled.eq(~after_word)]
            for r, held in enumerate(rows):
                with m.If(row[:row_bits] == r):
                    m.d.sync += held.eq(self.word.payload.data)

        # The next bytes: lanes before that of the first one are of the row after its row.
        lane, first = read[:lane_bits], read[lane_bits:][:row_bits]
        window: list[Value] = []
        following = [Signal(row_bits, name=f"row_behind_{n}") for n in range(-(-unit // width) + 1)]
        m.d.comb += [which.eq(first + n) for n, which in enumerate(following)]
        for n in range(-(-unit // width)):
            chosen = []
            for i in range(width):
                which = Signal(row_bits, name=f"row_of_{n}_{i}")
                byte = Signal(8, name=f"byte_{n}_{i}")
                choices: list[Value] = [held[8 * i : 8 * i + 8] for held in rows]
                for bit in which:
                    choices = [Mux(bit, b, a) for a, b in zip(choices[::2], choices[1::2], strict=True)]
                m.d.comb += [
                    which.eq(Mux(above(lane, i), following[n + 1], following[n])),
                    byte.eq(choices[0]),
                ]
                chosen.append(byte)
            window += rotate(m, chosen, lane, f"turned_{n}")
        data = Cat(*window)[: 8 * unit]

        missing = Signal(place_bits)
        m.d.comb += missing.eq(read + unfilled)
        behind = [Signal(place_bits, name=f"behind{i}") for i in range(len(consumers))]
        for port, place in zip(consumers, behind, strict=True):
            m.d.comb += [
                port.data.eq(data),
                port.enough.eq((missing + port.want)[place_bits - 1]),  # the sign of read + want - filled - 1
                place.eq(read + port.want),
            ]
        # All is known but who takes.
        after: Value = Mux(self.discard, filled, behind[-1])
        for port, place in zip(consumers[:-1], behind, strict=False):
            after = Mux(port.take, place, after)
        with m.If(Cat(*(port.take for port in consumers), self.discard).any()):
            m.d.sync += read.eq(after)
        return m
