"""The table look-up engine: int8 activations times ternary weights."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .activation_buffer import BlockRead
from .activation_groups import ActivationGroups
from .adder_tree import AdderTree
from .machine import MachineConfig
from .ports import TapePort, command_layout, instruction_layout
from .table_builder import THREE_BITS, TWO_BITS, TableBuilder
from .trit_decode import THREE_ENTRIES, TWO_ENTRIES, TritDecode

__all__ = ["TernaryEngine", "row_layout"]

#: Two sets of tables: one is read while the other is built.
_BANKS = 2
#: Bits of a sum of five activations.
_BYTE_BITS = THREE_BITS + 1


def _chunk_layout(tables: int, tokens: int) -> data.StructLayout:
    """What is known of a set of built tables: the rows to stream through it and where their sums go."""
    return data.StructLayout(
        {
            "rows": 16,
            "acc": 16,
            "more": range(max(2, tokens)),
            "bytes": range(tables + 1),
            "first": 1,
            "last": 1,
        }
    )


def row_layout(tokens: int) -> data.StructLayout:
    """What goes along with the look-ups of a row: is there one, its partial sum, its place in the MATMUL.

    ``more``: live tokens beside the first. ``first`` is 1 in the first chunk; ``done`` is 1 in the last row
    of the last chunk.
    """
    return data.StructLayout({"valid": 1, "row": 16, "more": range(max(2, tokens)), "first": 1, "done": 1})


class TernaryEngine(wiring.Component):
    """Executes MATMUL up to the partial sums of each chunk, for all tokens of a tile in lock-step.

    A byte of the tape looks up the sum of three and of two activations under its five trits; an adder tree
    adds the bytes of a row. The tables of the next chunk, or of the first chunk of the next instruction, are
    built while the present ones are read. TeLLMe v2, section 3.2.

    The tokens share the bytes, their addresses and all control; each has its own activations, and an entry of
    its own in each word of a table. Those that are not live do as the others, with activations that mean
    nothing.

    Cycle budget of any number of tokens, with enough tape and t = min(``tables``, ceil(k / 5)): if no other
    instruction is executed, the first row is taken t + 29 cycles after the command. A row of a chunk takes 1
    cycle, a chunk max(rows, t + 27). The first chunk of the next instruction follows without a gap if its
    command was waiting and the last chunk of this one has t + 29 rows or more. A sum leaves ``latency``
    cycles after its row was taken.

    Parameters
    ----------
    config : MachineConfig
        ``tables`` bytes a cycle; ``tile`` tokens.

    Attributes
    ----------
    latency : int
        Cycles from taking a row to its sum.

    Members
    -------
    command : In(stream of `command_layout`)
        A MATMUL; accepted when all tables of the instruction before have been built.
    read : Out(BlockRead(1, tile))
        Port of the activation buffer.
    tape : Out(TapePort(config))
        Takes the bytes of one row of one chunk, or nothing.
    sums : Out(ArrayLayout(signed(...), tile))
        Sum over one row of one chunk, for each token.
    row : Out(row_layout(tile))
        What they belong to.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        tag_bits = row_layout(config.tile).size
        # The tree of the first token carries the tag.
        self.trees = [AdderTree(config.tables, _BYTE_BITS, 0 if t else tag_bits) for t in range(config.tile)]
        self.latency = 2 + self.trees[0].latency
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "read": Out(BlockRead(1, config.tile)),
            "tape": Out(TapePort(config)),
            "sums": Out(data.ArrayLayout(self.trees[0].sum.shape(), config.tile)),
            "row": Out(row_layout(config.tile)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tables, tokens = self.config.tables, self.config.tile
        chunk_layout = _chunk_layout(tables, tokens)
        m.submodules.groups = groups = ActivationGroups(tokens)
        m.submodules.builder = builder = TableBuilder(tables, tokens)
        m.submodules.built = built = SyncFIFO(width=chunk_layout.size, depth=_BANKS)
        for t, tree in enumerate(self.trees):
            m.submodules[f"tree{t}"] = tree

        # The instruction whose tables are being built.
        building = Signal()
        command = data.View(instruction_layout("MATMUL"), self.command.p.word)
        instruction = Signal(instruction_layout("MATMUL"))
        more = Signal(range(max(2, tokens)))
        m.d.comb += [
            self.command.ready.eq(~building),
            groups.start.eq(self.command.valid & self.command.ready),
            groups.q.eq(command.q),
            groups.k.eq(command.k),
        ]
        wiring.connect(m, wiring.flipped(self.read), groups.read)
        wiring.connect(m, groups.groups, builder.groups)

        # Tables, built where no chunk waits for look-up. A place in the queue is a bank of tables.
        first = Signal()
        bank = Signal()
        chunk = data.View(chunk_layout, built.w_data)
        m.d.comb += [
            builder.free.eq(built.w_rdy),
            built.w_en.eq(builder.built),
            chunk.rows.eq(instruction.rows),
            chunk.acc.eq(instruction.acc),
            chunk.more.eq(more),
            chunk.bytes.eq(builder.bytes),
            chunk.first.eq(first),
            chunk.last.eq(builder.last),
        ]
        with m.If(builder.built):
            m.d.sync += [bank.eq(~bank), first.eq(0)]
            with m.If(builder.last):
                m.d.sync += building.eq(0)
        with m.If(groups.start):
            m.d.sync += [building.eq(1), first.eq(1), instruction.eq(command), more.eq(self.command.p.more)]

        # One row of the oldest chunk, as soon as the tape has all its bytes.
        count = Signal(16)
        taken = Signal()
        last_row = Signal()
        read_bank = Signal()
        chunk = data.View(chunk_layout, built.r_data)
        m.d.comb += [
            taken.eq(built.r_rdy & (self.tape.level >= chunk.bytes)),
            self.tape.take.eq(Mux(taken, chunk.bytes, 0)),
            self.tape.starved.eq(built.r_rdy & ~taken),
            last_row.eq(count + 1 == chunk.rows),
            built.r_en.eq(taken & last_row),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(last_row, 0, count + 1))
            m.d.sync += read_bank.eq(read_bank ^ last_row)

        # Look-up, a cycle after the addresses. Bytes beyond the chunk's belong to others and count as 0.
        looked_up = Signal(row_layout(tokens))
        address_row = Signal(row_layout(tokens))
        address_bank = Signal()
        m.d.sync += [
            address_bank.eq(read_bank),
            address_row.valid.eq(taken),
            address_row.row.eq(chunk.acc + count),
            address_row.more.eq(chunk.more),
            address_row.first.eq(chunk.first),
            address_row.done.eq(taken & last_row & chunk.last),
            looked_up.eq(address_row),
        ]
        for i in range(tables):
            m.submodules[f"decode{i}"] = decode = TritDecode()
            m.d.comb += decode.byte.eq(self.tape.data[8 * i : 8 * i + 8])
            used = Signal(name=f"used{i}")
            m.d.sync += used.eq(chunk.bytes > i)
            entries = []
            for name, bits, depth, code, write, value in (
                ("three", THREE_BITS, THREE_ENTRIES, decode.three, builder.write_three, builder.three[i]),
                ("two", TWO_BITS, TWO_ENTRIES, decode.two, builder.write_two, builder.two[i]),
            ):
                address_bits = (depth - 1).bit_length()
                m.submodules[f"{name}{i}"] = memory = Memory(
                    shape=data.ArrayLayout(signed(bits), tokens), depth=_BANKS << address_bits, init=[]
                )
                port = memory.write_port()
                m.d.comb += [
                    port.en.eq(write),
                    port.addr.eq(Cat(builder.entry[:address_bits], bank)),
                    port.data.eq(value),
                ]
                address = Signal(address_bits, name=f"{name}{i}_address", reset_less=True)
                m.d.sync += address.eq(code)
                look_up = memory.read_port(domain="comb")
                m.d.comb += look_up.addr.eq(Cat(address, address_bank))
                entries.append(look_up.data)
            for t, tree in enumerate(self.trees):
                term = Signal(signed(_BYTE_BITS), name=f"term{i}_{t}", reset_less=True)
                m.d.sync += term.eq(Mux(used, entries[0][t] + entries[1][t], 0))
                m.d.comb += tree.i[i].eq(term)

        for t, tree in enumerate(self.trees):
            m.d.comb += [tree.en.eq(1), self.sums[t].eq(tree.sum)]
        m.d.comb += [self.trees[0].tag.eq(looked_up), self.row.eq(self.trees[0].tag_out)]
        return m
