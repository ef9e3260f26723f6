"""The sequencer's front end: walks the program, keeps loops and tiles, expands FETCH into runs of memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .burst import run_layout
from .isa import BY_NAME, BY_OPCODE, FETCH_AHEAD, INSTRUCTION_BITS, NO_WAIT, PREDICATES, Index, Loop, Unit
from .machine import MachineConfig
from .ports import (
    ENTRY_BITS,
    LAYER_BITS,
    POSITION_BITS,
    TOKEN_BITS,
    EntryRead,
    command_layout,
    header_layout,
    instruction_layout,
)
from .split_product import SPLIT, split_product

__all__ = ["PROGRAM_STRIDE", "FrontEnd"]

#: 32-bit words of program memory per instruction (a power of two; the last two are not used).
PROGRAM_STRIDE = 8
#: STOREs that may be unfinished: the issue queue's, those beside the unit and in it, and one more.
_STORE_BITS = 8


class FrontEnd(wiring.Component):
    """Executes the instructions of `Unit.CONTROL` and `Unit.FETCH`, passes the others on in program order.

    Budget: 3 cycles an instruction; FETCH 3 and 3 for each token of a tiled one, or 6.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    start : In(1)
        Pulse: walk the program once. Ignored while running.
    running : Out(1)
    finished : Out(1)
        Pulse: END reached, `drained`, nothing left to fetch, the tape empty.
    program_en, program_address, program_data : In
        Write one 32-bit word of program memory (8 words an instruction, 6 used).
    tokens, tile : In(9), In(4)
        Tokens of the chunk and of a tile, 1 or more; stable while running, like the next two.
    memory_base, predicates : In
    entries : Out(EntryRead())
    command : Out(stream of `command_layout`)
        Instructions for the units.
    run : Out(stream of `burst.run_layout`)
        Runs of memory for the fetch engine.
    store_done : In(1)
        Pulse: a STORE is finished.
    fetched : Out(1)
        Pulse: a FETCH was carried out.
    appended, kind, bytes, beats : Out(1), Out(2), Out(32), Out(32)
        Pulse with the figures of one run, empty ones too.
    layer, first, more : Out(LAYER_BITS), Out(ENTRY_BITS), Out(TOKEN_BITS)
        Layer register, first entry of the current tile; a cycle later, its tokens beside the first.
    drained, fetch_idle, tape_held : In(1)
        No command is unfinished; the fetch engine has nothing to do; the tape reader holds bytes.
    discard, leftover : Out(1)
        After END all that is left on the tape is thrown away; something is, after a legal END.
    unknown : Out(1)
        Pulse when all commands before it are finished: an opcode is not in the table; the program ends there.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "running": Out(1),
                "finished": Out(1),
                "program_en": In(1),
                "program_address": In(range(config.program_words * PROGRAM_STRIDE)),
                "program_data": In(32),
                "tokens": In(ENTRY_BITS + 1),
                "tile": In(TOKEN_BITS + 1),
                "memory_base": In(32),
                "predicates": In(PREDICATES),
                "entries": Out(EntryRead()),
                "command": Out(stream.Signature(command_layout())),
                "run": Out(stream.Signature(run_layout())),
                "store_done": In(1),
                "fetched": Out(1),
                "appended": Out(1),
                "kind": Out(2),
                "bytes": Out(32),
                "beats": Out(32),
                "layer": Out(LAYER_BITS),
                "first": Out(ENTRY_BITS),
                "more": Out(TOKEN_BITS),
                "drained": In(1),
                "fetch_idle": In(1),
                "tape_held": In(1),
                "discard": Out(1),
                "leftover": Out(1),
                "unknown": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        form = {"ram_style": "distributed"} if config.family == "xcup" and config.program_words <= 256 else {}
        m.submodules.program = memory = Memory(
            shape=32 * PROGRAM_STRIDE, depth=config.program_words, init=[], attrs=form
        )
        write, read = memory.write_port(granularity=32), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.program_address[3:]),
            write.data.eq(Cat(*[self.program_data] * PROGRAM_STRIDE)),
            write.en.eq(Mux(self.program_en, 1 << self.program_address[:3], 0)),
        ]

        pc = Signal(range(config.program_words))
        word = Signal(INSTRUCTION_BITS)
        header = data.View(header_layout(), word)
        m.d.comb += read.addr.eq(pc)
        opcodes = {name: row.opcode for name, row in BY_NAME.items()}
        passed_on = [op for op, row in BY_OPCODE.items() if row.unit not in (Unit.CONTROL, Unit.FETCH)]
        skipped = Signal()

        # The tile: its first entry, how many tokens it has beside that, and whether another one follows.
        following, left = Signal(ENTRY_BITS + 1), Signal(ENTRY_BITS + 1)
        m.d.comb += [
            following.eq(self.first + self.tile),
            left.eq(self.tokens - self.first),
            self.command.payload.word.eq(word),
            self.command.payload.layer.eq(self.layer),
            self.command.payload.first.eq(self.first),
            self.command.payload.more.eq(Mux(header.tiled, self.more, 0)),
        ]

        # A cycle late: the next instruction is decoded 3 cycles after `first` changes.
        m.d.sync += self.more.eq(Mux(left < self.tile, left, self.tile) - 1)

        # STOREs passed on and not finished: a FETCH of what they write waits for them.
        stores = Signal(_STORE_BITS)
        passed = self.command.valid & self.command.ready & (header.opcode == opcodes["STORE"])
        m.d.sync += stores.eq(stores + passed - self.store_done)

        m.submodules.runs = runs = SyncFIFOBuffered(width=run_layout().size, depth=FETCH_AHEAD * config.tile)
        m.d.comb += [
            self.run.valid.eq(runs.r_rdy),
            self.run.payload.as_value().eq(runs.r_data),
            runs.r_en.eq(self.run.ready),
        ]
        # Of a FETCH: the token, its entry, whether it is not the first, whether it is the last.
        token, here, later, last = Signal(TOKEN_BITS), Signal(ENTRY_BITS), Signal(), Signal()
        fetch = data.View(instruction_layout("FETCH"), word)
        each = (fetch.index == Index.POSITION) | (fetch.index == Index.TOKEN) | (fetch.index == Index.ENTRY)
        m.d.comb += self.running.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.running.eq(0)
                with m.If(self.start):
                    m.d.sync += [pc.eq(0), self.layer.eq(0), self.first.eq(0)]
                    m.next = "READ"
            with m.State("READ"):
                m.next = "LATCH"
            with m.State("LATCH"):
                now = data.View(header_layout(), read.data[:INSTRUCTION_BITS])
                acts = Cat(Const(1, 1), self.predicates[1:]).bit_select(now.predicate, 1)
                m.d.sync += [word.eq(now.as_value()), skipped.eq(~acts), pc.eq(pc + 1)]
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += [
                    token.eq(0), here.eq(self.first), later.eq(0),
                    last.eq(~fetch.tiled | ~(each | fetch.sequence) | (self.more == 0)),
                ]  # fmt: skip
                m.next = "READ"
                with m.If(skipped):
                    pass
                with m.Else(), m.Switch(header.opcode):
                    with m.Case(opcodes["END"]):
                        m.next = "DRAIN"
                    with m.Case(opcodes["LOOP"], opcodes["NEXT"]):
                        self._loop(m, word, pc, following)
                    with m.Case(opcodes["FETCH"]):
                        with m.If((header.wait_store == NO_WAIT) | (stores <= header.wait_store)):
                            m.next = "INDEX"
                        with m.Else():
                            m.next = "DECODE"
                    with m.Case(*passed_on):
                        m.d.comb += self.command.valid.eq(1)
                        with m.If(~self.command.ready):
                            m.next = "DECODE"
                    with m.Default():
                        m.next = "UNKNOWN"
            self._fetch(m, fetch, runs, token, here, later, last)
            with m.State("UNKNOWN"), m.If(self.drained):  # the errors of all before it come first
                m.d.comb += self.unknown.eq(1)
                m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [
                    self.discard.eq(self.drained),
                    self.leftover.eq(self.discard & self.tape_held & (header.opcode == opcodes["END"])),
                ]
                with m.If(self.discard & self.fetch_idle & (runs.level == 0) & ~self.tape_held):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"
        return m

    def _loop(self, m: Module, word: Signal, pc: Signal, following: Signal) -> None:
        """LOOP and NEXT of both registers; `pc` is that of the next instruction."""
        loop, closes = (
            data.View(instruction_layout("LOOP"), word),
            data.View(instruction_layout("NEXT"), word),
        )
        layer_body, tile_body = Signal.like(pc), Signal.like(pc)
        count = Signal(LAYER_BITS)
        with m.If(loop.opcode == BY_NAME["LOOP"].opcode):
            with m.If(loop.register == Loop.LAYER):
                m.d.sync += [self.layer.eq(0), count.eq(loop.count), layer_body.eq(pc)]
            with m.Else():
                m.d.sync += [self.first.eq(0), tile_body.eq(pc)]
        with m.Elif(closes.register == Loop.LAYER):
            m.d.sync += self.layer.eq(self.layer + 1)
            with m.If(self.layer + 1 < count):
                m.d.sync += pc.eq(layer_body)
        with m.Elif(following < self.tokens):
            m.d.sync += [self.first.eq(following), pc.eq(tile_body)]

    def _fetch(
        self, m: Module, fetch: data.View, runs: SyncFIFOBuffered, token: Signal, here: Signal, later: Signal,
        last: Signal,
    ) -> None:  # fmt: skip
        """States of a FETCH, from INDEX back to READ: a run for each token, each sequence, or one."""
        entry = self.entries.entry
        index, position = Signal(POSITION_BITS), Signal(POSITION_BITS)
        base, size = Signal(POSITION_BITS), Signal(32)
        # Products as `split_product` has them, the lower one first; `before`: the rows of older tokens.
        upper = 32 - SPLIT
        origin, empty = Signal(32), Signal()
        rows, before, all_bytes = (
            (Signal(32, name=name), Signal(upper, name=f"{name}_high"))
            for name in ("rows", "before", "all_bytes")
        )
        shift = self.config.bus_bytes.bit_length() - 1
        m.d.comb += [
            size.eq(all_bytes[0] + (all_bytes[1] << SPLIT)),
            self.entries.index.eq(here),
            self.kind.eq(fetch.kind),
            self.bytes.eq(size),
            self.beats.eq((size + (self.config.bus_bytes - 1)) >> shift),
            runs.w_data.eq(
                Cat((origin + rows[0] + before[0] + ((rows[1] + before[1])[:upper] << SPLIT))[:32], size)
            ),
        ]

        def another() -> None:
            """The next token, or the end of the instruction."""
            m.d.sync += [
                token.eq(token + 1), here.eq(here + 1), later.eq(1), last.eq(token + 1 == self.more),
            ]  # fmt: skip
            m.next = "INDEX"
            with m.If(last):
                m.d.comb += self.fetched.eq(1)
                m.next = "READ"

        with m.State("INDEX"):
            m.d.sync += [
                position.eq(Mux(fetch.sequence, entry.position, 1)),
                base.eq(Mux(fetch.sequence, entry.base, 0)),
            ]
            with m.Switch(fetch.index):
                for which, register in (
                    (Index.NONE, Const(0)), (Index.LAYER, self.layer), (Index.POSITION, entry.position),
                    (Index.TOKEN, entry.token), (Index.ENTRY, here),
                ):  # fmt: skip
                    with m.Case(which):
                        m.d.sync += index.eq(register)
            m.next = "MULTIPLY"
            with m.If(fetch.sequence & entry.continues & later):
                another()  # its rows are those of the token before
        with m.State("MULTIPLY"):
            m.d.sync += [
                origin.eq(self.memory_base + fetch.base),
                empty.eq((position == 0) | (fetch.bytes == 0)),
            ]
            for product, a, b in (
                (rows, index, fetch.stride), (before, fetch.bytes, base), (all_bytes, fetch.bytes, position),
            ):  # fmt: skip
                m.d.sync += [half.eq(now) for half, now in zip(product, split_product(a, b), strict=True)]
            m.next = "APPEND"
        with m.State("APPEND"):
            m.d.comb += runs.w_en.eq(~empty)
            with m.If(runs.w_rdy | empty):
                m.d.comb += self.appended.eq(1)
                another()
