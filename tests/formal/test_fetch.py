"""Fetch: an AXI4 read manager that never asks for more than its FIFO has room for."""

import dataclasses
from itertools import pairwise
from unittest import mock

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hw.fetch
from hw.axi4 import ReadPort
from hw.burst import run_layout
from hw.fetch import word_layout
from hw.machine import NARROW, MachineConfig

from .contract import AnyBursts, kept, legal_address
from .prove import prove
from .variant import broken, opened

SMALL = dataclasses.replace(NARROW, fifo_words=4, burst_beats=4, outstanding=2)
LARGER = dataclasses.replace(NARROW, bus_bytes=8, fifo_words=8, burst_beats=4, outstanding=2)


class Reader(wiring.Component):
    """Any legal bursts, a memory that answers in order at any time after the address, any consumer."""

    def __init__(self, config, module=hw.fetch):
        self.config, self.module = config, module
        super().__init__(
            {"read": Out(ReadPort(config.bus_bytes)), "word": Out(stream.Signature(word_layout(config)))}
        )

    def elaborate(self, platform):
        m, config = Module(), self.config
        dut = self.module.Fetch(config)
        with mock.patch.object(self.module, "BurstSplitter", AnyBursts):
            m.submodules.dut, inner = opened(dut, platform)
        wiring.connect(m, dut.read, wiring.flipped(self.read))
        wiring.connect(m, dut.word, wiring.flipped(self.word))
        ar, r = self.read.ar, self.read.r

        # The memory: the bursts it owes, oldest first, and the beats given of the oldest.
        asked, given = ar.valid & ar.ready, r.valid & r.ready
        count, lengths, beats = Signal(3), [Signal(8, name=f"length{i}") for i in range(3)], Signal(8)
        ends = given & (beats == lengths[0])
        m.d.comb += Assume(~r.valid | (count != 0))
        m.d.comb += Assume(r.payload.last == (beats == lengths[0]))
        m.d.sync += count.eq(count + asked - ends)
        with m.If(given):
            m.d.sync += beats.eq(Mux(ends, 0, beats + 1))
        with m.If(ends):
            m.d.sync += [a.eq(b) for a, b in pairwise(lengths)]
        for place, length in enumerate(lengths):
            with m.If(asked & (count - ends == place)):
                m.d.sync += length.eq(ar.payload.len)
        # What `flight` holds, from the acceptance of a burst on; that it gives back what it was given is
        # proved in test_fifo.
        tags, tag = [Signal.like(inner.flight.w_data, name=f"tag{i}") for i in range(3)], inner.tag
        with m.If(ends):
            m.d.sync += [a.eq(b) for a, b in pairwise(tags)]
        for place, held in enumerate(tags):
            with m.If(inner.accept & (count - ends == place)):
                m.d.sync += held.eq(inner.flight.w_data)
        m.d.comb += Assume(~inner.flight.r_rdy | (inner.flight.r_data == tags[0]))

        kept(m, ar, Assert)
        with m.If(ar.valid):
            m.d.comb += [Assert(rule) for rule in legal_address(ar.payload.addr, ar.payload.len, config)]
        kept(m, self.word, Assert)
        m.d.comb += [
            Assert(r.ready),
            Assert(count + ar.valid <= config.outstanding),
            Assert(~inner.fifo.w_en | inner.fifo.w_rdy),
            Assert(~r.valid | inner.flight.r_rdy),
            Assert(dut.beat + dut.full + dut.wait + dut.free == 1),
            Assert(dut.error == (r.valid & (r.payload.resp != 0))),
            Assert(~dut.idle | ((count == 0) & ~ar.valid & ~self.word.valid)),
            Assert(~dut.empty | ~(self.word.valid | inner.push | inner.late)),
            Assert(~dut.empty | (inner.fifo.level == 0)),
        ]

        # Invariants: every word of the FIFO is free, filled, on its way, or due for a burst: two beats are
        # due one word, the end of a run one more.
        def words(length, held):
            return ((length + 2) >> 1) + held[0]

        due = Mux(count > 0, words(lengths[0], tags[0]) - ((beats + 1) >> 1) + inner.spare, 0)
        due += Mux(count > 1, words(lengths[1], tags[1]), 0)
        due += Mux(inner.offered, words(ar.payload.len, Mux(count == 0, tags[0], tags[1])), 0)
        on_way = inner.push + inner.late + inner.give
        m.d.comb += [
            Assert(inner.free_words + inner.fifo.level + on_way + due == config.fifo_words),
            Assert(inner.spare == (inner.odd & inner.upper)),
            Assert(~(inner.beat & inner.ends) | (tag.last_bytes - 1 < config.bus_bytes)),
            Assert(inner.flight.level == count + inner.offered),
            Assert(inner.flight.r_rdy | (count == 0)),
            Assert(inner.odd == beats[0]),
            Assert(Mux(count == 0, beats == 0, beats <= lengths[0])),
            Assert(inner.fifo.r_rdy | (inner.fifo.level <= 1)),
            *[Assert((count <= i) | (lengths[i] < config.burst_beats)) for i in range(2)],
            *[
                Assert((count + inner.offered <= i) | ((held >> 1) - 1 < config.bus_bytes))
                for i, held in enumerate(tags[:2])
            ],
        ]
        return m


class Bytes(wiring.Component):
    """Any runs, the engine with its own splitter: byte `chosen` of the tape is the memory's in that place.

    The memory holds `value` at the address of that byte and anything elsewhere.
    """

    def __init__(self, config, module=hw.fetch):
        self.config, self.module = config, module
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "read": Out(ReadPort(config.bus_bytes)),
                "word": Out(stream.Signature(word_layout(config))),
                "chosen": In(6),
                "value": In(8),
            }
        )

    def elaborate(self, platform):
        m, config, bus = Module(), self.config, self.config.bus_bytes
        m.submodules.dut = dut = self.module.Fetch(config)
        for name in ("run", "read", "word"):
            ours, theirs = wiring.flipped(getattr(self, name)), getattr(dut, name)
            wiring.connect(m, *((ours, theirs) if name == "run" else (theirs, ours)))
        run, ar, r = self.run.payload, self.read.ar, self.read.r
        chosen, value, set_up = Signal(6), Signal(8), Signal()
        m.d.sync += set_up.eq(1)
        with m.If(~set_up):
            m.d.sync += [chosen.eq(self.chosen), value.eq(self.value)]
            m.d.comb += Assume(~self.run.valid)
        m.d.comb += Assume((run.address % bus == 0) & (run.bytes < 64) & (run.address < 1 << 16))

        # Where the chosen byte lies.
        asked, address, known = Signal(10), Signal(32), Signal()
        with m.If(self.run.valid & self.run.ready):
            m.d.sync += asked.eq(asked + run.bytes)
            with m.If((chosen >= asked) & (chosen < asked + run.bytes)):
                m.d.sync += [known.eq(1), address.eq(run.address + (chosen - asked)[:6])]
        # The memory answers one burst at a time, at any pace.
        open_, beat, length = Signal(), Signal(32), Signal(8)
        m.d.comb += [
            Assume(~ar.ready | ~open_),
            Assume(~r.valid | open_),
            Assume(r.payload.last == (length == 0)),
        ]
        with m.If(ar.valid & ar.ready):
            m.d.sync += [open_.eq(1), beat.eq(ar.payload.addr), length.eq(ar.payload.len)]
        with m.If(r.valid):
            m.d.sync += [beat.eq(beat + bus), length.eq(length - 1), open_.eq(length != 0)]
        for i in range(bus):
            with m.If(known & (beat + i == address)):
                m.d.comb += Assume(r.payload.data.word_select(i, 8) == value)

        # The tape up to `got` has come. A word is the row in which `got` lies, with more of it.
        got, word, width = Signal(10), self.word.payload, config.fifo_bytes
        row = got - got % width
        with m.If(self.word.valid & self.word.ready):
            m.d.sync += got.eq(row + word.end)
        with m.If(self.word.valid):
            m.d.comb += [
                Assert(word.end <= width),
                Assert(word.end > got % width),
                Assert(row + word.end <= asked),
            ]
            for i in range(width):
                byte = word.data.word_select(i, 8)
                m.d.comb += Assert((i >= word.end) | (row + i != chosen) | (byte == value))
        m.d.comb += Assert(~dut.idle | (got == asked))
        return m


@pytest.mark.parametrize("config", [SMALL, LARGER], ids=["4 words", "8 words"])
def test_read_manager_rules(config):
    prove(Reader(config), depth=2, induction=True)


def test_tape_bytes_are_the_memorys():
    prove(Bytes(SMALL), depth=13)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("burst.valid & room & flight.w_rdy & ~offered", "burst.valid & flight.w_rdy & ~offered"),
        ("burst.valid & room & flight.w_rdy & ~offered", "burst.valid & room & ~offered"),
        ("((burst.payload.len + 2) >> 1)", "((burst.payload.len + 1) >> 1)"),
        ("((burst.payload.len + 2) >> 1) + burst.payload.last", "((burst.payload.len + 2) >> 1)"),
        ("(beat & r.last & unused)", "0"),
        ("(late & sent)", "0"),
        ("Mux(odd, spare, 1)", "~odd"),
        ("self.read.ar.valid.eq(offered)", "self.read.ar.valid.eq(offered & room)"),
    ],
    ids=["room", "flight", "words", "tail", "unused", "joined", "spare", "falls"],
)
def test_broken_engine_breaks_a_rule(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Reader(SMALL, broken(hw.fetch, old, new)), depth=14)


@pytest.mark.parametrize(
    ("old", "new"),
    [("word_select(upper, 8 * bus)", "word_select(~upper, 8 * bus)"),
     ("ends.eq(r.last & tag.last)", "ends.eq(0)"),
     ("late.eq(beat & ends & beyond)", "late.eq(0)"),
     ("Mux(beat & new, turned[i], kept[i])", "Mux(beat, turned[i], kept[i])"),
     ("upper + (beat & filled)", "upper"),
     ("beat & (filled | new)", "beat & new"),
     ("ending[-1] & (ending[:-1] != 0)", "ending[-1] & (at != 0)"),
     ("~ends | ending[-1]", "ending[-1]"),
     ("~push & ~late & ~pushed", "~push & ~late")],
    ids=["swapped", "tail", "lost", "kept", "end", "beyond", "left over", "whole", "idle"],
)  # fmt: skip
def test_broken_engine_loses_bytes(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Bytes(SMALL, broken(hw.fetch, old, new)), depth=13)


def test_fifo_of_two_words_overflows():
    """Why `fifo_words` has a least value: a SyncFIFOBuffered of two takes no second word until one is out."""
    with pytest.raises(ValueError, match="fifo_words must be 4 or more"):
        dataclasses.replace(SMALL, fifo_words=2, burst_beats=2)
    with mock.patch.object(MachineConfig, "__post_init__"):
        config = dataclasses.replace(SMALL, fifo_words=2, burst_beats=2)
    with pytest.raises(AssertionError, match=r"inner\.fifo\.w_en"):
        prove(Reader(config), depth=10)
