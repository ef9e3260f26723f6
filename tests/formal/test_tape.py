"""TapeReader: bytes leave in the order in which they came, none lost, none twice, none that was discarded."""

import dataclasses

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hw.tape
from hw.fetch import word_layout
from hw.machine import CI, NARROW

from .prove import prove
from .variant import broken, opened

# Tape and fetch hand over whole rows since 2026-11-22 (`end`, `want`, `enough`). These proofs are of the form
# before.
pytest.skip(
    "SKIPPED ALOUD: the proof of TapeReader is not yet rewritten for rows; "
    "tests/hw/test_tape.py has it by simulation",
    allow_module_level=True,
)

#: The least reader: 16 bytes taken at most, 8 come in a word.
SMALL = dataclasses.replace(NARROW, name="small", tables=1)
CONSUMERS = 2


class Order(wiring.Component):
    """Any words, any taking by one consumer at a time; one byte, picked as it comes in, is followed.

    Where bytes are discarded, what was held and what comes in that cycle is to be forgotten.
    """

    def __init__(self, config, module=hw.tape):
        self.config, self.module = config, module
        super().__init__(
            {"word": In(stream.Signature(word_layout(config))), "discard": In(1), "held": Out(1)}
        )

    def elaborate(self, platform):
        m, unit, fifo = Module(), self.config.unit_bytes, self.config.fifo_bytes
        capacity = unit + fifo - 1
        dut = self.module.TapeReader(self.config, CONSUMERS)
        m.submodules.dut, inner = opened(dut, platform)
        wiring.connect(m, wiring.flipped(self.word), dut.word)
        m.d.comb += [dut.discard.eq(self.discard), self.held.eq(dut.held)]
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
        m.d.sync += level.eq(Mux(self.discard, 0, level - take + came))

        # The byte: `ahead` others leave before it.
        inside, ahead, value = Signal(), Signal(range(2 * capacity)), Signal(8)
        pick, at = Signal(), Signal(range(fifo))
        m.d.comb += [pick.eq(AnySeq(1)), at.eq(AnySeq(len(at)))]
        with m.If(~inside & pick & (at < came) & ~self.discard):
            m.d.sync += [inside.eq(1), ahead.eq(level - take + at), value.eq(word.data.word_select(at, 8))]
        with m.If(inside):
            with m.If(take > ahead):
                m.d.sync += inside.eq(0)
                m.d.comb += [Assert(port.data.word_select(ahead[: (unit - 1).bit_length()], 8) == value)
                             for port in ports]  # fmt: skip
            with m.Else():
                m.d.sync += ahead.eq(ahead - take)
            with m.If(self.discard):
                m.d.sync += inside.eq(0)

        # Progress: a consumer that takes all it sees is never without room for a word.
        with m.If(ports[0].level == take):
            m.d.comb += Assert((level > 2 * unit - 1) | self.word.ready)
        # Discard: every word is taken; in the next cycle the reader shows nothing and holds nothing.
        discarded = Signal()
        m.d.sync += discarded.eq(self.discard)
        m.d.comb += [
            Assert(~self.discard | self.word.ready),
            Assert(dut.held == ((level != 0) | self.word.valid)),
            Assert(~discarded | (dut.held == self.word.valid)),
            *[Assert(~discarded | (port.level == 0) & (port.data == 0)) for port in ports],
        ]

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
        ("(unit - remaining)", "(unit - level)"),
        ("m.d.sync += [held.eq(rest), level.eq(remaining)]", "m.d.sync += held.eq(rest)"),
        ("total = total | port.take", "pass"),
        ("(remaining < unit) | self.discard", "remaining < unit"),
        ("m.d.sync += [held.eq(0), level.eq(0)]", "m.d.sync += level.eq(0)"),
        ("with m.If(self.discard):", "with m.If(self.discard & ~self.word.valid):"),
    ],
    ids=["capacity", "place", "level", "consumer", "refused", "kept", "came"],
)
def test_broken_reader_is_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Order(SMALL, broken(hw.tape, old, new)), depth=6)
