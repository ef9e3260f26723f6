"""FrontEnd: the ISA's walk through any program, its loops, its FETCHes as runs, and the waits for STOREs.

The specification walks the program itself, an instruction when the design leaves it, and says what the design
may show meanwhile. Its queue of runs may be anything here; `test_fifo` proves that one.
"""

import dataclasses
from unittest import mock

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

import hw.front_end
from hw.burst import run_layout
from hw.isa import BY_NAME, BY_OPCODE, FETCH_AHEAD, NO_WAIT, Index, Loop, Unit, encode
from hw.machine import CI, NARROW
from hw.ports import command_layout, entry_layout, header_layout, instruction_layout
from hw.sequencer import UNIT_QUEUE
from hw.split_product import SPLIT

from .contract import kept
from .prove import prove
from .test_fifo import Queue
from .variant import broken, opened

SMALL = dataclasses.replace(CI, name="small", program_words=4)
SINGLE = dataclasses.replace(NARROW, name="single", program_words=4)
#: What must not change while the program runs.
REGISTERS = ("predicates", "tokens", "tile", "memory_base")


class AnyQueue(wiring.Component):
    """In place of a SyncFIFOBuffered: takes and shows anything at any time."""

    def __init__(self, width, depth):
        super().__init__(
            {"w_data": In(width), "w_en": In(1), "w_rdy": Out(1), "level": Out(range(depth + 1)),
             "r_data": Out(width), "r_rdy": Out(1), "r_en": In(1)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        for free in (self.w_rdy, self.level, self.r_data, self.r_rdy):
            m.d.comb += free.eq(AnySeq(len(free)))
        return m


class Walk(wiring.Component):
    """Any program (program memory starts arbitrary) whose NEXTs end their loops, any table, any registers.

    With `program` that one only, which lets a counterexample be found sooner.

    `entry` is free in every cycle: the design looks at an entry once for each token of a FETCH.
    """

    def __init__(self, config, module=hw.front_end, program=None):
        self.config, self.module, self.words = config, module, program
        super().__init__(
            {"program_en": In(1), "start": In(1), "command": Out(stream.Signature(command_layout())),
             "predicates": In(16), "tokens": In(9), "tile": In(4), "memory_base": In(32),
             "entry": In(entry_layout()), "store_done": In(1), "drained": In(1), "fetch_idle": In(1),
             "tape_held": In(1), "finished": Out(1), "fetched": Out(1), "appended": Out(1), "bytes": Out(32)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        dut = self.module.FrontEnd(self.config)
        with mock.patch.object(self.module, "SyncFIFOBuffered", AnyQueue):
            module, inner = opened(dut, platform)
        m.submodules.dut = module
        fsm = module._generated["fsm"]
        self.state = {name: fsm.state == code for name, code in fsm.encoding.items()}
        wiring.connect(m, dut.command, wiring.flipped(self.command))
        m.d.comb += [
            *[getattr(dut, name).eq(getattr(self, name)) for name in REGISTERS],
            # Never written: but for the assumption, Yosys would take a memory without writes for a constant.
            dut.program_en.eq(self.program_en), dut.program_address.eq(AnySeq(5)),
            dut.program_data.eq(AnySeq(32)), Assume(~self.program_en),
            dut.start.eq(self.start), dut.entries.entry.eq(self.entry), dut.store_done.eq(self.store_done),
            dut.drained.eq(self.drained), dut.fetch_idle.eq(self.fetch_idle),
            dut.tape_held.eq(self.tape_held), self.finished.eq(dut.finished), self.fetched.eq(dut.fetched),
            self.appended.eq(dut.appended), self.bytes.eq(dut.bytes),
        ]  # fmt: skip
        m.d.comb += Assume((self.tokens != 0) & (self.tokens <= 256))
        m.d.comb += Assume((self.tile != 0) & (self.tile <= self.config.tile))
        for name in REGISTERS:
            register, before = getattr(self, name), Signal.like(getattr(self, name), name=f"{name}_before")
            m.d.sync += before.eq(register)
            with m.If(dut.running):
                m.d.comb += Assume(register == before)
        self.program(m, dut, inner)
        self.stores(m, dut, inner)
        self.fetch(m, dut, inner)
        self.end(m, dut, inner)
        return m

    def program(self, m, dut, inner):
        """The walk: instruction `now` at `at`, the registers, and what goes to the units."""
        state, more = self.state, Signal(3)
        look = inner.memory.read_port(domain="comb")
        self.at, self.now = at, now = Signal.like(inner.pc), Signal(192)
        self.layer, self.first, self.more = layer, first, more = Signal(16), Signal(8), more
        m.d.comb += [look.addr.eq(at), now.eq(look.data[:192])]
        if self.words is not None:
            for place, word in enumerate(self.words):
                m.d.comb += Assume((at != place) | (now == word))
        self.head = head = data.View(header_layout(), now)
        loop, closes = data.View(instruction_layout("LOOP"), now), data.View(instruction_layout("NEXT"), now)
        rest = self.tokens - first
        m.d.comb += more.eq(Mux(rest < self.tile, rest, self.tile) - 1)

        self.act = act = Signal()
        m.d.comb += act.eq(
            state["DECODE"] & ((head.predicate == 0) | self.predicates.bit_select(head.predicate, 1))
        )
        self.acts = lambda name: act & (head.opcode == BY_NAME[name].opcode)
        units = [op for op, row in BY_OPCODE.items() if row.unit not in (Unit.CONTROL, Unit.FETCH)]
        passing = act & Cat(head.opcode == op for op in units).any()
        self.taken = passing & self.command.ready
        payload = self.command.payload
        kept(m, self.command, Assert)
        m.d.comb += Assert(self.command.valid == passing)
        with m.If(passing):
            m.d.comb += [
                Assert(payload.word == now), Assert(payload.layer == layer), Assert(payload.first == first),
                Assert(payload.more == Mux(head.tiled, more, 0)),
            ]  # fmt: skip

        # Loops; `in_layer` and `in_tile`: between a LOOP and the end of its repetitions.
        count, layer_body, tile_body = Signal(16), Signal.like(at), Signal.like(at)
        in_layer, in_tile = Signal(), Signal()
        of_layer, of_tile = self.acts("LOOP") & (loop.register == Loop.LAYER), Signal()
        m.d.comb += of_tile.eq(self.acts("LOOP") & (loop.register == Loop.TILE))
        ends_layer = self.acts("NEXT") & (closes.register == Loop.LAYER)
        ends_tile = self.acts("NEXT") & (closes.register == Loop.TILE)
        m.d.comb += [Assume(~of_layer | (loop.count != 0)), Assume(~ends_layer | in_layer)]
        m.d.comb += Assume(~ends_tile | in_tile)
        skipped = state["DECODE"] & ~act
        with m.If(skipped | self.taken | self.acts("LOOP") | self.acts("NEXT") | dut.fetched):
            m.d.sync += at.eq(at + 1)
        with m.If(of_layer):
            m.d.sync += [layer.eq(0), count.eq(loop.count), layer_body.eq(at + 1), in_layer.eq(1)]
        with m.If(of_tile):
            m.d.sync += [first.eq(0), tile_body.eq(at + 1), in_tile.eq(1)]
        with m.If(ends_layer):
            m.d.sync += [layer.eq(layer + 1), in_layer.eq(layer + 1 < count)]
            with m.If(layer + 1 < count):
                m.d.sync += at.eq(layer_body)
        with m.If(ends_tile):
            m.d.sync += in_tile.eq(first + self.tile < self.tokens)
            with m.If(first + self.tile < self.tokens):
                m.d.sync += [first.eq(first + self.tile), at.eq(tile_body)]
        with m.If(self.start & ~dut.running):
            m.d.sync += [at.eq(0), layer.eq(0), first.eq(0), in_layer.eq(0), in_tile.eq(0)]
        with m.If(dut.running):
            m.d.comb += [
                Assert(dut.layer == layer), Assert(dut.first == first),
                Assert((dut.more == more) | state["READ"]),  # a cycle late
                Assert(first < self.tokens), Assert(~in_layer | (layer < count)),
                # Invariants: the registers of the loops.
                Assert(~in_layer | (inner.count == count) & (inner.layer_body == layer_body)),
                Assert(~in_tile | (inner.tile_body == tile_body)),
            ]  # fmt: skip
        # Invariants: where the instruction is.
        with m.If(state["READ"] | state["LATCH"]):
            m.d.comb += Assert(inner.pc == at)
        with m.Elif(dut.running):
            m.d.comb += Assert(inner.word == now)
            m.d.comb += Assert(state["DRAIN"] | (inner.pc == (at + 1)[: len(at)]))
        with m.If(state["LATCH"]):
            m.d.comb += Assert(inner.read.data[:192] == now)

    def stores(self, m, dut, inner):
        """STOREs passed on and not finished; at most what the queues behind hold (test_sequencer)."""
        self.unfinished = unfinished = Signal(10)
        limit = self.config.queue_depth + UNIT_QUEUE + 2
        store = self.head.opcode == BY_NAME["STORE"].opcode
        m.d.comb += [
            Assume(~self.store_done | (unfinished != 0)),
            Assume(~self.command.ready | (unfinished < limit)),
            Assert(inner.stores == unfinished),
            Assert(unfinished <= limit),
        ]
        m.d.sync += unfinished.eq(unfinished + (self.taken & store) - self.store_done)

    def fetch(self, m, dut, inner):
        """The runs of a FETCH: for token `t` one is due when its entry was seen and it is one's own."""
        state, now, queue = self.state, data.View(instruction_layout("FETCH"), self.now), inner.runs
        fetching, due, t = Signal(), Signal(), Signal(3)
        index, rows, begin = Signal(20), Signal(20), Signal(20)
        self.clear = clear = (now.wait_store == NO_WAIT) | (self.unfinished <= now.wait_store)
        each = (now.index == Index.POSITION) | (now.index == Index.TOKEN) | (now.index == Index.ENTRY)
        live = Mux(now.tiled & (each | now.sequence), self.more + 1, 1)
        place, seen = dut.entries.index, state["INDEX"]
        own = ~now.sequence | ~self.entry.continues | (t == 0)
        m.d.comb += Assume(~self.acts("FETCH") | (now.index <= Index.ENTRY))
        with m.If(self.acts("FETCH") & clear):
            m.d.sync += [fetching.eq(1), t.eq(0), due.eq(0)]
        with m.If(seen):
            m.d.comb += Assert(place == self.first + t)
            m.d.sync += [
                due.eq(own), rows.eq(Mux(now.sequence, self.entry.position, 1)),
                begin.eq(Mux(now.sequence, self.entry.base, 0)),
            ]  # fmt: skip
            with m.Switch(now.index):
                for which, value in (
                    (Index.NONE, 0), (Index.LAYER, self.layer), (Index.POSITION, self.entry.position),
                    (Index.TOKEN, self.entry.token), (Index.ENTRY, self.first + t),
                ):  # fmt: skip
                    with m.Case(which):
                        m.d.sync += index.eq(value)
        self.passed_over = seen & ~own
        advance = dut.appended | self.passed_over
        runs, over = Signal(4), Signal(4)
        m.d.sync += [runs.eq(Mux(fetching, runs + dut.appended, 0)),
                     over.eq(Mux(fetching, over + self.passed_over, 0))]  # fmt: skip
        with m.If(advance):
            m.d.sync += [t.eq(t + 1), due.eq(0), fetching.eq(t + 1 != live)]

        # A run is appended, or found empty, only where one is due, and then enters the queue as the ISA says;
        # that of no bytes may enter it too (it is legal, and yields no burst: test_burst).
        # Products for equal operands are equal, but a solver would have to multiply to see it: they are taken
        # of the design's own operands, in the cycle in which these are asserted to be the ISA's. Nor does it
        # see that a * (x + (y << n)) == a * x + (a * y << n): products are taken in two parts.
        working, operands = state["MULTIPLY"] | state["APPEND"], data.View(now.shape(), inner.word)
        start, size, products = Signal(32), Signal(32), {}
        for name, a, b in (
            ("rows", inner.index, operands.stride), ("before", operands.bytes, inner.base),
            ("all_bytes", operands.bytes, inner.position),
        ):  # fmt: skip
            halves = Signal(32, name=f"{name}_x"), Signal(32, name=f"{name}_y")
            with m.If(state["MULTIPLY"]):
                m.d.sync += [halves[0].eq(a * b[:SPLIT]), halves[1].eq(a * b[SPLIT:])]
            products[name] = halves
            with m.If(state["APPEND"]):
                low, high = getattr(inner, name)
                m.d.comb += [Assert(low == halves[0]), Assert(high == halves[1][: len(high)])]
        (x, y), (x_before, y_before), (x_all, y_all) = products.values()
        m.d.comb += [
            start.eq(self.memory_base + now.base + x + x_before + ((y + y_before) << SPLIT)),
            size.eq(x_all + (y_all << SPLIT)),
        ]
        with m.If(working):
            m.d.comb += [Assert(inner.index == index), Assert(inner.base == begin),
                         Assert(inner.position == rows)]  # fmt: skip
        with m.If(state["APPEND"]):
            m.d.comb += [
                Assert(inner.size == size), Assert(inner.origin == (self.memory_base + now.base)[:32]),
                Assert(inner.empty == ((now.bytes == 0) | (rows == 0))),
            ]  # fmt: skip
        run = data.View(run_layout(), queue.w_data)
        bus = self.config.bus_bytes
        m.d.comb += [
            Assert(~dut.appended | due),
            Assert(~queue.w_en | (now.bytes != 0) & (rows != 0) & due),
            Assert(~(queue.w_en & queue.w_rdy) | dut.appended),
            Assert(~dut.appended | (queue.w_en & queue.w_rdy) | (size == 0)),
            Assert(dut.fetched == (fetching & advance & (t + 1 == live))),
            Assert(~(dut.appended | queue.w_en | fetching) | (now.wait_store == NO_WAIT)
                   | (self.unfinished <= now.wait_store)),
        ]  # fmt: skip
        with m.If(dut.appended):
            m.d.comb += [
                Assert(run.address == start),
                Assert(run.bytes == size), Assert(dut.bytes == size), Assert(dut.kind == now.kind),
                Assert(dut.beats == (size + (bus - 1)) // bus),
            ]  # fmt: skip
        # As many runs as tokens, or as tokens that do not continue; none but the first counts in that.
        with m.If(dut.fetched):
            m.d.comb += Assert(runs + dut.appended + over + self.passed_over == live)
        m.d.comb += Assert(~fetching | (runs + over == t) & ((over == 0) | now.sequence))

        # Invariants.
        m.d.comb += [
            Assert(fetching == (seen | working)), Assert(due == working),
            Assert(~fetching | (t < live)),
        ]  # fmt: skip
        with m.If(state["DECODE"]):
            m.d.comb += Assert(inner.skipped == ~self.act)
        with m.If(fetching):
            m.d.comb += [Assert(inner.token == t), Assert(inner.here == (self.first + t)[:8]),
                         Assert(inner.later == (t != 0)), Assert(inner.last == (t + 1 == live))]  # fmt: skip
            m.d.comb += Assert(self.head.opcode == BY_NAME["FETCH"].opcode)
            m.d.comb += Assert(now.index <= Index.ENTRY)

    def end(self, m, dut, inner):
        """From END, or an unknown opcode, until all is quiet; and no state that waits without a reason."""
        walking, ended, wrong, quiet = Signal(), Signal(), Signal(), Signal()
        legal = self.head.opcode == BY_NAME["END"].opcode
        known = Cat(self.head.opcode == op for op in BY_OPCODE).any()
        m.d.comb += [
            quiet.eq(self.drained & self.fetch_idle & ~self.tape_held & (inner.runs.level == 0)),
            Assert(dut.unknown == (wrong & self.drained)),
            Assert(dut.running == walking),
            Assert(dut.discard == (ended & self.drained)),
            Assert(dut.leftover == (ended & self.drained & self.tape_held & legal)),
            Assert(dut.finished == (ended & quiet)),
            # Invariants.
            Assert(self.state["DRAIN"] == ended),
            Assert(self.state["UNKNOWN"] == wrong),
            Assert(Cat(self.state.values()).any()),
            Assert(~ended | legal | ~known),
            Assert(~wrong | ~known),
        ]
        waits = self.acts("FETCH") & ~self.clear | (inner.runs.w_en & ~inner.runs.w_rdy)
        waits |= self.passed_over  # on to the next token, without a run
        state, before, may_wait = Cat(self.state.values()), Signal(len(self.state)), Signal(init=1)
        m.d.sync += before.eq(state)
        m.d.sync += may_wait.eq(~walking | ended | wrong | self.command.valid & ~self.command.ready | waits)
        m.d.comb += Assert((state != before) | may_wait)
        with m.If(self.start & ~walking):
            m.d.sync += walking.eq(1)
        with m.If(self.act & legal | dut.unknown):
            m.d.sync += ended.eq(1)
        m.d.sync += wrong.eq(self.act & ~known | wrong & ~dut.unknown)
        with m.If(dut.finished):
            m.d.sync += [walking.eq(0), ended.eq(0)]


def test_queue_of_runs_keeps_its_order():
    prove(Queue(FETCH_AHEAD * SMALL.tile), depth=2, induction=True)


@pytest.mark.parametrize("config", [SMALL, SINGLE], ids=lambda config: config.name)
def test_program_is_walked(config):
    prove(Walk(config), depth=1, induction=True)


TILES = [encode("LOOP", register=Loop.TILE), encode("NEXT", register=Loop.TILE)] * 2
LAYERS = [encode("LOOP", count=1, register=Loop.LAYER), encode("NEXT", register=Loop.LAYER)] * 2
STORES = [encode("STORE"), encode("FETCH", wait_store=0)] * 2
PLACES = [encode("FETCH", tiled=1, index=Index.ENTRY, stride=8, bytes=8), encode("END")] * 2
ROWS = [encode("FETCH", tiled=1, sequence=1, index=Index.LAYER, bytes=8), encode("FETCH", bytes=8),
        encode("FETCH"), encode("END")]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "program"),
    [
        ("stores <= header.wait_store", "stores <= header.wait_store + 1", STORES),
        ("stores + passed - self.store_done", "stores + passed", STORES),
        ("self.command.valid & self.command.ready & (header", "self.command.valid & (header", STORES),
        ("with m.If(~self.command.ready):", "with m.If(0):", STORES),
        ("Mux(header.tiled, self.more, 0)", "self.more", STORES),
        ("runs.w_en.eq(~empty)", "runs.w_en.eq(1)", ROWS[2:] * 2),
        ("(position == 0) | (fetch.bytes == 0)", "position == 0", ROWS[2:] * 2),
        ("(position == 0) | (fetch.bytes == 0)", "(position[1:] == 0) | (fetch.bytes == 0)", ROWS),
        ("runs.w_rdy | empty", "Const(1)", ROWS),
        ("token.eq(0), here", "here", ROWS),
        ("last.eq(token + 1 == self.more)", "last.eq(token + 2 == self.tile)", ROWS),
        ("| (self.more == 0)", "", ROWS),
        ("here.eq(here + 1)", "here.eq(here)", PLACES),
        ("here.eq(self.first), later", "later", PLACES),
        ("entry.continues & later", "entry.continues", ROWS),
        ("entry.continues & later", "later", ROWS),
        ("Mux(fetch.sequence, entry.base, 0)", "entry.base", ROWS[1:] + ROWS[:1]),
        ("(before, fetch.bytes, base)", "(before, fetch.bytes, Const(0, 20))", ROWS),
        ("rows[0] + before[0]", "rows[0]", ROWS),
        ("(rows[1] + before[1])", "rows[1]", ROWS),
        ("self.memory_base + fetch.base", "fetch.base", ROWS),
        ("Cat(Const(1, 1), self.predicates[1:])", "self.predicates", ROWS),
        ("self.layer + 1 < count", "self.layer < count", LAYERS),
        ("following < self.tokens", "following <= self.tokens", TILES),
        ("self.first.eq(following), pc.eq(tile_body)", "self.first.eq(following), pc.eq(layer_body)", TILES),
        ("self.discard.eq(self.drained)", "self.discard.eq(1)", ROWS[3:] * 4),
    ],
    ids=["bound", "count", "stall", "lost command", "not tiled", "empty", "no bytes", "one row", "full",
         "token", "live", "one token", "place", "first place", "of a sequence", "sequences", "base",
         "older rows", "start", "start above", "memory base", "predicate 0", "layers", "tiles", "body",
         "drain"],
)  # fmt: skip
def test_broken_front_end_is_found(old, new, program):
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Walk(SMALL, broken(hw.front_end, old, new), program), depth=20)
