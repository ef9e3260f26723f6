"""Sequencer: nothing is issued before its wait bounds hold; the counts of the unfinished are true."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

import hw.sequencer
from hw.isa import BY_OPCODE, NO_WAIT
from hw.machine import CI
from hw.ports import command_layout, header_layout
from hw.sequencer import UNITS

from .contract import kept
from .prove import prove
from .variant import broken, opened

SMALL = dataclasses.replace(CI, name="small", program_words=4, queue_depth=3)
WAITS = ("wait_matmul", "wait_vector", "wait_attention", "wait_store")


class Issue(wiring.Component):
    """Any program (program memory starts arbitrary), any registers, units that finish what they took."""

    def __init__(self, config, module=hw.sequencer):
        self.config, self.module = config, module
        super().__init__(
            {"program_en": In(1), "program_address": In(5), "program_data": In(32),
             "start": In(1), "predicates": In(8), "tokens": In(9), "tile": In(4), "run_ready": In(1),
             "fetch_idle": In(1), "position": In(20), "base": In(20),
             "ready": In(len(UNITS)), "done": In(len(UNITS)), "valid": Out(len(UNITS)),
             "issued": Out(1), "finished": Out(1), "running": Out(1)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        dut = self.module.Sequencer(self.config)
        module, inner = opened(dut, platform)
        m.submodules.dut = module
        m.d.comb += [
            # Never written: but for the assumption, Yosys would take a memory without writes for a constant.
            dut.program_en.eq(self.program_en), dut.program_address.eq(self.program_address),
            dut.program_data.eq(self.program_data),
            Assume(~self.program_en),
            dut.start.eq(self.start), dut.predicates.eq(self.predicates), dut.tokens.eq(self.tokens),
            dut.tile.eq(self.tile), dut.entries.entry.position.eq(self.position),
            dut.entries.entry.base.eq(self.base),
            dut.run.ready.eq(self.run_ready), dut.fetch_idle.eq(self.fetch_idle),
            self.issued.eq(dut.issued), self.finished.eq(dut.finished), self.running.eq(dut.running),
        ]  # fmt: skip
        head = data.View(header_layout(), data.View(command_layout(), inner.queue.r_data).word)
        unfinished, entering = [], []
        for i, unit in enumerate(UNITS):
            port, fifo = dut.units[i], getattr(module.submodules, f"{unit.name.lower()}_queue")
            codes = [row.opcode for row in BY_OPCODE.values() if row.unit == unit]
            mine = Signal(name=f"mine{i}")
            issue = Signal(name=f"issue{i}")
            # Ghosts: instructions beside the unit, and in it.
            waiting, inside = Signal(4, name=f"waiting{i}"), Signal(4, name=f"inside{i}")
            taken = port.command.valid & port.command.ready
            m.d.comb += [
                port.command.ready.eq(self.ready[i]), port.done.eq(self.done[i]),
                self.valid[i].eq(port.command.valid),
                mine.eq(Cat(head.opcode == code for code in codes).any()),
                issue.eq(dut.issued & mine),
                Assume(~self.done[i] | (inside != 0)),
            ]  # fmt: skip
            m.d.sync += [waiting.eq(waiting + issue - taken), inside.eq(inside + taken - self.done[i])]
            kept(m, port.command, Assert)
            m.d.comb += [
                Assert(waiting <= self.module.UNIT_QUEUE),
                Assert(~port.command.valid | (waiting != 0)),
                Assert(waiting + inside <= self.module.UNIT_QUEUE + 2),
                Assert(inner.outstanding[i] == waiting + inside),
                Assert(inner.idle[i] == (waiting + inside == 0)),
                Assert(inner.below[i] == (waiting + inside < self.module.UNIT_QUEUE + 2)),
                Assert(fifo.level == waiting),
                Assert(fifo.w_rdy == (waiting != self.module.UNIT_QUEUE)),
                Assert(~issue | fifo.w_rdy),
            ]
            unfinished.append(waiting + inside)
            entering.append(issue)
        # An instruction leaves the queue only towards exactly one unit, and within all of its bounds.
        m.d.comb += Assert(dut.issued == Cat(entering).any())
        m.d.comb += Assert(sum(entering[1:], entering[0]) <= 1)
        m.d.comb += Assert(dut.issued == (inner.queue.r_en & inner.queue.r_rdy))
        entered = Signal()
        m.d.sync += entered.eq(inner.queue.w_en & inner.queue.w_rdy)
        m.d.comb += Assert(~inner.queue_empty | (inner.queue.level == 0) | entered)
        for i in range(len(UNITS)):
            bound = head[WAITS[i]]
            m.d.comb += Assert(~dut.issued | (bound == NO_WAIT) | (unfinished[i] <= bound))
        m.d.comb += Assert(~self.finished | (Cat(unfinished) == 0) & (inner.queue.level == 0))
        return m


def test_issue_keeps_its_bounds():
    prove(Issue(SMALL), depth=2, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(unfinished <= wait)", "(unfinished <= wait + 1)"),
        ("may_issue.eq(queue.r_rdy & clear)", "may_issue.eq(clear)"),
        ("mine & fifo.w_rdy & below[i]", "mine & below[i]"),
        ("mine & fifo.w_rdy & below[i]", "mine & fifo.w_rdy"),
        ("may_issue & takes.any()", "queue.r_rdy & takes.any()"),
        ("count(outstanding[i], issue, port.done)", "count(outstanding[i], issue, Const(0))"),
        ("idle.all() & queue_empty", "queue_empty"),
        ("idle.all() & queue_empty", "idle.all()"),
    ],
    ids=["bound", "empty", "full", "below", "left", "count", "drain", "queued"],
)
def test_broken_sequencer_is_found(old, new):
    shallow = broken(hw.sequencer, "UNIT_QUEUE = 4", "UNIT_QUEUE = 2")
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Issue(SMALL, broken(shallow, old, new)), depth=24)
