"""Look-up tables in distributed memory: a byte is split into a code of three trits and one of two."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .activation_buffer import BlockRead
from .activation_groups import ActivationGroups
from .adder_tree import AdderTree
from .table_builder import THREE_BITS, TWO_BITS, TableBuilder
from .table_set import SUM_OF_FIVE_BITS, TableSet, row_layout
from .trit_decode import THREE_ENTRIES, TWO_ENTRIES, TritDecode

__all__ = ["SplitTables"]


class SplitTables(wiring.Component):
    """A table of 27 and one of 9 for each byte of a row; an adder tree adds the bytes.

    The tokens share the bytes and their addresses; each has an entry of its own in each word of a table, and
    a tree of its own. Building takes t cycles for t groups and 27 for the entries. TeLLMe v2, section 3.2.

    Parameters
    ----------
    tables : int
        Bytes of a row.
    tokens : int
        Rows of activations side by side.

    Attributes
    ----------
    latency : int
        Cycles from a row to its sums.
    build_cycles : int
        Cycles from the last group of a chunk to its last entry.

    Members
    -------
    port : In(TableSet(tables, tokens))
        Vectors, rows, sums.
    read : Out(BlockRead(1, tokens))
        Port of the activation buffer.
    """

    build_cycles = THREE_ENTRIES

    def __init__(self, tables: int, tokens: int) -> None:
        self.tables, self.tokens = tables, tokens
        tag_bits = row_layout(tokens).size
        # The tree of the first token carries the tag.
        self.trees = [AdderTree(tables, SUM_OF_FIVE_BITS, 0 if t else tag_bits) for t in range(tokens)]
        self.latency = 2 + self.trees[0].latency
        super().__init__({"port": In(TableSet(tables, tokens)), "read": Out(BlockRead(1, tokens))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, tokens = self.port, self.tokens
        m.submodules.groups = groups = ActivationGroups(tokens)
        m.submodules.builder = builder = TableBuilder(self.tables, tokens)
        for t, tree in enumerate(self.trees):
            m.submodules[f"tree{t}"] = tree

        bank = Signal()
        wiring.connect(m, wiring.flipped(self.read), groups.read)
        wiring.connect(m, groups.groups, builder.groups)
        m.d.comb += [
            groups.start.eq(port.start),
            groups.q.eq(port.q),
            groups.k.eq(port.k),
            builder.free.eq(port.free),
            port.built.eq(builder.built),
            port.bytes.eq(builder.bytes),
            port.last.eq(builder.last),
        ]
        m.d.sync += bank.eq(bank ^ builder.built)

        # Look-up, a cycle after the addresses. Bytes beyond the chunk's belong to others and count as 0.
        looked_up = Signal(row_layout(tokens))
        address_row = Signal(row_layout(tokens))
        address_bank = Signal()
        m.d.sync += [address_bank.eq(port.bank), address_row.eq(port.row), looked_up.eq(address_row)]
        for i in range(self.tables):
            m.submodules[f"decode{i}"] = decode = TritDecode()
            m.d.comb += decode.byte.eq(port.data[8 * i : 8 * i + 8])
            used: Value = Const(1)  # a chunk has a byte at least
            if i:
                used = Signal(name=f"used{i}")
                m.d.sync += used.eq(port.used > i)
            entries = []
            for name, bits, depth, code, write, value in (
                ("three", THREE_BITS, THREE_ENTRIES, decode.three, builder.write_three, builder.three[i]),
                ("two", TWO_BITS, TWO_ENTRIES, decode.two, builder.write_two, builder.two[i]),
            ):
                address_bits = (depth - 1).bit_length()
                m.submodules[f"{name}{i}"] = memory = Memory(
                    shape=data.ArrayLayout(signed(bits), tokens), depth=2 << address_bits, init=[]
                )
                write_port = memory.write_port()
                m.d.comb += [
                    write_port.en.eq(write),
                    write_port.addr.eq(Cat(builder.entry[:address_bits], bank)),
                    write_port.data.eq(value),
                ]
                address = Signal(address_bits, name=f"{name}{i}_address", reset_less=True)
                m.d.sync += address.eq(code)
                look_up = memory.read_port(domain="comb")
                m.d.comb += look_up.addr.eq(Cat(address, address_bank))
                entries.append(look_up.data)
            for t, tree in enumerate(self.trees):
                total = entries[0][t] + entries[1][t]
                term = Signal(signed(SUM_OF_FIVE_BITS), name=f"term{i}_{t}", reset_less=True)
                m.d.sync += term.eq(Mux(used, total, 0) if i else total)
                m.d.comb += tree.i[i].eq(term)

        for t, tree in enumerate(self.trees):
            m.d.comb += [tree.en.eq(1), port.sums[t].eq(tree.sum)]
        m.d.comb += [self.trees[0].tag.eq(looked_up), port.sum_row.eq(self.trees[0].tag_out)]
        return m
