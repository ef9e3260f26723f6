"""Store: an AXI4 write manager that finishes when memory has answered, and writes what it was told to."""

import dataclasses
from unittest import mock

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

import hw.store
import hw.store_runs
from hw.axi4 import WritePort
from hw.isa import INSTRUCTION_BITS, Payload
from hw.machine import CI
from hw.ports import command_layout, entry_layout, instruction_layout

from .contract import AnyBursts, kept, legal_address
from .prove import prove
from .variant import broken, opened

#: Payloads that share most of the unit, with cycles in which two runs of one beat each have left it.
STAGED = (Payload.KEY, Payload.VALUE), 14
SPILLED = (Payload.ACTIVATION,), 15
LOGITS = (Payload.LOGITS,), 14
SMALL = dataclasses.replace(CI, name="small", burst_beats=2, tile=2)


class Writer(wiring.Component):
    """Any commands cut into any legal bursts, a memory that answers any time after address and last beat."""

    def __init__(self, config, module=hw.store):
        self.config, self.module = config, module
        super().__init__(
            {"write": Out(WritePort(config.bus_bytes)),
             "command_valid": In(1), "command": In(command_layout()),
             "logits_valid": In(1), "stage": In(64), "stage_there": In(1), "activation": In(128),
             "activation_ready": In(1), "entry": In(entry_layout())}
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
            dut.stage.there.eq(self.stage_there),
            dut.activation.data.eq(self.activation),
            dut.activation.ready.eq(self.activation_ready),
            dut.entries.entry.eq(self.entry),
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
            Assert(inner.none == (inner.in_flight == 0)),
            Assert(~inner.fetched | sending & ~(inner.logits | inner.spill)),
            Assert(~aw.valid | (aw.payload.len == inner.burst.len)),
            Assert(~new | (kept_count < 2)),
            Assert(inner.waiting == inner.queue.level),
        ]
        with m.If(sending):
            m.d.comb += [
                Assert(count == 1 + last_waits),
                Assert(Mux(last_waits, now[1], now[0]) == inner.burst.len),
                Assert(inner.left == inner.burst.len - Mux(last_waits, 0, beats + w.valid)),
                Assert(inner.left <= inner.burst.len),
                Assert(inner.final == (inner.left == 0)),
                Assert(inner.live == Mux(inner.burst.last & inner.final, inner.burst.last_bytes, bus)),
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
    """A unit with its own splitter, two tokens: addresses follow the command and the token table, in token
    order; each live byte is right and strobed once.

    For token `token` the stage holds `row` at byte `offset`, and activation memory `word` at word `place`;
    anything else is free. Logit number `chosen` is `logit`.
    """

    def __init__(self, payloads, module=hw.store):
        self.config, self.module, self.payloads = SMALL, module, payloads
        #: What does not change; `rows`: base and position of two entries.
        self.free = {"memory_base": 32, "token": 1, "offset": 4, "row": 64, "place": 3, "word": 128,
                     "chosen": 3, "logit": 32, "first": 2, "rows": data.ArrayLayout(2, 4)}  # fmt: skip
        super().__init__(
            {"write": Out(WritePort(self.config.bus_bytes)),
             "command_valid": In(1), "instruction": In(INSTRUCTION_BITS), "layer": In(2), "more": In(1),
             "stage": In(64), "activation": In(128), "activation_ready": In(1), "logits_valid": In(1),
             "logits": In(32),
             "entry": In(entry_layout()), "done": Out(1),
             **{name: In(shape) for name, shape in self.free.items()}}
        )  # fmt: skip

    def elaborate(self, platform):
        m, bus, lanes = Module(), self.config.bus_bytes, self.config.lanes
        m.submodules.dut = dut = self.module.Store(self.config)
        wiring.connect(m, dut.write, wiring.flipped(self.write))
        command, aw, w = dut.unit.command, self.write.aw, self.write.w
        fields = data.View(instruction_layout("STORE"), command.payload.word)
        constant = {}
        set_up = Signal()
        m.d.sync += set_up.eq(1)
        for name in self.free:
            free = getattr(self, name)
            constant[name] = first = Signal.like(free)
            with m.If(set_up):
                m.d.comb += Assume(Value.cast(free) == Value.cast(first))
            with m.Else():
                m.d.sync += first.eq(free)
        m.d.comb += Assume(set_up | ~(command.valid | self.logits_valid))
        m.d.comb += [
            command.valid.eq(self.command_valid), command.payload.word.eq(self.instruction),
            command.payload.layer.eq(self.layer), command.payload.first.eq(constant["first"]),
            command.payload.more.eq(self.more),
            dut.memory_base.eq(self.memory_base), dut.stage.data.eq(self.stage),
            dut.stage.there.eq(1),
            dut.activation.data.eq(self.activation), dut.activation.ready.eq(self.activation_ready),
            dut.entries.entry.eq(self.entry),
            dut.logits.valid.eq(self.logits_valid), dut.logits.payload.eq(self.logits),
            self.done.eq(dut.unit.done),
        ]  # fmt: skip

        # The token table: two entries are known.
        rows = constant["rows"]
        for t in range(2):
            with m.If(dut.entries.index == constant["first"] + t):
                m.d.comb += [dut.entries.entry.base.eq(rows[2 * t]),
                             dut.entries.entry.position.eq(rows[2 * t + 1])]  # fmt: skip

        # The command: a few layers and rows not far apart, up to three beats, aligned.
        is_logits, is_spill = fields.payload == Payload.LOGITS, fields.payload == Payload.ACTIVATION
        addresses = []
        for t in range(2):
            place = Mux(is_spill, constant["first"] + t, rows[2 * t] + rows[2 * t + 1])
            addresses.append(Signal(32, name=f"address_{t}"))
            m.d.comb += addresses[t].eq(
                self.memory_base
                + fields.base
                + self.layer * fields.stride
                + Mux(is_logits, 0, place * fields.step)
            )
            m.d.comb += Assume((addresses[t] % bus == 0) & (addresses[t] < 1 << 31))
        m.d.comb += Assume(Cat(fields.payload == payload for payload in self.payloads).any())
        m.d.comb += Assume(fields.a % lanes == 0)
        m.d.comb += Assume((fields.stride < 256) & (fields.step < 256))
        m.d.comb += Assume((fields.bytes % 4 == 0) & (fields.bytes != 0) & (fields.bytes <= 3 * bus))
        starts, total, payload = [Signal(32, name=f"start_{t}") for t in range(2)], Signal(8), Signal(2)
        element, runs = Signal(16), Signal(2)
        #: Runs whose addresses and whose bytes are complete; bytes of the next one.
        runs_shown, shown, runs_written, written = Signal(2), Signal(8), Signal(2), Signal(8)
        logits_out = Signal(8)
        with m.If(command.valid & command.ready):
            m.d.sync += [
                starts[0].eq(addresses[0]), starts[1].eq(addresses[1]), payload.eq(fields.payload),
                element.eq(fields.a), runs.eq(Mux(is_logits, 0, self.more) + 1),
                total.eq(Mux(is_logits & self.more, fields.bytes << 1, fields.bytes)),
                runs_shown.eq(0), shown.eq(0), runs_written.eq(0), written.eq(0),
            ]  # fmt: skip

        # The stage: one cycle from address to data; activation memory: two.
        stage_hit, word_asked, word_hit = Signal(), Signal(), Signal()
        mine = constant["token"]
        m.d.sync += [
            stage_hit.eq(
                (dut.stage.address == constant["offset"])
                & (dut.stage.value == (payload == Payload.VALUE))
                & (dut.stage.token == mine)
            ),
            word_asked.eq(
                (dut.activation.address // lanes == constant["place"]) & (dut.activation.token == mine)
            ),
            word_hit.eq(word_asked),
        ]
        m.d.comb += Assume(constant["offset"] % bus == 0)
        m.d.comb += Assume(~stage_hit | (self.stage == constant["row"]))
        m.d.comb += Assume(~word_hit | (self.activation == constant["word"]))
        logits_in = Signal(8)
        with m.If(self.logits_valid & dut.logits.ready):
            m.d.sync += logits_in.eq(logits_in + 1)
            m.d.comb += Assume((logits_in != constant["chosen"]) | (self.logits == constant["logit"]))

        with m.If(aw.valid):
            start = Mux(runs_shown == 0, starts[0], starts[1])
            m.d.comb += [Assert(aw.payload.addr == start + shown), Assert(runs_shown < runs)]
            with m.If(aw.ready):
                m.d.sync += shown.eq(shown + (aw.payload.len + 1) * bus)
                with m.If(shown + (aw.payload.len + 1) * bus >= total):
                    m.d.sync += [shown.eq(0), runs_shown.eq(runs_shown + 1)]
        rest = total - written
        live = Mux(rest < bus, rest, bus)
        with m.If(w.valid):
            m.d.comb += [Assert(runs_written < runs), Assert(w.payload.strb == (1 << live[:4]) - 1)]
            for lane in range(bus // 4):
                found, here = w.payload.data.word_select(lane, 32), 4 * lane < rest
                ours = (payload == Payload.LOGITS) & (logits_out + lane == constant["chosen"])
                m.d.comb += Assert(~(ours & here) | (found == constant["logit"]))
                at = element + (written >> 2) + lane
                ours = (payload == Payload.ACTIVATION) & (at // lanes == constant["place"])
                wanted = constant["word"].word_select((at % lanes)[:2], 32)
                m.d.comb += Assert(~(ours & here & (runs_written == mine)) | (found == wanted))
            ours = (payload == Payload.KEY) | (payload == Payload.VALUE)
            ours = ours & (runs_written == mine) & (written == constant["offset"])
            m.d.comb += Assert(~ours | (w.payload.data == constant["row"]))
            with m.If(w.ready):
                m.d.sync += written.eq(written + live[:4])
                with m.If(rest <= bus):
                    m.d.sync += [written.eq(0), runs_written.eq(runs_written + 1)]
                with m.If(payload == Payload.LOGITS):
                    m.d.sync += logits_out.eq(logits_out + (live[:4] >> 2))
        m.d.comb += Assert(~self.done | ((runs_written == runs) & (runs_shown == runs)))
        return m


def other_runs(old, new):
    """The unit with a broken StoreRuns."""
    variant = broken(hw.store, "class Store(", "class Store(")
    vars(variant)["StoreRuns"] = broken(hw.store_runs, old, new).StoreRuns
    return variant


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
        prove(Empty(SMALL, broken(hw.store, "fields.bytes != 0", "1")), depth=12)


def test_write_manager_rules():
    prove(Writer(SMALL), depth=2, induction=True)


@pytest.mark.parametrize(
    ("payloads", "depth"), [STAGED, SPILLED, LOGITS], ids=["staged", "spilled", "logits"]
)
def test_runs_are_written(payloads, depth):
    prove(Rows(payloads), depth)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("splitter.burst.valid & ~self.write.aw.valid", "splitter.burst.valid"),
        ("none & ~w.valid & ~self.write.aw.valid", "~w.valid & ~self.write.aw.valid"),
        ("Mux(launched, none & answered,", "Mux(launched, none,"),
        ("fetched & self.stage.there & w_free", "fetched & self.stage.there"),
        ("w.payload.last.eq(final)", "w.payload.last.eq(burst.last & final)"),
        ("final.eq(left == 1)", "final.eq(left == 0)"),
        ("final.eq(one)", "final.eq(0)"),
    ],
    ids=["address", "answers", "none", "beat", "last", "end", "one beat"],
)
def test_broken_unit_breaks_a_rule(old, new):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Writer(SMALL, broken(hw.store, old, new)), depth=12)


@pytest.mark.parametrize(
    ("old", "new", "payloads"),
    [
        ("Mux(burst.last & (left == 1), burst.last_bytes, bus)", "Value.cast(bus)", STAGED),
        ("Mux(splitter.burst.payload.last & one, splitter.burst.payload.last_bytes, bus)", "bus", STAGED),
        ("filled + 2 == live[2:]", "filled + 1 == live[2:]", SPILLED),
        ("full.eq(of_burst[2:] == 1)", "full.eq(1)", SPILLED),
        ("full.eq(after[2:] == 1)", "full.eq(1)", SPILLED),
        ("Mux(staged, offset + bus, offset)", "offset", STAGED),
        ("self.stage.token.eq(token)", "self.stage.token.eq(0)", STAGED),
        ("self.activation.token.eq(token)", "self.activation.token.eq(0)", SPILLED),
        ("asked[1] &", "asked[0] &", SPILLED),
        ("begin_run(element)", "begin_run(word_address)", SPILLED),
    ],
    ids=["strobe", "strobe of one", "completed", "word of one", "word after",
         "stage", "token", "spilled_token", "word", "element"],
)  # fmt: skip
def test_broken_unit_writes_wrong(old, new, payloads):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Rows(payloads[0], broken(hw.store, old, new)), payloads[1])


@pytest.mark.parametrize(
    ("old", "new", "payloads"),
    [
        ("base + offset[0] +", "base +", STAGED),
        ("base + by_layer[0] +", "base +", STAGED),
        ("with m.If(fresh):", "with m.If(1):", STAGED),
        ("Mux(logits, *halves)", "halves[1]", LOGITS),
        ("Mux(is_spill, self.entries.index, entry.base) +", "", STAGED),
        ("place.eq(self.entries.index + 1)", "place.eq(self.entries.index)", SPILLED),
        ("fields.bytes * self.command.more", "0", LOGITS),
    ],
    ids=["row", "layer", "layers", "layer of logits", "base", "next", "logits"],
)
def test_broken_runs_lie_elsewhere(old, new, payloads):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Rows(payloads[0], other_runs(old, new)), payloads[1])
