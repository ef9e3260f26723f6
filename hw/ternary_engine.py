"""The table look-up engine: int8 activations times ternary weights."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .byte_tables import ByteTables
from .machine import MachineConfig
from .ports import TapePort, command_layout, instruction_layout
from .split_tables import SplitTables
from .table_set import row_layout

__all__ = ["TernaryEngine", "row_layout"]


def _chunk_layout(tables: int, tokens: int) -> data.StructLayout:
    """What is known of a set of built tables: rows to stream through it, less 2, and where their sums go."""
    return data.StructLayout(
        {
            "rows": 17,
            "acc": 16,
            "more": range(max(2, tokens)),
            "bytes": range(tables + 1),
            "first": 1,
            "last": 1,
            "twice": 1,
        }
    )


class TernaryEngine(wiring.Component):
    """Executes MATMUL up to the partial sums of each chunk, for all tokens of a tile in lock-step.

    A byte of the tape looks up the sum of five activations under its five trits, in `SplitTables` or
    `ByteTables`; the bytes of a row are added. The tables of the next chunk, or of the first chunk of the
    next instruction, are built while the present ones are read. TeLLMe v2, section 3.2.

    The tokens share the bytes, their addresses and all control; each has its own activations, and an entry of
    its own in each word of a table. Of those that are not live, and of all in cycles without a row, registers
    stand still.

    Cycle budget of any number of tokens, with enough tape, t = min(``tables``, ceil(k / 5)), of the byte form
    half of it, rounded up, and b = ``build_cycles`` (27 of `SplitTables`, 248 of `ByteTables`), or for one
    live token of several ``solo_cycles`` (`ByteTables`: 68 for a tile of 4), and with ``twice_k`` or fewer
    activations ``twice_cycles`` (41): if no other instruction is
    executed, the first row is taken t + b + 2 cycles after the command. A row of a chunk takes 1 cycle, a
    chunk max(rows, t + b). The first chunk of the next instruction follows without a gap if its command was
    waiting and the last chunk of this one has t + b + 2 rows or more. A sum leaves ``latency`` cycles after
    its row was taken. With shared builders read b, which is then `SharedTableBuilder.build_cycles`, for t +
    b, and b + 1 for t + b + 2.

    Parameters
    ----------
    config : MachineConfig
        ``tables`` bytes a cycle; ``tile`` tokens; ``table_form``; ``family``.
    builders : int or None
        Of the byte form: builders of each token that all tables share; None for one a table.
    primitives : bool
        As in `EntrySum`.

    Attributes
    ----------
    latency : int
        Cycles from taking a row to its sum.
    build_cycles, solo_cycles, twice_cycles, twice_k : int
        Cycles from the last group of a chunk to its last entry, of several live tokens, of one, and of
        one with so few activations.
    sum_bits : int
        Bits of a sum.

    Members
    -------
    command : In(stream of `command_layout`)
        A MATMUL; accepted when all tables of the instruction before have been built.
    read : Out(BlockRead(1, tile)) or Out(ElementRead(builders, tile))
        Port of the activation buffer; the latter with shared builders.
    tape : Out(TapePort(config))
        Takes the bytes of one row of one chunk, or nothing.
    busy : Out(1)
        An instruction that was accepted has not taken all of its bytes.
    sums : Out(ArrayLayout(signed(...), tile))
        Sum over one row of one chunk, for each token.
    row, next_row : Out(row_layout(tile))
        What they belong to, and those of the next cycle.
    """

    def __init__(self, config: MachineConfig, builders: int | None = None, primitives: bool = False) -> None:
        self.config = config
        if config.table_form == "byte":
            self.tables = ByteTables(config.tables, config.tile, config.family, builders, primitives)
        else:
            self.tables = SplitTables(config.tables, config.tile)
        self.latency, self.build_cycles = self.tables.latency, self.tables.build_cycles
        self.solo_cycles = getattr(self.tables, "solo_cycles", self.build_cycles)
        self.twice_cycles = getattr(self.tables, "twice_cycles", self.solo_cycles)
        self.twice_k = 5 * getattr(self.tables, "half", 0)
        sums = self.tables.port.sums.shape()
        self.sum_bits = sums.elem_shape.width
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "read": Out(self.tables.read.signature),
            "tape": Out(TapePort(config)),
            "busy": Out(1),
            "sums": Out(sums),
            "row": Out(row_layout(config.tile)),
            "next_row": Out(row_layout(config.tile)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tables, tokens = self.config.tables, self.config.tile
        chunk_layout = _chunk_layout(tables, tokens)
        m.submodules.tables = self.tables
        port = self.tables.port

        # The instruction whose tables are being built.
        building = Signal()
        command = data.View(instruction_layout("MATMUL"), self.command.p.word)
        instruction = Signal(instruction_layout("MATMUL"))
        more = Signal(range(max(2, tokens)))
        m.d.comb += [
            self.command.ready.eq(~building),
            port.start.eq(self.command.valid & self.command.ready),
            port.q.eq(command.q),
            port.k.eq(command.k),
            port.live.eq(Cat(more >= t for t in range(tokens))),
        ]
        wiring.connect(m, wiring.flipped(self.read), self.tables.read)

        # Tables, built where no chunk waits for look-up. A place in the queue is a bank of tables: that which
        # is read, and the next one. Without a chunk, `chunk.bytes` is 0.
        first = Signal()
        chunk, waiting, built = (Signal(chunk_layout, name=name) for name in ("chunk", "waiting", "built"))
        valid, queued, used_up = Signal(), Signal(), Signal()
        m.d.comb += [
            self.busy.eq(building | valid),
            port.free.eq(~queued),
            built.rows.eq(instruction.rows - 2),
            built.acc.eq(instruction.acc),
            built.more.eq(more),
            built.bytes.eq(port.bytes),
            built.first.eq(first),
            built.last.eq(port.last),
            built.twice.eq(port.twice),
        ]
        with m.If(port.built):
            m.d.sync += waiting.eq(built)
        with m.If(used_up | ~valid):
            m.d.sync += [
                valid.eq(queued | port.built),
                queued.eq(0),
                chunk.eq(Mux(queued, waiting, built)),
            ]
            with m.If(~queued & ~port.built):
                m.d.sync += chunk.bytes.eq(0)
        with m.Elif(port.built):
            m.d.sync += queued.eq(1)
        with m.If(port.built):
            m.d.sync += first.eq(0)
            with m.If(port.last):
                m.d.sync += building.eq(0)
        with m.If(port.start):
            m.d.sync += [building.eq(1), first.eq(1), instruction.eq(command), more.eq(self.command.p.more)]

        # One row of the oldest chunk, as soon as the tape has all its bytes. `chunk` counts its rows.
        taken = Signal()
        last_row = chunk.rows[-1]
        read_bank = Signal()
        m.d.comb += [
            self.tape.want.eq(chunk.bytes),
            taken.eq(valid & self.tape.enough),
            self.tape.take.eq(taken),
            self.tape.starved.eq(valid & ~taken),
            used_up.eq(taken & last_row),
        ]
        with m.If(taken):
            m.d.sync += read_bank.eq(read_bank ^ last_row)
            with m.If(~last_row):
                m.d.sync += [chunk.rows.eq(chunk.rows - 1), chunk.acc.eq(chunk.acc + 1)]

        # Its look-ups and their sum.
        m.d.comb += [
            port.row.valid.eq(taken),
            port.row.row.eq(chunk.acc),
            port.row.more.eq(chunk.more),
            port.row.first.eq(chunk.first),
            port.row.last.eq(chunk.last),
            port.row.done.eq(taken & last_row & chunk.last),
            port.bank.eq(read_bank),
            port.used.eq(chunk.bytes),
            port.shares.eq(chunk.twice),
            port.data.eq(self.tape.data),
            self.sums.eq(port.sums),
            self.row.eq(port.sum_row),
            self.next_row.eq(port.next_row),
        ]
        return m
