"""Look-up tables in block RAM: a byte of five trits is the address of its sum."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .byte_builder import ByteTableBuilder
from .byte_walk import WALK
from .delay_line import delay, in_flight
from .entry_sum import EntrySum
from .shared import SharedComponent, shared
from .shared_table_builder import SharedTableBuilder
from .solo_walk import PairPlaces, SoloPlace, lanes_used, solo_cycles
from .table_set import SUM_OF_FIVE_BITS, TableSet

__all__ = ["ByteTables"]

#: Entries of a bank: all bytes.
_BANK = 256
#: Cycles from the bytes to the entries: a register of addresses, the block RAM, its output register.
_LOOK_UP = 3


class ByteTable(SharedComponent):
    """One table, both banks, all tokens: its block RAM with a register before and one behind it.

    Parameters
    ----------
    bias : int
        Initial contents: the entry of activations 0.
    tokens : int
        Entries side by side.
    placed : bool
        `PairPlaces` stands in for the first register.

    Members
    -------
    write, address, value : In(1), In(9), In(ArrayLayout(11, tokens))
        Write an entry of each token; not where one is read.
    byte, alone, bank : In(8), In(1), In(1)
        What is read: the entries of a code; where ``alone`` that of the first token, whose entries lie as
        `SoloWalk` built them. The bank a cycle after both.
    place, lane : In(8), In(range(tokens))
        If ``placed``, instead of ``byte`` and ``alone``: with the bank.
    passing : In(3)
        Registers that take a value: of the byte, of the memory, of the entries; each needs the one before it
        to have done so a cycle earlier.
    entries : Out(ArrayLayout(11, tokens))
        What was read.
    """

    APART = True

    def __init__(self, bias: int, tokens: int, placed: bool = False) -> None:
        self.bias, self.tokens, self.placed = bias, tokens, placed
        self.word = data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)
        super().__init__({
            "write": In(1),
            "address": In(range(2 * _BANK)),
            "value": In(self.word),
            **(
                {"place": In(8), "lane": In(range(tokens))}
                if placed
                else {"byte": In(8), "alone": In(1)}
            ),
            "bank": In(1),
            "passing": In(_LOOK_UP),
            "entries": Out(self.word),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What is written is never read in that cycle: it is in the other bank.
        m.submodules.table = memory = Memory(  # pyright: ignore[reportCallIssue]  as `attrs`
            shape=self.word,
            depth=2 * _BANK,
            init=[[self.bias] * self.tokens] * 2 * _BANK,  # pyright: ignore[reportArgumentType]
            attrs={"no_rw_check": 1, "ram_style": "block"},  # pyright: ignore[reportArgumentType]
        )
        write, read = memory.write_port(), memory.read_port()
        place = self.place if self.placed else Signal(8, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.address),
            write.data.eq(self.value),
            read.en.eq(self.passing[1]),
            read.addr.eq(Cat(place, self.bank)),
        ]
        if not self.placed:
            with m.If(self.passing[0]):
                m.d.sync += place.eq(self.byte)
        entries = Signal(self.word, reset_less=True)
        with m.If(self.passing[2]):
            m.d.sync += entries.eq(read.data)
        m.d.comb += self.entries.eq(entries)
        if self.tokens > 1:
            self._one_token(m, platform, place, entries)
        return m

    def _one_token(self, m: Module, platform: object, place: Signal, entries: data.View) -> None:
        """Where a token is alone, its entry is in one of the lanes, where `SoloWalk` put it."""
        lanes = self.tokens if self.placed else lanes_used(self.tokens)
        lane = [Signal(range(lanes), name=f"lane{i}", reset_less=True) for i in range(_LOOK_UP)]
        if self.placed:
            m.d.comb += lane[0].eq(self.lane)
        else:
            where = SoloPlace(self.tokens)
            m.submodules.where = shared(where, platform)
            m.d.comb += where.byte.eq(self.byte)
            with m.If(self.passing[0]):
                m.d.sync += lane[0].eq(Mux(self.alone, where.lane, 0))
                with m.If(self.alone):
                    m.d.sync += place.eq(where.address)
        for i in range(1, _LOOK_UP):
            with m.If(self.passing[i]):
                m.d.sync += lane[i].eq(lane[i - 1])
        with m.Switch(lane[-1]):
            for t in range(1, lanes):
                with m.Case(t):
                    m.d.comb += self.entries[0].eq(entries[t])


class ByteTables(wiring.Component):
    """A table of 243 for each byte of a row; both banks, and all tokens side by side, lie in its block RAM.

    A byte needs no decoding. Entries are biased, so that none is negative, and `EntrySum` adds them up. The
    tables of bytes that no row has hold the bias everywhere: at the codes it is built there from activations
    0, at the other addresses (a byte may be anything) it is the memory's initial contents.
    Building takes t cycles for t groups, 5 for the first entries and 243 for all; where one of several tokens
    is live, `solo_cycles` for first and all, because the places of the others take a part of its entries,
    and with ``half`` or fewer groups ``twice_cycles``, because table i + ``half`` takes a part of those of
    table i: where the one has an entry, the other has the bias (xcup only). With shared builders
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
    build_cycles, solo_cycles, twice_cycles : int
        Cycles from the last group of a chunk to its last entry: with several live tokens, with one, and with
        one and few groups.
    half : int
        How many those are; 0 where it makes no difference.

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
        self.tables, self.tokens, self.family = tables, tokens, family
        self.adders = [EntrySum(tables, family, primitives=primitives) for _ in range(tokens)]
        self.latency = _LOOK_UP + self.adders[0].latency
        biases = self.adders[0].biases
        self.half = 0
        if builders is None:
            if tokens > 1 and family == "xcup":
                self.half = tables // 4 * 2
            self.builder, self.build_cycles = ByteTableBuilder(biases, tokens, self.half), WALK
            self.solo_cycles = solo_cycles(tokens) if tokens > 1 else WALK
        else:
            self.builder = SharedTableBuilder(biases, tokens, builders)
            self.build_cycles = self.solo_cycles = self.builder.build_cycles
        self.solo = builders is None and tokens > 1
        self.twice_cycles = solo_cycles(2 * tokens) if self.half else self.solo_cycles
        read = self.builder.read.signature
        super().__init__({"port": In(TableSet(tables, tokens)), "read": Out(read)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, tokens = self.port, self.tokens
        m.submodules.builder = builder = self.builder
        for t, adder in enumerate(self.adders):
            m.submodules[f"sum{t}"] = shared(adder, platform)

        bank = Signal()
        wiring.connect(m, wiring.flipped(self.read), builder.read)
        m.d.comb += [
            builder.start.eq(port.start),
            builder.q.eq(port.q),
            builder.k.eq(port.k),
            builder.live.eq(port.live),
            builder.free.eq(port.free),
            port.built.eq(builder.built),
            port.bytes.eq(builder.bytes),
            port.last.eq(builder.last),
            port.twice.eq(builder.twice if self.half else 0),
        ]
        m.d.sync += bank.eq(bank ^ builder.built)

        # A row passes the register of addresses, the memory, its output register, and the adders of its live
        # tokens.
        going = Cat(port.row.valid & (port.row.more >= t) for t in range(tokens))
        passing = in_flight(m, going, self.latency)
        looking_up = [passing[i].any() for i in range(_LOOK_UP)]
        adding: Value = Const(0, tokens)
        for stage in passing[_LOOK_UP:]:
            adding = adding | stage
        read_bank = Signal()
        m.d.sync += read_bank.eq(port.bank)
        alone = (port.row.more == 0) & self.solo
        # Pairs of tables whose places one block RAM has.
        placed = self.solo and self.family == "xcup"
        half = self.half
        pairs = [
            PairPlaces(tokens, int(half <= i < 2 * half)) for i in range(0, self.tables if placed else 0, 2)
        ]
        for i, pair in enumerate(pairs):
            m.submodules[f"places{i}"] = shared(pair, platform)
            own = port.data[16 * i : 16 * i + 16]
            lent = port.data[16 * i - 8 * half :][:16]
            m.d.comb += [
                pair.en.eq(looking_up[0]),
                pair.bytes.eq(Mux(port.shares, lent, own) if pair.part else own),
                pair.alone.eq(alone),
                pair.shares.eq(port.shares),
            ]
        for i, bias in enumerate(self.adders[0].biases):
            table = ByteTable(bias, tokens, placed)
            m.submodules[f"table{i}"] = shared(table, platform)
            m.d.comb += [
                table.write.eq(builder.write[i]),
                table.address.eq(Cat(builder.address, bank)),
                table.value.eq(builder.value[i]),
                table.passing.eq(Cat(*looking_up)),
                table.bank.eq(read_bank),
            ]
            if placed:
                pair = pairs[i // 2]
                m.d.comb += [table.place.eq(pair.address[i % 2]), table.lane.eq(pair.lane[i % 2])]
            else:
                m.d.comb += [table.byte.eq(port.data[8 * i : 8 * i + 8]), table.alone.eq(alone)]
            for t, adder in enumerate(self.adders):
                m.d.comb += adder.i[i].eq(table.entries[t])

        next_row = delay(m, port.row.as_value(), self.latency - 1)
        m.d.comb += [port.next_row.eq(next_row), port.sum_row.eq(delay(m, next_row, 1))]
        for t, adder in enumerate(self.adders):
            m.d.comb += [adder.en.eq(adding[t]), port.sums[t].eq(adder.sum.as_signed())]
        return m
