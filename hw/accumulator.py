"""Memory of partial sums and of LINEAR's results."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .machine import MachineConfig
from .ports import TOKEN_BITS, AccumulatorRead
from .ternary_engine import row_layout

__all__ = ["Accumulator", "ResultWrite"]

SUM_BITS = 32


class ResultWrite(wiring.Signature):
    """Write one row's result of a token (seen from the writer); always accepted.

    Members: en Out(1); token Out(TOKEN_BITS); row Out(16); data Out(32).
    """

    def __init__(self) -> None:
        super().__init__({"en": Out(1), "token": Out(TOKEN_BITS), "row": Out(16), "data": Out(SUM_BITS)})


class Accumulator(wiring.Component):
    """Adds the sums of chunks to int32 partial sums, one row a cycle, whatever the order of rows.

    The sums of all tokens of a row lie side by side in a word; each token's is written apart. Row r lies in
    bank r modulo ``lanes``, so that the reader gets ``lanes`` rows in a cycle. A row is read in one cycle,
    added and written in the next; the same row twice in succession is forwarded. The reader has read ports of
    its own (block RAM: twice the blocks): it reads one vector while the next is summed.

    Parameters
    ----------
    config : MachineConfig
        ``accumulator_rows`` sums in ``lanes`` banks, for each token of a ``tile``.
    width : int
        Bits of a chunk's sum.

    Members
    -------
    sums : In(ArrayLayout(signed(width), tile))
        A chunk's sum for each token.
    row : In(row_layout(tile))
        Where they are added, or written if ``first``; those of tokens after ``more`` are dropped. ``more``
        changes only with ``first``.
    write : In(ResultWrite())
        Writes one row of a token below ``tile``, not from the cycle of a row's sums to the one after.
    read : In(AccumulatorRead(lanes))
        Reads neighbouring sums of a token below ``tile``. A sum written in the cycle of its address is read
        as before.
    done : Out(1)
        One cycle after ``row.done``: that sum is being written.
    """

    def __init__(self, config: MachineConfig, width: int) -> None:
        self.config = config
        super().__init__({
            "sums": In(data.ArrayLayout(signed(width), config.tile)),
            "row": In(row_layout(config.tile)),
            "write": In(ResultWrite()),
            "read": In(AccumulatorRead(config.lanes)),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens = self.config.lanes, self.config.tile
        bank_bits, token_bits = (lanes - 1).bit_length(), (tokens - 1).bit_length()
        word = data.ArrayLayout(unsigned(SUM_BITS), tokens)

        row = Signal(row_layout(tokens))
        addends = Signal.like(self.sums)
        again = Signal()
        before = Signal(word)
        after = Signal(word)
        written = Signal(word)
        read_token = Signal(max(1, token_bits))

        # What is written: sums of all live tokens, or one result.
        live = Cat(row.more >= t for t in range(tokens))
        enabled = Signal(tokens)
        place = Signal(16)
        stored_word = Signal(word)
        m.d.comb += [
            enabled.eq(Mux(row.valid, live, 0)),
            place.eq(row.row),
            stored_word.eq(after),
        ]
        with m.If(self.write.en):
            m.d.comb += [
                enabled.eq(1 << self.write.token[:token_bits]),
                place.eq(self.write.row),
                stored_word.eq(self.write.data.replicate(tokens)),
            ]
        stored = []
        read_data = []
        for bank in range(lanes):
            # No port needs a defined answer to a read of what is being written.
            m.submodules[f"bank{bank}"] = memory = Memory(  # pyright: ignore[reportCallIssue]  as `attrs`
                shape=word,
                depth=max(1, self.config.accumulator_rows // lanes),
                init=[],
                attrs={"no_rw_check": 1},  # pyright: ignore[reportArgumentType]  may be an integer
            )
            old = memory.read_port()
            m.d.comb += old.addr.eq(self.row.row[bank_bits:])
            stored.append(old.data)

            port = memory.write_port(granularity=1)
            m.d.comb += [
                port.en.eq(Mux(place[:bank_bits] == bank, enabled, 0)),
                port.addr.eq(place[bank_bits:]),
                port.data.eq(stored_word),
            ]

            reader = memory.read_port()
            m.d.comb += [reader.en.eq(self.read.en), reader.addr.eq(self.read.address[bank_bits:])]
            read_data.append(reader.data[read_token] if token_bits else reader.data[0])

        m.d.sync += [
            row.eq(self.row),
            addends.eq(self.sums),
            again.eq(row.valid & (row.row == self.row.row)),
        ]
        m.d.comb += [
            before.eq(Mux(again, written, Array(stored)[row.row[:bank_bits]])),
            *(after[t].eq(Mux(row.first, 0, before[t]) + addends[t]) for t in range(tokens)),
            self.done.eq(row.valid & row.done),
            self.read.data.eq(Cat(*read_data)),
        ]
        m.d.sync += written.eq(after)
        with m.If(self.read.en):
            m.d.sync += read_token.eq(self.read.token[:token_bits])
        return m
