"""Quantised queries of the tokens of one core."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .machine import MachineConfig
from .ports import QueryWrite
from .value_sum import SHALLOW

__all__ = ["QueryMemory"]


class QueryMemory(wiring.Component):
    """int16 queries, written by the vector unit and read a word of ``attention_bytes`` elements at a time.

    Each head begins a word: the memory counts what it is given, elements of a head after its scale, so the
    writer needs no geometry; addresses that come with the elements are not looked at. What fills up a word is
    left as it was.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    write : In(QueryWrite)
        Elements and scales of tokens of this core; whose is not looked at.
    write_slot : In(range(core_tokens))
        Which of these tokens.
    en, slot, address : In(1), In(range(core_tokens)), In(range(max_query / attention_bytes))
        Read a word at this clock edge: (heads before) * parts + part.
    word : Out(16 * attention_bytes)
        Elements, lowest first, one cycle after ``en``; they stay until the next.
    scale_slot, head, scale : In(range(core_tokens)), In(range(max_heads)), Out(32)
        A head whose s_q is wanted, and this, in the same cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        slot = range(config.core_tokens)
        super().__init__(
            {
                "write": In(QueryWrite(config.lanes)),
                "write_slot": In(slot),
                "en": In(1),
                "slot": In(slot),
                "address": In(range(config.max_query // config.attention_bytes)),
                "word": Out(16 * config.attention_bytes),
                "scale_slot": In(slot),
                "head": In(range(config.max_heads)),
                "scale": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, size, lanes = self.config, self.config.attention_bytes, self.config.lanes
        joined, pieces = max(1, lanes // size), max(1, size // lanes)
        words = config.max_query // max(size, lanes)

        # A row of memory has ``pieces`` writes, or ``joined`` words.
        row = Signal(range(max(2, words)))
        piece = Signal(range(max(2, pieces)))
        with m.If(self.write.scale_en):
            m.d.sync += [
                row.eq(Mux(self.write.scale_head == 0, 0, Mux(piece == 0, row, row + 1))),
                piece.eq(0),
            ]
        with m.Elif(self.write.en):
            m.d.sync += piece.eq(piece + 1)
            with m.If(piece == pieces - 1):
                m.d.sync += [
                    row.eq(row + 1),
                    piece.eq(0),
                ]

        row_bits, joined_bits = (words - 1).bit_length(), joined.bit_length() - 1
        depth = max(2, words * config.core_tokens)
        # Wide and shallow: block RAM would be used for a fraction of its depth.
        form = {"ram_style": "distributed"} if config.family == "xcup" and depth <= SHALLOW else {}
        m.submodules.queries = queries = memory.Memory(
            shape=16 * max(size, lanes), depth=depth, init=[], attrs=form
        )
        write = queries.write_port(granularity=16 * lanes)
        read = queries.read_port()
        m.d.comb += [
            write.en.eq(Mux(self.write.en, 1 << piece, 0)),
            write.addr.eq(Cat(row[:row_bits], self.write_slot)),
            write.data.eq(self.write.data.replicate(pieces)),
            read.en.eq(self.en),
            read.addr.eq(Cat(self.address[joined_bits:], self.slot)),
        ]
        word = read.data
        if joined_bits:
            chosen = Signal(joined_bits)
            with m.If(self.en):
                m.d.sync += chosen.eq(self.address[:joined_bits])
            word = word.word_select(chosen, 16 * size)
        m.d.comb += self.word.eq(word)

        heads = 1 << (config.max_heads - 1).bit_length()
        m.submodules.scales = scales = memory.Memory(
            shape=32, depth=max(2, heads * config.core_tokens), init=[]
        )
        port = scales.write_port()
        found = scales.read_port(domain="comb")
        m.d.comb += [
            port.en.eq(self.write.scale_en),
            port.addr.eq(Cat(self.write.scale_head[: (heads - 1).bit_length()], self.write_slot)),
            port.data.eq(self.write.scale),
            found.addr.eq(Cat(self.head, self.scale_slot)),
            self.scale.eq(found.data),
        ]
        return m
