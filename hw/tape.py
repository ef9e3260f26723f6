"""The tape reader: rows of the tape FIFO in, any number of bytes a cycle out."""

from functools import partial, reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fetch import word_layout
from .lut_greater import LutGreater
from .lut_mux import choose
from .machine import MachineConfig
from .ports import TapePort
from .rotate import above, rotate
from .shared import shared

__all__ = ["TapeReader"]


def ring_rows(config: MachineConfig) -> int:
    """Rows held, a power of two. A row is refused only while all of them hold bytes: what a unit leaves then,
    with the row that comes a cycle later, is enough for the next unit."""
    return 1 << (-(-config.unit_bytes // config.fifo_bytes) + 1).bit_length()


class TapeReader(wiring.Component):
    """Ring of `ring_rows` rows of ``fifo_bytes`` between the tape FIFO and the units.

    Bytes stay where they were written; the place that is read moves. A consumer sustains min(unit_bytes,
    fifo_bytes) bytes a cycle. Whether a row is accepted depends on registers alone. What a ``take`` leaves is
    found before it: it chooses or enables. What ``data`` is chosen by is registered, in parts of the place.

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
        Throw away what is held and what comes in this cycle; no unit may take meanwhile.
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

        # Bytes written and read, modulo twice the ring, and how many lie between. `filled` stands in the row
        # that comes next.
        place_bits = lane_bits + row_bits + 1
        filled, read, level = Signal(place_bits), Signal(place_bits), Signal(place_bits)
        rows = [Signal(8 * width, name=f"row{r}", reset_less=True) for r in range(count)]
        row, full, accept = filled[lane_bits:], Signal(), Signal()
        m.d.comb += [
            full.eq((row ^ read[lane_bits:]) == count),
            self.word.ready.eq(~full),
            accept.eq(self.word.valid & ~full),
            self.held.eq((level != 0) | self.word.valid),
        ]
        end, after_word = self.word.payload.end, Signal(place_bits)
        after_lane, after_row = after_word[:lane_bits], after_word[lane_bits:]
        m.d.comb += [
            after_lane.eq(Mux(accept, end[:lane_bits], filled[:lane_bits])),
            after_row.eq(Mux(accept & end[lane_bits], row + 1, row)),
        ]
        m.d.sync += filled.eq(after_word)
        for r, held in enumerate(rows):
            with m.If(accept & (row[:row_bits] == r)):
                m.d.sync += held.eq(self.word.payload.data)

        # Where one takes, no other one wants anything. That it takes is known last.
        behind, left, moves = Signal(place_bits), Signal(place_bits), Signal()
        after_read = Mux(self.discard, after_word, behind)
        m.d.comb += [
            behind.eq(read + reduce(or_, (port.want for port in consumers))),
            # Inverted, or synthesis would make one difference, behind the choice.
            left.eq(behind + ~after_word),
            moves.eq(Cat(*(port.take for port in consumers), self.discard).any()),
        ]
        m.d.sync += level.eq(Mux(moves, ~left, after_word - read))
        with m.If(self.discard):
            m.d.sync += level.eq(0)
        with m.If(moves):
            m.d.sync += read.eq(after_read)

        # The next bytes: lanes before that of the first one are of the row after its row.
        lane, first = read[:lane_bits], read[lane_bits:][:row_bits]
        low = (lane_bits + 1) // 2
        part, block = after_read[:low], after_read[low:lane_bits]
        above_part = Signal(1 << low)
        above_block, in_block = Signal(1 << len(block)), Signal(1 << len(block), init=1)
        with m.If(moves):
            m.d.sync += [
                above_part.eq(Cat(above(part, i) for i in range(len(above_part)))),
                above_block.eq(Cat(above(block, i) for i in range(len(above_block)))),
                in_block.eq(Cat(block == i for i in range(len(in_block)))),
            ]
        window: list[Value] = []
        following = [Signal(row_bits, name=f"row_behind_{n}") for n in range(-(-unit // width) + 1)]
        m.d.comb += [which.eq(first + n) for n, which in enumerate(following)]
        for n in range(-(-unit // width)):
            chosen = []
            for i in range(width):
                passed = above_block[i >> low] | (in_block[i >> low] & above_part[i % (1 << low)])
                which = Signal(row_bits, name=f"row_of_{n}_{i}")
                choices = [held[8 * i : 8 * i + 8] for held in rows]
                m.d.comb += which.eq(Mux(passed, following[n + 1], following[n]))
                chosen.append(choose(m, platform, f"byte_{n}_{i}", which, choices))
            window += rotate(m, chosen, lane, f"turned_{n}", choose=partial(choose, m, platform))
        data = Cat(*window)[: 8 * unit]

        for i, port in enumerate(consumers):
            lacking = LutGreater(place_bits)
            m.submodules[f"lacking{i}"] = shared(lacking, platform)
            m.d.comb += [
                port.data.eq(data),
                lacking.a.eq(port.want),
                lacking.b.eq(level),
                port.enough.eq(~lacking.o),
            ]
        return m
