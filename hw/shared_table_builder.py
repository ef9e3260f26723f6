"""A few builders for all tables of 243 entries, which they build in turn."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .add_sub import add_sub
from .byte_walk import BYTE_ENTRIES, WALK, ByteWalk
from .table_set import SUM_OF_FIVE_BITS
from .trit_decode import TRITS_PER_BYTE

__all__ = ["ElementRead", "SharedTableBuilder"]


class ElementRead(wiring.Signature):
    """Read single activations of all tokens (seen from the reader): data one cycle after address.

    Members
    -------
    address : Out(ArrayLayout(16, ports))
        Activation that each port reads.
    data : In(ArrayLayout(ArrayLayout(signed(8), tokens), ports))
        That activation of each token.
    """

    def __init__(self, ports: int, tokens: int) -> None:
        super().__init__({
            "address": Out(data.ArrayLayout(16, ports)),
            "data": In(data.ArrayLayout(data.ArrayLayout(signed(8), tokens), ports)),
        })  # fmt: skip


class SharedTableBuilder(wiring.Component):
    """Builds the tables of a chunk, ``builders`` at a time, as `ByteWalk` says.

    A builder of a token is one adder: it reads from memory, in each cycle, the activation that changes its
    entry. Worth it where many rows stream past each chunk: with t tables, rows / 248 tables a builder cost no
    time. All tables are built, whatever the length of the vector: without activations they hold the bias.

    Parameters
    ----------
    biases : sequence of int
        For each table what is added to its entries; no less than 635, and equal but for 1.
    tokens : int
        Chunks side by side.
    builders : int
        Tables built at a time; a divisor of their number.

    Attributes
    ----------
    build_cycles : int
        Cycles of a chunk: 248 for each ``builders`` tables, and 2 from an address to the entry.

    Members
    -------
    start, q, k : In(1), In(16), In(16)
        As in `TableSet`.
    live : In(tokens)
        As in `TableSet`; only their entries are built.
    read : Out(ElementRead(builders, tokens))
        Activations, within +-127.
    free : In(1)
        The tables may be overwritten; once 1, it stays so until ``built``.
    write : Out(tables)
        Write an entry of these tables.
    address : Out(8)
        Its code.
    value : Out(ArrayLayout(ArrayLayout(11, tokens), tables))
        Entries, of each table, of each token.
    built : Out(1)
        The last entry is being written.
    bytes, last : Out(0..tables), Out(1)
        With ``built``: groups in this chunk; the chunk is the last of its vector.

    Raises
    ------
    ValueError
        If ``builders`` does not divide the number of tables.
    """

    def __init__(self, biases: Sequence[int], tokens: int, builders: int) -> None:
        self.biases, self.tokens, self.builders = tuple(biases), tokens, builders
        tables = len(self.biases)
        if builders < 1 or tables % builders:
            raise ValueError(f"builders must divide the number of tables, {tables}, found {builders!r}")
        self.passes = tables // builders
        self.build_cycles = self.passes * WALK + 2
        entries = data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)
        super().__init__({
            "start": In(1),
            "q": In(16),
            "k": In(16),
            "live": In(tokens, init=-1),  # pyright: ignore[reportCallIssue]
            "read": Out(ElementRead(builders, tokens)),
            "free": In(1),
            "write": Out(tables),
            "address": Out(range(BYTE_ENTRIES)),
            "value": Out(data.ArrayLayout(entries, tables)),
            "built": Out(1),
            "bytes": Out(range(tables + 1)),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tables, builders = len(self.biases), self.builders
        m.submodules.walk = walk = ByteWalk()

        # A cycle of the walk: addresses. `left` counts from the first builder's group, and falls below 0.
        busy = Signal()
        waiting = Signal()  # for the last entry of a chunk to be written
        base = Signal(16)
        left = Signal(signed(17))
        turn = Signal(self.passes, init=1)  # the pass, one hot
        chunk_ends = Signal()
        in_group = Signal(builders)
        # What is left, as far as a pass can tell it from plenty.
        small = (TRITS_PER_BYTE * builders).bit_length()
        plenty = Signal()
        some = Signal(small)
        m.d.comb += [
            plenty.eq(left[small:-1].any() & ~left[-1]),
            some.eq(Mux(left[-1], 0, left[:small])),
            walk.en.eq(busy & ~waiting & self.free),
            chunk_ends.eq(walk.en & walk.ends & turn[-1]),
        ]
        for b in range(builders):
            first = TRITS_PER_BYTE * b
            m.d.comb += [
                self.read.address[b].eq(base + (walk.digit + first)),
                in_group[b].eq(plenty | (some > walk.digit + first)),
            ]
        with m.If(walk.en & walk.ends):
            m.d.sync += [
                base.eq(base + TRITS_PER_BYTE * builders),
                left.eq(left - TRITS_PER_BYTE * builders),
                turn.eq(turn.rotate_left(1)),
            ]
        with m.If(chunk_ends):
            m.d.sync += waiting.eq(1)

        # Groups of the chunk, known when a pass begins: the digit of its first cycle is 0.
        begins = Signal()
        m.d.comb += begins.eq(walk.en & ~walk.write & (walk.digit == 0))
        with m.If(begins):
            groups = sum((in_group[b] for b in range(builders)), start=0)
            m.d.sync += self.bytes.eq(Mux(turn[0], 0, self.bytes) + groups)
            m.d.sync += self.last.eq(~plenty & (some <= TRITS_PER_BYTE * builders))

        # A cycle later the activations come; in the next one entries are written and changed.
        step = data.StructLayout({"en": 1, "down": 1, "write": 1, "address": 8, "ends": 1})
        now, read, change = Signal(step), Signal(step), Signal(step)
        used = Signal(builders)
        writes = Signal(self.passes, init=1)
        m.d.comb += [
            now.en.eq(walk.en),
            now.down.eq(walk.down),
            now.write.eq(walk.en & walk.write),
            now.address.eq(walk.address),
            now.ends.eq(walk.en & walk.ends),
        ]
        m.d.sync += [read.eq(now), change.eq(read), used.eq(in_group)]
        m.d.comb += [
            self.address.eq(change.address),
            self.built.eq(change.ends & writes[-1]),
            self.write.eq(Cat(change.write & writes[i // builders] for i in range(tables))),
        ]
        with m.If(change.ends):
            m.d.sync += writes.eq(writes.rotate_left(1))

        # The next table's bias follows the last entry; biases differ in the lowest bit.
        low = min(self.biases)
        following = writes.rotate_left(1)
        for b in range(builders):
            more = Signal(name=f"more{b}")
            raised = [following[p] for p, bias in enumerate(self.biases[b::builders]) if bias > low]
            m.d.comb += more.eq(Cat(*raised).any())
            for t in range(self.tokens):
                activation = Signal(signed(8), name=f"activation{b}_{t}", reset_less=True)
                m.d.sync += activation.eq(self.read.data[b][t])
                with m.If(~used[b]):
                    m.d.sync += activation.eq(0)
                value = Signal(SUM_OF_FIVE_BITS, name=f"value{b}_{t}", init=self.biases[b])
                with m.If(self.live[t] & change.ends):
                    m.d.sync += value.eq(low + more)
                with m.Elif(self.live[t] & change.en):
                    m.d.sync += value.eq(add_sub(value, activation, change.down))
                for i in range(b, tables, builders):
                    m.d.comb += self.value[i][t].eq(value)

        with m.If(self.built):
            m.d.sync += [waiting.eq(0), busy.eq(~self.last)]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), base.eq(self.q), left.eq(self.k)]
        return m
