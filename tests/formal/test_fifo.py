"""Queues: order, and none lost. SyncFIFOBuffered (issue, tape, runs) for all depths in use; UnitQueue."""

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

import hw.unit_queue
from hw.sequencer import UNIT_QUEUE

from .prove import prove
from .variant import broken, opened

WIDTH = 4


def followed(m, depth, level, wrote, data, read):
    """One entry, picked as it comes in: whether it is inside, how many are before it, what it is."""
    inside, ahead, value, pick = Signal(), Signal(range(2 * depth + 2)), Signal(WIDTH), Signal()
    m.d.comb += pick.eq(AnySeq(1))
    with m.If(~inside & pick & wrote):
        m.d.sync += [inside.eq(1), ahead.eq(level - read), value.eq(data)]
    with m.If(inside & read):
        m.d.sync += [ahead.eq(ahead - 1), inside.eq(ahead != 0)]
    return inside, ahead, value


class Queue(wiring.Component):
    """Any writes and reads; one entry, picked as it comes in, is followed."""

    def __init__(self, depth, module=fifo):
        self.depth, self.module = depth, module
        super().__init__(
            {"w_en": In(1), "w_data": In(WIDTH), "r_en": In(1), "w_rdy": Out(1), "r_rdy": Out(1)}
        )

    def elaborate(self, platform):
        m, depth = Module(), self.depth
        dut = self.module.SyncFIFOBuffered(width=WIDTH, depth=depth)
        m.submodules.dut, inner = opened(dut, platform)
        m.d.comb += [
            dut.w_en.eq(self.w_en), dut.w_data.eq(self.w_data), dut.r_en.eq(self.r_en),
            self.w_rdy.eq(dut.w_rdy), self.r_rdy.eq(dut.r_rdy),
        ]  # fmt: skip
        wrote, read = self.w_en & self.w_rdy, self.r_en & self.r_rdy
        level = Signal(range(2 * depth + 2))
        m.d.sync += level.eq(level + wrote - read)
        m.d.comb += [Assert(level == dut.level), Assert(level <= depth), Assert(~self.r_rdy | (level != 0))]
        # Room, as Fetch counts it: from 3 entries up, a queue that is not full takes a word.
        if depth > 2:
            m.d.comb += Assert(self.w_rdy | (level == depth))
        waited = Signal()
        m.d.sync += waited.eq((level != 0) & ~self.r_rdy)
        m.d.comb += Assert(~waited | self.r_rdy)

        inside, ahead, value = followed(m, depth, level, wrote, self.w_data, read)
        with m.If(inside & read):
            m.d.comb += Assert((ahead != 0) | (dut.r_data == value))

        # Invariants: the entry is at the output, or in the ring `ahead` places after the reading end.
        m.d.comb += Assert(~inside | (ahead < level))
        if depth == 1:
            m.d.comb += Assert(~inside | (dut.r_data == value))
            return m
        size = depth - 1
        look = inner.storage.read_port(domain="comb")
        place = Signal(range(4 * depth))
        m.d.comb += [
            place.eq(inner.consume + ahead - self.r_rdy),
            look.addr.eq(Mux(place >= size, place - size, place)),
            Assert((ahead != 0) | ~inside | ~self.r_rdy | (dut.r_data == value)),
            Assert((ahead == 0) & self.r_rdy | ~inside | (look.data == value)),
            Assert(self.r_rdy | (level <= 1)),
        ]
        return m


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_entries_keep_their_order(depth):
    prove(Queue(depth), depth=2, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.w_rdy.eq(inner_level != inner_depth)", "self.w_rdy.eq(1)"),
        ("do_inner_read  = inner_r_rdy & (~self.r_rdy | self.r_en)", "do_inner_read = inner_r_rdy"),
        ("m.d.sync += consume.eq(_incr(consume, inner_depth))", "m.d.sync += consume.eq(consume + 1)"),
    ],
    ids=["full", "overwrite", "wrap"],
)
def test_broken_queue_is_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Queue(4, broken(fifo, old, new)), depth=12)


class BesideUnit(wiring.Component):
    """As `Queue`, of `UnitQueue`, whose writer keeps to ``w_rdy`` and whose reader to ``r_rdy``."""

    def __init__(self, depth, module=hw.unit_queue):
        self.depth, self.module = depth, module
        super().__init__({"w_en": In(1), "w_data": In(WIDTH), "r_en": In(1)})

    def elaborate(self, platform):
        m, depth = Module(), self.depth
        m.submodules.dut = dut = self.module.UnitQueue(WIDTH, depth)
        m.d.comb += [
            dut.w_en.eq(self.w_en), dut.w_data.eq(self.w_data), dut.r_en.eq(self.r_en),
            Assume(~self.w_en | dut.w_rdy), Assume(~self.r_en | dut.r_rdy),
        ]  # fmt: skip
        level = Signal(range(2 * depth + 2))
        m.d.sync += level.eq(level + self.w_en - self.r_en)
        m.d.comb += [
            Assert(level == dut.level), Assert(level <= depth),
            Assert(dut.r_rdy == (level != 0)),  # at the output a cycle after it was written
            Assert(dut.w_rdy | (level == depth)),
        ]  # fmt: skip
        inside, ahead, value = followed(m, depth, level, self.w_en, self.w_data, self.r_en)
        m.d.comb += Assert(~inside | (ahead != 0) | (dut.r_data == value))
        return m


def test_entries_beside_a_unit_keep_their_order():
    """Bounded: every way of filling and emptying it within 14 cycles from reset."""
    prove(BesideUnit(UNIT_QUEUE), depth=14)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(~moves | behind.r_rdy)", "~moves"),
        ("(~moves | behind.r_rdy)", "1"),
        ("Mux(behind.r_rdy, behind.r_data, self.w_data)", "self.w_data"),
        ("behind.r_rdy | self.w_en", "self.w_en"),
        ("count(behind.level, behind.w_en, behind.r_en)", "behind.level"),
        ("Mux(up, below.all(), ~below.any())", "below.all()"),
    ],
    ids=["dropped", "twice", "overtaken", "lost", "full", "count"],
)
def test_broken_queue_beside_a_unit_is_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(BesideUnit(4, broken(hw.unit_queue, old, new)), depth=14)
