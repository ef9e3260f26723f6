"""Look-up tables in block RAM: a byte of five trits is the address of its sum."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .byte_builder import ByteTableBuilder
from .byte_walk import WALK
from .delay_line import delay
from .entry_sum import EntrySum
from .shared_table_builder import SharedTableBuilder
from .table_set import SUM_OF_FIVE_BITS, TableSet

__all__ = ["ByteTables"]

#: Entries of a bank: all bytes.
_BANK = 256
#: Cycles from the bytes to the entries: a register of addresses, the block RAM, its output register.
_LOOK_UP = 3


class ByteTables(wiring.Component):
    """A table of 243 for each byte of a row; both banks, and all tokens side by side, lie in its block RAM.

    A byte needs no decoding. Entries are biased, so that none is negative, and `EntrySum` adds them up. The
    tables of bytes that no row has hold the bias everywhere: at the codes it is built there from activations
    0, at the other addresses (a byte may be anything) it is the memory's initial contents.
    Building takes t cycles for t groups, 5 for the first entries and 243 for all; with shared builders
    `SharedTableBuilder.build_cycles`.

    Parameters
    ----------
    tables : int
        Bytes of a row.
    tokens : int
        Rows of activations side by side.
    family : str
        Whose adders: "ecp5" or "xcup".
    builders : int or None
        Of each token, `SharedTableBuilder`; None for one a table, `ByteTableBuilder`.
    primitives : bool
        As in `EntrySum`.

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
    read : Out(BlockRead(1, tokens)) or Out(ElementRead(builders, tokens))
        Port of the activation buffer; the latter for shared builders.
    """

    def __init__(
        self, tables: int, tokens: int, family: str, builders: int | None = None, primitives: bool = False
    ) -> None:
        self.tables, self.tokens = tables, tokens
        self.adders = [EntrySum(tables, family, primitives=primitives) for _ in range(tokens)]
        self.latency = _LOOK_UP + self.adders[0].latency
        biases = self.adders[0].biases
        if builders is None:
            self.builder, self.build_cycles = ByteTableBuilder(biases, tokens), WALK
        else:
            self.builder = SharedTableBuilder(biases, tokens, builders)
            self.build_cycles = self.builder.build_cycles
        read = self.builder.read.signature
        super().__init__({"port": In(TableSet(tables, tokens)), "read": Out(read)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, tokens = self.port, self.tokens
        biases = self.adders[0].biases
        m.submodules.builder = builder = self.builder
        for t, adder in enumerate(self.adders):
            m.submodules[f"sum{t}"] = adder

        bank = Signal()
        wiring.connect(m, wiring.flipped(self.read), builder.read)
        m.d.comb += [
            builder.start.eq(port.start),
            builder.q.eq(port.q),
            builder.k.eq(port.k),
            builder.free.eq(port.free),
            port.built.eq(builder.built),
            port.bytes.eq(builder.bytes),
            port.last.eq(builder.last),
        ]
        m.d.sync += bank.eq(bank ^ builder.built)

        word = data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)
        read_bank = Signal()
        m.d.sync += read_bank.eq(port.bank)
        for i, bias in enumerate(biases):
            # What is written is never read in that cycle: it is in the other bank.
            m.submodules[f"table{i}"] = memory = Memory(  # pyright: ignore[reportCallIssue]  as `attrs`
                shape=word,
                depth=2 * _BANK,
                init=[[bias] * tokens] * 2 * _BANK,  # pyright: ignore[reportArgumentType]
                attrs={"no_rw_check": 1, "ram_style": "block"},  # pyright: ignore[reportArgumentType]
            )
            write = memory.write_port()
            m.d.comb += [
                write.en.eq(builder.write[i]),
                write.addr.eq(Cat(builder.address, bank)),
                write.data.eq(builder.value[i]),
            ]
            address = Signal(8, name=f"address{i}", reset_less=True)
            m.d.sync += address.eq(port.data[8 * i : 8 * i + 8])
            read = memory.read_port()
            m.d.comb += read.addr.eq(Cat(address, read_bank))
            entries = Signal(word, name=f"entries{i}", reset_less=True)
            m.d.sync += entries.eq(read.data)
            for t, adder in enumerate(self.adders):
                m.d.comb += adder.i[i].eq(entries[t])

        m.d.comb += port.sum_row.eq(delay(m, port.row.as_value(), self.latency))
        for t, adder in enumerate(self.adders):
            m.d.comb += port.sums[t].eq(adder.sum.as_signed())
        return m
