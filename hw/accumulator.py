"""Memories of partial sums and of results, of MATMUL and of LINEAR."""

from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .lut_mux import choose
from .machine import MachineConfig
from .ports import TOKEN_BITS, AccumulatorRead
from .rotate import rotate
from .ternary_engine import row_layout

__all__ = ["Accumulator", "ResultWrite"]

SUM_BITS = 32
#: A memory of so many bits or more is made of UltraRAM (288 Kib each) where there is any.
_ULTRA_BITS = 1 << 17


class ResultWrite(wiring.Signature):
    """Write one row's result of a token (seen from the writer); always accepted.

    Members: en Out(1); token Out(TOKEN_BITS); row Out(16); data Out(32).
    """

    def __init__(self) -> None:
        super().__init__({"en": Out(1), "token": Out(TOKEN_BITS), "row": Out(16), "data": Out(SUM_BITS)})


class Accumulator(wiring.Component):
    """Adds the sums of chunks, one row a cycle, whatever the order of rows; keeps the results for the reader.

    Two memories. *Partial sums*, those of all chunks but the last: those of all tokens of a row are a word.
    It is read a cycle ahead of the row's sums, and what was read is held in a register when they come; it is
    added and written in the cycle after. A row that comes again one or two cycles later has not been written
    when it is read: its sum is forwarded.
    *Results*, the sums of the last chunk and what LINEAR writes: the reader wants neighbouring rows of a
    token, a chunk brings all tokens of a row, and both in a cycle. So the result of row r and token t lies in
    bank (r + t) modulo the number of banks: neither touches a bank twice, and the reader turns the banks'
    words round by t. (Skewed storage; Budnik and Kuck, IEEE Trans. Computers C-20, 1971.)

    UltraRAM is 64 bits wide: there the results of two rows of a token lie side by side.

    Parameters
    ----------
    config : MachineConfig
        ``accumulator_rows`` rows, for each token of a ``tile``; ``quantised_words`` activations in a row at
        most, which bound a partial sum.
    width : int
        Bits of a chunk's sum.

    Attributes
    ----------
    partial_bits : int
        Bits of a partial sum: 8-bit activations, each added or subtracted, as many as the machine holds.
    place, placing, placed : Signal
        For simulation: the row whose results are being written, of which tokens (a bit each), and 32 bits of
        each.

    Members
    -------
    sums : In(ArrayLayout(signed(width), tile))
        A chunk's sum for each token.
    row : In(row_layout(tile))
        Where they belong: they are added to what the chunks before left, if not ``first``, and are results if
        ``last``. Those of tokens after ``more`` are dropped. ``more`` changes only with ``first``.
    next_row : In(16)
        ``row.row`` of the next cycle, where there is one.
    write : In(ResultWrite())
        Writes one row of a token below ``tile``, not from the cycle of a row's sums to the one after.
    read : In(AccumulatorRead(lanes))
        Reads neighbouring results of a token below ``tile``. What is written in the cycle of its address may
        be read as before or not.
    done : Out(1)
        One cycle after ``row.done``: that result is being written, and can be read with the next address.
    """

    def __init__(self, config: MachineConfig, width: int) -> None:
        self.config = config
        self.partial_bits = max(width, 1 + (128 * config.quantised_words).bit_length())
        self._banks = max(config.lanes, 1 << (config.tile - 1).bit_length())
        self.place, self.placing = Signal(16), Signal(self._banks)
        self.placed = Signal(SUM_BITS * self._banks)
        #: Rows of a token in a bank's word.
        self._beside = 2 if config.family == "xcup" else 1
        super().__init__({
            "sums": In(data.ArrayLayout(signed(width), config.tile)),
            "row": In(row_layout(config.tile)),
            "next_row": In(16),
            "write": In(ResultWrite()),
            "read": In(AccumulatorRead(config.lanes)),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tokens, rows = self.config.tile, self.config.accumulator_rows

        row = Signal(row_layout(tokens))
        addends = Signal.like(self.sums)
        word = data.ArrayLayout(signed(self.partial_bits), tokens)
        #: The row whose sums were added a cycle ago, and they.
        row_before = Signal.like(row)
        before, after, written = Signal(word), Signal(word), Signal(word)
        m.submodules.partial = partial = self._memory(word, rows)
        old, port = partial.read_port(), partial.write_port()
        m.d.sync += [
            row.eq(self.row),
            addends.eq(self.sums),
            row_before.eq(row),
            written.eq(after),
            before.eq(old.data),
        ]
        with m.If(row.valid & (row.row == self.row.row)):
            m.d.sync += before.eq(after)
        with m.Elif(row_before.valid & (row_before.row == self.row.row)):
            m.d.sync += before.eq(written)
        with m.If(self.row.first):
            m.d.sync += before.eq(0)
        m.d.comb += [
            old.addr.eq(self.next_row),
            *(after[t].eq(before[t] + addends[t]) for t in range(tokens)),
            port.addr.eq(row.row),
            port.data.eq(after),
            port.en.eq(row.valid & ~row.last),
            self.done.eq(row.valid & row.done),
        ]
        self._results(m, platform, row, after)
        return m

    def _memory(self, shape: data.ArrayLayout, depth: int) -> Memory:
        """No port of it needs a defined answer to a read of what is being written."""
        large = self.config.family == "xcup" and depth * shape.size >= _ULTRA_BITS
        return Memory(
            shape=shape,
            depth=max(1, depth),
            init=[],
            attrs={"no_rw_check": 1, **({"ram_style": "ultra"} if large else {})},  # pyright: ignore
        )

    def _results(self, m: Module, platform: object, row: data.View, sums: data.View) -> None:
        """The banks of results: all live tokens of a row, or one result of LINEAR; and the reader's word."""
        tokens, banks, beside = self.config.tile, self._banks, self._beside
        bank_bits, beside_bits = (banks - 1).bit_length(), (beside - 1).bit_length()
        row_bits = max(0, (self.config.accumulator_rows // banks - 1).bit_length())
        token_bits = (tokens - 1).bit_length()

        def turned(values: list[Value], by: Value, name: str) -> Value:
            """Value i at place i + by, modulo how many there are."""
            out = Cat(*values)
            for k in range(len(by)):
                step = Signal(len(out), name=f"{name}_{k}")
                m.d.comb += step.eq(Mux(by[k], out.rotate_left((len(out) // len(values)) << k), out))
                out = step
            return out

        def address(place: Value, token: Value) -> Value:
            """Of a token's rows: whole words of a bank, token after token."""
            return Cat(place[bank_bits + beside_bits : bank_bits + row_bits], token)

        place, by_linear = self.place, self.write.en
        writing, values = [], []
        for t in range(banks):
            live = row.valid & row.last & (row.more >= t) if t < tokens else Const(0, 1)
            linear = by_linear & (self.write.token == t) if t < tokens else Const(0, 1)
            writing.append(Mux(by_linear, linear, live))
            value = Value.cast(sums[t]) if t < tokens else Const(0, 1)
            value = Cat(value, value[-1].replicate(SUM_BITS - len(value)))
            values.append(Mux(by_linear, self.write.data, value))
        m.d.comb += [
            place.eq(Mux(by_linear, self.write.row, row.row)),
            self.placing.eq(Cat(*writing)),
            self.placed.eq(Cat(*values)),
        ]
        turn = place[:bank_bits]
        enabled, data_in = turned(writing, turn, "enabled"), turned(values, turn, "written")
        first = self.read.address
        read_half = Signal(max(1, beside_bits))
        found = []
        half = place[bank_bits:][:beside_bits]
        for bank in range(banks):
            depth = (self.config.accumulator_rows // (banks * beside)) << token_bits
            shape = data.ArrayLayout(unsigned(SUM_BITS), beside)
            m.submodules[f"bank{bank}"] = memory = self._memory(shape, depth)
            port = memory.write_port(granularity=1)
            value = data_in.word_select(bank, SUM_BITS)
            m.d.comb += [
                port.en.eq(Mux(enabled[bank], Const(1) << half, 0)),
                port.addr.eq(address(place, (Const(bank, bank_bits) - turn)[:token_bits])),
                port.data.eq(value.replicate(beside)),
            ]
            reader = memory.read_port()
            m.d.comb += [
                reader.en.eq(self.read.en),
                reader.addr.eq(address(first, self.read.token[:token_bits])),
            ]
            found.append(Mux(read_half[0], reader.data[beside - 1], reader.data[0]))
        read_turn = Signal(bank_bits)
        with m.If(self.read.en):
            m.d.sync += [
                read_half.eq(first[bank_bits:][:beside_bits]),
                # Back: the row at `first` of this token lies in this bank.
                read_turn.eq(-(first[:bank_bits] + self.read.token[:token_bits])),
            ]
        words = rotate(m, found, read_turn, "found", left=True, choose=partial(choose, m, platform))
        m.d.comb += self.read.data.eq(Cat(words))
