"""Steps: one after the other, each live entry replaced once by the token that follows; when the loop ends."""

import dataclasses

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

import hw.steps
from hw.isa import MANY_TILES, STOP_TOKENS
from hw.machine import CI, NARROW
from hw.ports import EntryWrite, entry_layout
from hw.steps import STEP_BITS, stop_layout

from .prove import prove
from .variant import broken, opened

SMALL = dataclasses.replace(CI, name="small", max_context=8)
SINGLE = dataclasses.replace(NARROW, name="single", max_context=8)
#: What must not change while the loop runs.
REGISTERS = ("tokens", "tile", "steps", "batch", "stops")


class Loop(wiring.Component):
    """Any registers, any tokens found, any table (`entry` is free in every cycle), steps of any length."""

    def __init__(self, config, module=hw.steps):
        self.config, self.module = config, module
        super().__init__(
            {"start": In(1), "tokens": In(9), "tile": In(4), "steps": In(STEP_BITS), "batch": In(1),
             "stops": In(data.ArrayLayout(stop_layout(), STOP_TOKENS)), "wanted": In(16), "failed": In(1),
             "ended": In(1), "more": In(3), "next_token": In(data.ArrayLayout(20, config.tile)),
             "entry": In(entry_layout()), "begin": Out(1), "finished": Out(1), "generated": Out(STEP_BITS),
             "write": Out(EntryWrite()), "step": Out(1)}
        )  # fmt: skip

    def elaborate(self, platform):
        m, tile = Module(), self.config.tile
        dut = self.module.Steps(self.config)
        module, inner = opened(dut, platform)
        m.submodules.dut = module
        fsm = module._generated["fsm"]
        state = {name: fsm.state == code for name, code in fsm.encoding.items()}
        wiring.connect(m, dut.write, wiring.flipped(self.write))
        m.d.comb += [
            *[getattr(dut, name).eq(getattr(self, name))
              for name in (*REGISTERS, "start", "wanted", "failed", "ended", "more", "next_token")],
            dut.entries.entry.eq(self.entry), dut.log_index.eq(AnySeq(32)),
            *[getattr(self, name).eq(getattr(dut, name))
              for name in ("begin", "finished", "generated", "step")],
        ]  # fmt: skip

        # The neighbours: registers stay while the loop runs; what a step found stays until the next begins.
        collecting, in_step = Signal(), Signal()
        m.d.comb += Assume((self.tokens != 0) & (self.tokens <= 256) & (self.steps != 0))
        m.d.comb += Assume((self.tile != 0) & (self.tile <= tile))
        m.d.comb += Assume(~self.batch | (self.tokens <= self.tile))
        m.d.comb += Assume(~self.ended | in_step)
        for held, name in [(dut.running, name) for name in REGISTERS] + [
            (collecting, "more"), (collecting, "next_token"),
        ]:  # fmt: skip
            value = getattr(self, name)
            value = value.as_value() if isinstance(value, data.View) else value
            before = Signal(len(value), name=f"{name}_before")
            m.d.sync += before.eq(value)
            with m.If(held):
                m.d.comb += Assume(value == before)
        # `more` is that of the last tile: at most a tile and the chunk; of a batch all but the first.
        with m.If(dut.running):
            m.d.comb += Assume((self.more < self.tile) & (self.more < dut.chunk))
            m.d.comb += Assume(~self.batch | (self.more == dut.chunk - 1))

        # One step after the other, each collected when it has ended.
        running, count = Signal(), Signal(STEP_BITS)
        live, last = Signal(range(tile + 1)), Signal()
        m.d.comb += live.eq(Mux(self.batch, self.more + 1, 1))
        begins = self.start & ~running
        wrote, met, place = Signal(tile), Signal(tile), Signal(32)
        now, everyone = Signal(tile), Signal(tile)
        which = dut.write.index
        stopping = Signal()
        found = self.next_token[Mux(self.batch, which[:3], self.more)[: max(1, (tile - 1).bit_length())]]
        m.d.comb += [
            stopping.eq(Cat(stop.used & (stop.token == found) for stop in self.stops).any()),
            everyone.eq((1 << live) - 1),
            now.eq(Mux(dut.write.en, 1 << which[:3], 0)),
            last.eq(collecting & ((wrote | now) == everyone)),
        ]
        over = (count + 1 == self.steps) | self.failed
        over |= (met | Mux(stopping, now, 0) | ~everyone).all()
        m.d.comb += [
            Assert(dut.running == running), Assert(dut.generated == count),
            Assert(dut.step == (in_step & self.ended)), Assert(dut.step_tokens == dut.chunk),
            Assert(~dut.begin | (running & ~in_step & ~collecting)),
            Assert(dut.finished == (last & over)),
            Assert(~running | (count < self.steps)), Assert(~dut.finished | (count + 1 <= self.steps)),
            Assert(~running | (dut.chunk == Mux(self.batch | (count == 0), self.tokens, 1))),
            Assert(dut.predicates[0]),
            Assert(~running | (dut.predicates[MANY_TILES] == (dut.chunk > self.tile))),
            Assert(((dut.predicates ^ self.wanted) & ~(1 | 1 << MANY_TILES)) == 0),
        ]  # fmt: skip
        with m.If(begins):
            m.d.sync += [running.eq(1), count.eq(0), met.eq(0), place.eq(0)]
        with m.If(dut.begin):
            m.d.sync += in_step.eq(1)
        with m.If(dut.step):
            m.d.sync += [in_step.eq(0), collecting.eq(1), wrote.eq(0)]
        with m.If(last):
            m.d.sync += [collecting.eq(0), count.eq(count + 1), running.eq(~over)]
        waited = Signal()
        m.d.sync += waited.eq(running & ~in_step & ~collecting & ~dut.begin)
        m.d.comb += Assert(~waited)  # a step that is due begins at once

        # Entries: each once, only after a step; the log holds the same tokens in the same order.
        with m.If(dut.write.en):
            entry = dut.write.entry
            m.d.comb += [
                Assert(collecting), Assert((wrote & now) == 0), Assert(which < live),
                Assert(dut.entries.index == Mux(self.batch, which, dut.chunk - 1)),
                Assert(entry.token == found), Assert(entry.position == (self.entry.position + 1)[:20]),
                Assert(entry.base == self.entry.base), Assert(~entry.continues),
                Assert(inner.write.data == found), Assert(inner.write.addr == place[: len(inner.write.addr)]),
            ]  # fmt: skip
            m.d.sync += [wrote.eq(wrote | now), met.eq(met | Mux(stopping, now, 0)), place.eq(place + 1)]
        m.d.comb += [Assert(dut.write.en == inner.write.en), Assert(dut.write.en == collecting)]

        # Invariants.
        m.d.comb += [
            Assert(state["BEGIN"] == (running & ~in_step & ~collecting)),
            Assert(state["RUN"] == (running & in_step)), Assert(state["COLLECT"] == (running & collecting)),
            Assert(~in_step | ~collecting), Assert(running | ~in_step & ~collecting),
            Assert(~running | (inner.stopped == met)),
            Assert(~running | (inner.place == place[: len(inner.place)])),
            Assert(~collecting | (wrote == (1 << inner.token) - 1) & (inner.token < live)),
            Assert(~in_step | (inner.token == 0)),
            Assert(~(running & (in_step | collecting)) | (inner.final == (count + 1 == self.steps))),
            Assert(~collecting | (inner.found == found)),
            Assert(~collecting | (inner.entry == Mux(self.batch, which, dut.chunk - 1))),
            Assert(~collecting | (inner.all_before == (met | ~wrote).all())),
        ]  # fmt: skip
        return m


@pytest.mark.parametrize("config", [SMALL, SINGLE], ids=lambda config: config.name)
def test_steps_follow_each_other(config):
    prove(Loop(config), depth=1, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.generated + 1 == self.steps", "self.generated == self.steps"),
        ("final | self.failed", "final"),
        ("place.eq(0), stopped.eq(0)", "place.eq(0)"),
        ("all_before.eq(all_before & stopped_now)", "all_before.eq(stopped_now)"),
        ("self.failed | (all_before & stopped_now)", "self.failed | stopped.all()"),
        ("many.eq(self.tokens > self.tile)", "many.eq(self.tokens >= self.tile)"),
        ("self.chunk.eq(1), many.eq(0)", "self.chunk.eq(1)"),
        ("stopped.eq(stopped | (stop << token))", "stopped.eq(stop << token)"),
        ("one.used & (one.token == found)", "one.token == found"),
        ("self.entries.entry.position + 1", "self.entries.entry.position"),
        ("Mux(self.batch, following, self.more)", "following"),
        ("following.eq(token + 1)", "following.eq(token)"),
        ("Mux(self.batch, 0, self.chunk - 1)", "0"),
        ("entry.eq(following)", "entry.eq(token)"),
        ("~self.batch | (token == self.more)", "token == self.more"),
        ("with m.Elif(~self.batch):", "with m.Else():"),
        ("m.d.sync += token.eq(0)", "pass"),
        ("self.step.eq(1)\n                    m.next = \"COLLECT\"",
         "self.step.eq(1)\n                    m.next = \"BEGIN\""),
    ],
    ids=["steps", "failed", "doorbell", "before", "alive", "many", "many later", "stopped", "unused",
         "position", "last", "next", "entry", "next entry", "prefill", "chunk", "token", "uncollected"],
)  # fmt: skip
def test_broken_steps_are_found(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Loop(SMALL, broken(hw.steps, old, new)), depth=12)
