"""TapeReader: bytes leave in the order in which they came, none lost, none twice."""

import dataclasses

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

import hw.tape
from hw.fetch import word_layout
from hw.machine import CI, NARROW

from .prove import prove
from .variant import broken, opened

#: The least reader: 16 bytes taken at most, 8 come in a word.
SMALL = dataclasses.replace(NARROW, name="small", tables=1)
CONSUMERS = 2


class Order(wiring.Component):
    """Any words, any taking by one consumer at a time; one byte, picked as it comes in, is followed."""

    def __init__(self, config, module=hw.tape):
        self.config, self.module = config, module
        super().__init__({"word": In(stream.Signature(word_layout(config)))})

    def elaborate(self, platform):
        m, unit, fifo = Module(), self.config.unit_bytes, self.config.fifo_bytes
        capacity = unit + fifo - 1
        dut = self.module.TapeReader(self.config, CONSUMERS)
        m.submodules.dut, inner = opened(dut, platform)
        wiring.connect(m, wiring.flipped(self.word), dut.word)
        word, ports = self.word.payload, [dut.consumer[i] for i in range(CONSUMERS)]
        # What Fetch gives (test_fetch): bytes past the count are 0.
        m.d.comb += Assume(word.count <= fifo)
        for i in range(fifo):
            m.d.comb += Assume((i < word.count) | (word.data.word_select(i, 8) == 0))

        # One consumer takes, no more than there is.
        which, take, level = Signal(), Signal(range(unit + 1)), Signal(range(2 * capacity))
        m.d.comb += [which.eq(AnySeq(1)), take.eq(AnySeq(len(take))), Assume(take <= ports[0].level)]
        for i, port in enumerate(ports):
            m.d.comb += [
                port.take.eq(Mux(which == i, take, 0)),
                Assert(port.level == Mux(level > unit, unit, level)),
                Assert(port.level <= level),
            ]
        m.d.comb += Assert(level <= capacity)
        came = Mux(self.word.valid & self.word.ready, word.count, 0)
        m.d.sync += level.eq(level - take + came)

        # The byte: `ahead` others leave before it.
        inside, ahead, value = Signal(), Signal(range(2 * capacity)), Signal(8)
        pick, at = Signal(), Signal(range(fifo))
        m.d.comb += [pick.eq(AnySeq(1)), at.eq(AnySeq(len(at)))]
        with m.If(~inside & pick & (at < came)):
            m.d.sync += [inside.eq(1), ahead.eq(level - take + at), value.eq(word.data.word_select(at, 8))]
        with m.If(inside):
            with m.If(take > ahead):
                m.d.sync += inside.eq(0)
                m.d.comb += [Assert(port.data.word_select(ahead[: (unit - 1).bit_length()], 8) == value)
                             for port in ports]  # fmt: skip
            with m.Else():
                m.d.sync += ahead.eq(ahead - take)

        # Progress: a consumer that takes all it sees is never without room for a word.
        with m.If(ports[0].level == take):
            m.d.comb += Assert((level > 2 * unit - 1) | self.word.ready)

        # Invariants: the byte is where `ahead` says; bytes past the level are 0.
        m.d.comb += [
            Assert(inner.level == level),
            Assert(~inside | (ahead < level)),
            Assert(~inside | (inner.held.word_select(ahead, 8) == value)),
        ]
        for i in range(capacity):
            m.d.comb += Assert((i < level) | (inner.held.word_select(i, 8) == 0))
        return m


@pytest.mark.parametrize("config", [SMALL, CI], ids=lambda config: config.name)
def test_bytes_keep_their_order(config):
    prove(Order(config), depth=1, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("remaining < unit", "remaining <= unit"),
        ("self.word.payload.data << (remaining << 3)", "self.word.payload.data << (level << 3)"),
        ("m.d.sync += [held.eq(rest), level.eq(remaining)]", "m.d.sync += held.eq(rest)"),
        ("total = total | port.take", "pass"),
    ],
    ids=["capacity", "place", "level", "consumer"],
)
def test_broken_reader_is_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Order(SMALL, broken(hw.tape, old, new)), depth=6)
