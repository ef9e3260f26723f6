"""TapeReader: bytes leave in the order in which they came, none lost, none twice, none that was discarded."""

import dataclasses

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hw.tape
from hw.fetch import word_layout
from hw.machine import CI, NARROW

from .prove import prove
from .variant import broken, opened

#: The least reader: 8 bytes taken at most, 8 come in a word.
SMALL = dataclasses.replace(NARROW, name="small", tables=1, head_lanes=4, attention_bytes=4, lanes=2)
#: Takes that are no multiple of a row, and takes of half a row at most.
ODD = dataclasses.replace(NARROW, name="odd", tables=20)
HALF = dataclasses.replace(SMALL, name="half", bus_bytes=8)
CONSUMERS = 2


class Order(wiring.Component):
    """Any rows, any taking by one consumer at a time; one byte, picked as it comes in, is followed.

    Where bytes are discarded, what was held is to be forgotten, and a row that comes in that cycle.
    """

    def __init__(self, config, module=hw.tape):
        self.config, self.module = config, module
        super().__init__(
            {"word": In(stream.Signature(word_layout(config))), "discard": In(1), "held": Out(1)}
        )

    def elaborate(self, platform):
        m, unit, width = Module(), self.config.unit_bytes, self.config.fifo_bytes
        capacity = self.module.ring_rows(self.config) * width
        dut = self.module.TapeReader(self.config, CONSUMERS)
        m.submodules.dut, inner = opened(dut, platform)
        wiring.connect(m, wiring.flipped(self.word), dut.word)
        m.d.comb += [dut.discard.eq(self.discard), self.held.eq(dut.held)]
        word, ports = self.word.payload, [dut.consumer[i] for i in range(CONSUMERS)]
        level, lane = (
            Signal(range(2 * capacity)),
            Signal(range(width)),
        )  # bytes held; lane of the next to come

        # What Fetch gives (test_fetch): a row with at least one byte more than there was of it.
        m.d.comb += Assume(~self.word.valid | ((word.end > lane) & (word.end <= width)))
        came = Mux(self.word.valid & self.word.ready, word.end - lane, 0)

        # One consumer takes, what there is, and not while bytes are discarded; then no other one wants any.
        which, takes, taken = Signal(), Signal(), Signal(range(unit + 1))
        m.d.comb += [which.eq(AnySeq(1)), takes.eq(AnySeq(1)), Assume(~(takes & self.discard))]
        for i, port in enumerate(ports):
            m.d.comb += [
                port.want.eq(AnySeq(len(port.want))),
                Assume(port.want <= unit),
                port.take.eq(takes & (which == i)),
                Assume(~port.take | (port.enough & (port.want != 0))),
                Assume(~takes | (which == i) | (port.want == 0)),
                Assert(port.enough == (port.want <= level)),
            ]
        m.d.comb += taken.eq(Mux(takes, Mux(which, ports[1].want, ports[0].want), 0))
        remaining = level - taken
        m.d.sync += level.eq(Mux(self.discard, 0, remaining + came))
        with m.If(came != 0):
            m.d.sync += lane.eq(word.end)

        # The byte: `ahead` others leave before it.
        inside, ahead, value = Signal(), Signal(range(2 * capacity)), Signal(8)
        pick, at = Signal(), Signal(range(width))
        m.d.comb += [pick.eq(AnySeq(1)), at.eq(AnySeq(len(at)))]
        with m.If(inside):
            m.d.sync += [inside.eq((taken <= ahead) & ~self.discard), ahead.eq(ahead - taken)]
            with m.If(ahead < unit):
                m.d.comb += [
                    Assert(port.data.word_select(ahead[: (unit - 1).bit_length()], 8) == value)
                    for port in ports
                ]
            # A row that comes again has the bytes that it had.
            with m.If(self.word.valid & (level - ahead <= lane)):
                m.d.comb += Assume(word.data.word_select((lane + ahead - level)[: len(lane)], 8) == value)
        with m.Elif(pick & ~self.discard & (came != 0) & (at >= lane) & (at < word.end)):
            m.d.sync += [
                inside.eq(1),
                ahead.eq(remaining + at - lane),
                value.eq(word.data.word_select(at, 8)),
            ]

        # Progress: a row is refused only while there is more than a unit and a row.
        discarded = Signal()
        m.d.sync += discarded.eq(self.discard)
        m.d.comb += [
            Assert(level <= capacity),
            Assert(self.word.ready | (level > capacity - width)),
            Assert(self.word.ready | (level > unit + width)),
            # Discard: from the next cycle on every row is taken; it has ended when nothing is held.
            Assert(~discarded | self.word.ready),
            Assert(~discarded | (level == 0)),
            Assert(dut.held == ((level != 0) | self.word.valid)),
        ]

        # Invariants: places of the ring follow the ghosts; the byte is where `ahead` says.
        place = (inner.read + ahead)[: (capacity - 1).bit_length()]
        m.d.comb += [
            Assert((inner.filled - inner.read)[: len(inner.read)] == level),
            Assert(inner.level == level),
            Assert(
                inner.above_part == Cat(inner.lane[: inner.low] > i for i in range(len(inner.above_part)))
            ),
            Assert(
                inner.above_block == Cat(inner.lane[inner.low :] > i for i in range(len(inner.above_block)))
            ),
            Assert(inner.in_block == 1 << inner.lane[inner.low :]),
            Assert(inner.filled % width == lane),
            Assert(inner.read % width + level <= capacity),
            Assert(~inside | (ahead < level)),
            Assert(~inside | (Cat(inner.rows).word_select(place, 8) == value)),
        ]
        return m


@pytest.mark.parametrize("config", [SMALL, NARROW, ODD, HALF, CI], ids=lambda config: config.name)
def test_bytes_keep_their_order(config):
    prove(Order(config), depth=1, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(row ^ read[lane_bits:]) == count", "(row ^ read[lane_bits:]) == 2 * count"),
        ("Mux(accept & end[lane_bits], row + 1, row)", "row"),
        ("Mux(accept, end[:lane_bits], filled[:lane_bits])", "end[:lane_bits]"),
        ("Mux(moves, ~left, after_word - read)", "Mux(moves, ~left, filled - read)"),
        ("behind + ~after_word", "behind + ~filled"),
        ("Mux(passed, following[n + 1], following[n])", "following[n]"),
        ("(in_block[i >> low] & above_part[i % (1 << low)])", "above_part[i % (1 << low)]"),
        ("above(block, i) for", "above(part, i) for"),
        ("which.eq(first + n)", "which.eq(first)"),
        ("port.want for port in consumers)", "port.want for port in consumers[1:])"),
        ("Mux(self.discard, after_word, behind)", "behind"),
        ("Mux(self.discard, after_word, behind)", "Mux(self.discard, 0, behind)"),
        ("consumers), self.discard).any()", "consumers)).any()"),
        ("level.eq(0)", "level.eq(level)"),
        ("(level != 0) | self.word.valid", "level != 0"),
        ("accept.eq(self.word.valid & ~full)", "accept.eq(self.word.valid)"),
    ],
    ids=["capacity", "row", "nothing", "fewer", "more", "behind", "lane", "block", "window", "consumer",
         "kept", "start", "discard", "level", "held", "overwrite"],
)  # fmt: skip
def test_broken_reader_is_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Order(SMALL, broken(hw.tape, old, new)), depth=8)
