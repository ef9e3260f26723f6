"""Look-up tables in distributed memory: a byte is split into a code of three trits and one of two."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .activation_buffer import BlockRead
from .activation_groups import ActivationGroups
from .adder_tree import AdderTree
from .delay_line import delay, in_flight
from .shared import SharedComponent, shared
from .table_builder import THREE_BITS, TWO_BITS, TableBuilder
from .table_set import SUM_OF_FIVE_BITS, TableSet
from .trit_decode import THREE_ENTRIES, TWO_ENTRIES, TritDecode

__all__ = ["SplitTables"]


class SplitTable(SharedComponent):
    """Both tables of a byte, both banks, all tokens: registers of byte and addresses before, of sums after.

    Parameters
    ----------
    tokens : int
        Entries side by side.

    Members
    -------
    write_three, write_two, address, write_bank : In(1), In(1), In(5), In(1)
        Write an entry of each token; not where one is read.
    three, two : In(ArrayLayout(signed(10), tokens)), In(ArrayLayout(signed(9), tokens))
        What is written.
    byte, used, passing : In(8), In(1), In(2)
        The byte that is looked up, whether it counts or is 0. ``passing``: the registers of both, and a cycle
        later those of addresses, take a value.
    bank, adding : In(1), In(tokens)
        Two cycles later: where it is looked up; tokens whose terms change.
    terms : Out(ArrayLayout(signed(11), tokens))
        The sums of both tables' entries, a cycle after that.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.words = {
            "three": data.ArrayLayout(signed(THREE_BITS), tokens),
            "two": data.ArrayLayout(signed(TWO_BITS), tokens),
        }
        super().__init__({
            "write_three": In(1),
            "write_two": In(1),
            "address": In(range(THREE_ENTRIES)),
            "write_bank": In(1),
            "three": In(self.words["three"]),
            "two": In(self.words["two"]),
            "byte": In(8),
            "used": In(1),
            "passing": In(2),
            "bank": In(1),
            "adding": In(tokens),
            "terms": Out(data.ArrayLayout(signed(SUM_OF_FIVE_BITS), tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        decode = TritDecode()
        m.submodules.decode = shared(decode, platform)
        byte, counts, used = Signal(8, reset_less=True), Signal(), Signal()
        m.d.comb += decode.byte.eq(byte)
        with m.If(self.passing[0]):
            m.d.sync += [byte.eq(self.byte), counts.eq(self.used)]
        with m.If(self.passing[1]):
            m.d.sync += used.eq(counts)
        entries = []
        for name, depth, code, write, value in (
            ("three", THREE_ENTRIES, decode.three, self.write_three, self.three),
            ("two", TWO_ENTRIES, decode.two, self.write_two, self.two),
        ):
            address_bits = (depth - 1).bit_length()
            m.submodules[name] = memory = Memory(shape=self.words[name], depth=2 << address_bits, init=[])
            write_port = memory.write_port()
            m.d.comb += [
                write_port.en.eq(write),
                write_port.addr.eq(Cat(self.address[:address_bits], self.write_bank)),
                write_port.data.eq(value),
            ]
            address = Signal(address_bits, name=f"{name}_address", reset_less=True)
            with m.If(self.passing[1]):
                m.d.sync += address.eq(code)
            look_up = memory.read_port(domain="comb")
            m.d.comb += look_up.addr.eq(Cat(address, self.bank))
            entries.append(look_up.data)
        for t in range(self.tokens):
            with m.If(self.adding[t]):
                m.d.sync += self.terms[t].eq(Mux(used, entries[0][t] + entries[1][t], 0))
        return m


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
        self.trees = [AdderTree(tables, SUM_OF_FIVE_BITS, tag=0) for _ in range(tokens)]
        self.latency = 3 + self.trees[0].latency
        super().__init__({"port": In(TableSet(tables, tokens)), "read": Out(BlockRead(1, tokens))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, tokens = self.port, self.tokens
        m.submodules.groups = groups = ActivationGroups(tokens)
        m.submodules.builder = builder = TableBuilder(self.tables, tokens)
        for t, tree in enumerate(self.trees):
            m.submodules[f"tree{t}"] = shared(tree, platform)

        bank = Signal()
        wiring.connect(m, wiring.flipped(self.read), groups.read)
        wiring.connect(m, groups.groups, builder.groups)
        m.d.comb += [
            groups.start.eq(port.start),
            groups.q.eq(port.q),
            groups.k.eq(port.k),
            builder.live.eq(port.live),
            builder.free.eq(port.free),
            port.built.eq(builder.built),
            port.bytes.eq(builder.bytes),
            port.last.eq(builder.last),
        ]
        m.d.sync += bank.eq(bank ^ builder.built)

        # A row passes the bytes, the addresses, the terms, and the trees of its live tokens; a cycle for each
        # register. Entries are written a cycle late too: the last row of a bank is looked up before.
        going = Cat(port.row.valid & (port.row.more >= t) for t in range(tokens))
        passing = in_flight(m, going, self.latency)
        adding: Value = Const(0, tokens)
        for stage in passing[3:]:
            adding = adding | stage
        read_bank = delay(m, port.bank, 2)
        writes = Cat(builder.write_three, builder.write_two, bank, builder.entry)
        write_three, write_two, write_bank, *entry = delay(m, writes, 1)
        for i in range(self.tables):
            table = SplitTable(tokens)
            m.submodules[f"table{i}"] = shared(table, platform)
            three, two = (
                Signal(words, name=f"{name}{i}", reset_less=True) for name, words in table.words.items()
            )
            m.d.sync += [three.eq(builder.three[i]), two.eq(builder.two[i])]
            m.d.comb += [
                table.write_three.eq(write_three),
                table.write_two.eq(write_two),
                table.address.eq(Cat(entry)),
                table.write_bank.eq(write_bank),
                table.three.eq(three),
                table.two.eq(two),
                # Bytes beyond the chunk's belong to others and count as 0; a chunk has a byte at least.
                table.used.eq(port.used > i if i else 1),
                table.passing.eq(Cat(passing[0].any(), passing[1].any())),
                table.adding.eq(passing[2]),
                table.byte.eq(port.data[8 * i : 8 * i + 8]),
                table.bank.eq(read_bank),
            ]
            for t, tree in enumerate(self.trees):
                m.d.comb += tree.i[i].eq(table.terms[t])

        for t, tree in enumerate(self.trees):
            m.d.comb += [tree.en.eq(adding[t]), port.sums[t].eq(tree.sum)]
        next_row = delay(m, port.row.as_value(), self.latency - 1)
        m.d.comb += [port.next_row.eq(next_row), port.sum_row.eq(delay(m, next_row, 1))]
        return m
