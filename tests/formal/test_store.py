"""Store: an AXI4 write manager that finishes when memory has answered, and writes what it was told to."""

import dataclasses
from unittest import mock

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

import hw.store
from hw.axi4 import WritePort
from hw.isa import Payload
from hw.machine import CI
from hw.ports import command_layout, instruction_layout

from .contract import AnyBursts, kept, legal_address
from .prove import prove
from .variant import broken, opened

SMALL = dataclasses.replace(CI, name="small", burst_beats=2)


class Writer(wiring.Component):
    """Any commands cut into any legal bursts, a memory that answers any time after address and last beat."""

    def __init__(self, config, module=hw.store):
        self.config, self.module = config, module
        super().__init__(
            {"write": Out(WritePort(config.bus_bytes)),
             "command_valid": In(1), "command": In(command_layout()),
             "logits_valid": In(1), "stage": In(64)}
        )  # fmt: skip

    def elaborate(self, platform):
        m, bus = Module(), self.config.bus_bytes
        dut = self.module.Store(self.config)
        with mock.patch.object(self.module, "BurstSplitter", AnyBursts):
            m.submodules.dut, inner = opened(dut, platform)
        wiring.connect(m, dut.write, wiring.flipped(self.write))
        m.d.comb += [
            dut.unit.command.valid.eq(self.command_valid),
            dut.unit.command.payload.eq(self.command),
            dut.logits.valid.eq(self.logits_valid),
            dut.stage.data.eq(self.stage),
        ]
        aw, w, b = self.write.aw, self.write.w, self.write.b
        asked, moved, answered = aw.valid & aw.ready, w.valid & w.ready, b.valid & b.ready
        ended = moved & w.payload.last

        # Answers owed for addresses and for last beats; a memory owes fewer than 2 ** 15.
        addresses, bursts = Signal(16), Signal(16)
        m.d.sync += [addresses.eq(addresses + asked - answered), bursts.eq(bursts + ended - answered)]
        m.d.comb += Assume(~b.valid | ((addresses != 0) & (bursts != 0)))
        m.d.comb += Assume((addresses < 1 << 15) & (bursts < 1 << 15))

        # Lengths of bursts whose address was shown and whose last beat has not moved, oldest first.
        seen, kept_count, lengths = Signal(), Signal(2), [Signal(8, name=f"length{i}") for i in range(2)]
        m.d.sync += seen.eq(aw.valid & ~aw.ready)
        count, new = Signal(2), aw.valid & ~seen
        now = [Mux(new & (kept_count == i), aw.payload.len, lengths[i]) for i in range(2)]
        m.d.comb += count.eq(kept_count + new)
        m.d.sync += [
            kept_count.eq(count - ended),
            lengths[0].eq(Mux(ended, now[1], now[0])),
            lengths[1].eq(now[1]),
        ]
        beats = Signal(8)
        with m.If(moved):
            m.d.sync += beats.eq(Mux(ended, 0, beats + 1))

        kept(m, aw, Assert)
        kept(m, w, Assert)
        with m.If(aw.valid):
            m.d.comb += [Assert(rule) for rule in legal_address(aw.payload.addr, aw.payload.len, self.config)]
        strobes = w.payload.strb
        with m.If(w.valid):
            m.d.comb += [
                Assert(count != 0),
                Assert(w.payload.last == (beats == now[0])),
                # Strobes: bytes from the first one on, all of them but in the last beat.
                Assert(strobes[0] & ((strobes & (strobes + 1)[:bus]) == 0)),
                Assert(w.payload.last | strobes.all()),
            ]
        m.d.comb += [
            Assert(b.ready),
            Assert(dut.error == (b.valid & (b.payload != 0))),
            Assert(~dut.unit.done | ((addresses == 0) & (bursts == 0) & (count == 0) & ~aw.valid & ~w.valid)),
        ]

        # Invariants: what the registers say of the bursts on their way.
        sending, last_waits = inner.fsm.ongoing("BEATS"), w.valid & w.payload.last
        m.d.comb += [
            Assert(inner.in_flight == addresses + aw.valid),
            Assert(inner.in_flight == bursts + sending + last_waits),
            Assert(~aw.valid | (aw.payload.len == inner.burst.len)),
            Assert(~new | (kept_count < 2)),
        ]
        with m.If(sending):
            m.d.comb += [
                Assert(count == 1 + last_waits),
                Assert(Mux(last_waits, now[1], now[0]) == inner.burst.len),
                Assert(inner.left == inner.burst.len - Mux(last_waits, 0, beats + w.valid)),
                Assert(inner.left <= inner.burst.len),
                Assert((inner.burst.last_bytes != 0) & (inner.burst.last_bytes <= bus)),
            ]
        with m.Else():
            m.d.comb += [
                Assert(count == w.valid),
                Assert(~w.valid | w.payload.last),
                Assert(w.valid | (beats == 0)),
            ]
        return m


class Rows(wiring.Component):
    """A unit with its own splitter: addresses follow the command, each live byte is right and strobed once.

    The stage holds `row` at byte `offset` and anything elsewhere; logit number `chosen` is `logit`.
    """

    def __init__(self, config, module=hw.store):
        self.config, self.module = config, module
        super().__init__(
            {"write": Out(WritePort(config.bus_bytes)),
             "command_valid": In(1), "command": In(command_layout()),
             "memory_base": In(32), "stage": In(64), "logits_valid": In(1), "logits": In(32),
             "offset": In(4), "row": In(64), "chosen": In(3), "logit": In(32), "done": Out(1)}
        )  # fmt: skip

    def elaborate(self, platform):
        m, bus = Module(), self.config.bus_bytes
        m.submodules.dut = dut = self.module.Store(self.config)
        wiring.connect(m, dut.write, wiring.flipped(self.write))
        command, aw, w = dut.unit.command, self.write.aw, self.write.w
        fields = data.View(instruction_layout("STORE"), self.command.word)
        m.d.comb += [
            command.valid.eq(self.command_valid), command.payload.eq(self.command),
            dut.memory_base.eq(self.memory_base), dut.stage.data.eq(self.stage),
            dut.logits.valid.eq(self.logits_valid), dut.logits.payload.eq(self.logits),
            self.done.eq(dut.unit.done),
        ]  # fmt: skip
        constant = {}
        set_up = Signal()
        m.d.sync += set_up.eq(1)
        for name in ("memory_base", "offset", "row", "chosen", "logit"):
            free = getattr(self, name)
            constant[name] = first = Signal.like(free)
            with m.If(set_up):
                m.d.comb += Assume(free == first)
            with m.Else():
                m.d.sync += first.eq(free)
        m.d.comb += Assume(set_up | ~(command.valid | self.logits_valid))

        # The command: a few layers and positions, up to five beats, aligned.
        address = Signal(32)
        m.d.comb += address.eq(
            self.memory_base
            + fields.base
            + self.command.layer * fields.stride
            + self.command.position * fields.step
        )
        m.d.comb += Assume((self.command.layer < 4) & (self.command.position < 4))
        m.d.comb += Assume((fields.bytes % 4 == 0) & (fields.bytes != 0) & (fields.bytes <= 5 * bus))
        m.d.comb += Assume((address % bus == 0) & (address < 1 << 31) & (fields.payload != 3))
        start, total, payload = Signal(32), Signal(8), Signal(2)
        shown, written, logits_out = Signal(8), Signal(8), Signal(8)
        with m.If(command.valid & command.ready):
            m.d.sync += [start.eq(address), total.eq(fields.bytes), payload.eq(fields.payload),
                         shown.eq(0), written.eq(0)]  # fmt: skip

        # The stage: one cycle from address to data.
        hit = Signal()
        m.d.sync += hit.eq(
            (dut.stage.address == constant["offset"]) & (dut.stage.value == (payload == Payload.VALUE))
        )
        m.d.comb += Assume(constant["offset"] % bus == 0)
        m.d.comb += Assume(~hit | (self.stage == constant["row"]))
        logits_in = Signal(8)
        with m.If(self.logits_valid & dut.logits.ready):
            m.d.sync += logits_in.eq(logits_in + 1)
            m.d.comb += Assume((logits_in != constant["chosen"]) | (self.logits == constant["logit"]))

        with m.If(aw.valid):
            m.d.comb += [Assert(aw.payload.addr == start + shown), Assert(shown < total)]
            with m.If(aw.ready):
                m.d.sync += shown.eq(shown + (aw.payload.len + 1) * bus)
        rest = total - written
        live = Mux(rest < bus, rest, bus)
        with m.If(w.valid):
            m.d.comb += [Assert(written < total), Assert(w.payload.strb == (1 << live[:4]) - 1)]
            with m.If(payload == Payload.LOGITS):
                for lane in range(bus // 4):
                    ours = (logits_out + lane == constant["chosen"]) & (4 * lane < rest)
                    m.d.comb += Assert(~ours | (w.payload.data.word_select(lane, 32) == constant["logit"]))
            with m.Else():
                m.d.comb += Assert((written != constant["offset"]) | (w.payload.data == constant["row"]))
            with m.If(w.ready):
                m.d.sync += written.eq(written + live[:4])
                with m.If(payload == Payload.LOGITS):
                    m.d.sync += logits_out.eq(logits_out + (live[:4] >> 2))
        m.d.comb += Assert(~self.done | ((written == total) & (shown >= total)))
        return m


class Empty(wiring.Component):
    """Commands of no bytes (all fields 0)."""

    def __init__(self, config, module=hw.store):
        self.config, self.module = config, module
        super().__init__({"command_valid": In(1), "busy": Out(1), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.module.Store(self.config)
        m.d.comb += [
            dut.unit.command.valid.eq(self.command_valid),
            self.busy.eq(dut.busy),
            self.done.eq(dut.unit.done),
        ]
        cycles = Signal(3)
        m.d.sync += cycles.eq(Mux(self.busy, cycles + 1, 0))
        m.d.comb += [Assert(cycles < 4), Assert(~dut.write.aw.valid & ~dut.write.w.valid)]
        return m


def test_empty_command_finishes():
    prove(Empty(SMALL), depth=12)


def test_broken_unit_hangs_on_an_empty_command():
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Empty(SMALL, broken(hw.store, "size == 0", "size == 1")), depth=12)


def test_write_manager_rules():
    prove(Writer(SMALL), depth=2, induction=True)


def test_rows_and_logits_are_written():
    prove(Rows(SMALL), depth=11)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("splitter.burst.valid & ~self.write.aw.valid", "splitter.burst.valid"),
        ("(in_flight == 0) & ~w.valid & ~self.write.aw.valid", "~w.valid & ~self.write.aw.valid"),
        ("fetched & w_free", "fetched"),
        ("w.payload.last.eq(left == 0)", "w.payload.last.eq(burst.last & (left == 0))"),
    ],
    ids=["address", "answers", "beat", "last"],
)
def test_broken_unit_breaks_a_rule(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Writer(SMALL, broken(hw.store, old, new)), depth=12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Mux(burst.last & (left == 0), burst.last_bytes, bus)", "bus"),
        ("self.stage.address.eq(offset + bus)", "self.stage.address.eq(offset)"),
        ("splitter.run.payload.address.eq(base + by_layer + by_position)",
         "splitter.run.payload.address.eq(base + by_layer)"),
    ],
    ids=["strobe", "stage", "position"],
)  # fmt: skip
def test_broken_unit_writes_wrong(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Rows(SMALL, broken(hw.store, old, new)), depth=12)
