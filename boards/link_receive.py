"""Bytes of the UART to checked frames."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .link_protocol import ESCAPE, FLAG, FLIP, MAX_DATA, REQUEST_WORDS

__all__ = ["BANK_WORDS", "LinkReceiver"]

#: Words of one of the two frame buffers.
BANK_WORDS = 512
#: Bytes of the longest frame without its flags and escapes, FCS included.
_LONGEST = 4 * REQUEST_WORDS + MAX_DATA + 4


class LinkReceiver(wiring.Component):
    """Takes frames apart (`boards.link_protocol`) into two buffers in turn: one fills, one is executed.

    What is damaged (FCS, framing error, length), or comes while both buffers are full, is dropped, and the
    next flag begins anew.

    Members
    -------
    data, valid, error : In
        Of `UartReceiver`. Bytes are 2 cycles apart or more.
    frame : Out(1)
        The oldest whole frame is in the buffer. words : Out, its words without the FCS. taken : In(1), pulse:
        it is done with.
    address, word : In, Out(32)
        A word of that frame, one cycle after its address.
    frames, damaged : Out(32)
        Frames that were whole; that were dropped.

    Latency: closing flag to `frame` 2 cycles.
    """

    def __init__(self):
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "error": In(1),
                "frame": Out(1),
                "words": Out(range(BANK_WORDS)),
                "taken": In(1),
                "address": In(range(BANK_WORDS)),
                "word": Out(32),
                "frames": Out(32),
                "damaged": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=2 * BANK_WORDS, init=[])
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        reader, writer = memory.read_port(), memory.write_port()
        full, fill, first = Signal(2), Signal(), Signal()
        words = [Signal(range(BANK_WORDS), name=f"words{i}") for i in range(2)]
        m.d.comb += [
            self.frame.eq(full.bit_select(first, 1)),
            self.words.eq(Array(words)[first]),
            reader.addr.eq(Cat(self.address, first)),
            self.word.eq(reader.data),
        ]
        with m.If(self.taken):
            m.d.sync += [full.bit_select(first, 1).eq(0), first.eq(~first)]

        # Bytes, unescaped; four make a word.
        escaped, bad, plain = Signal(), Signal(), Signal(8)
        count, collected = Signal(range(_LONGEST + 1)), Signal(24)
        is_flag, take = (self.data == FLAG) & self.valid, Signal()
        m.d.comb += [
            plain.eq(self.data ^ Mux(escaped, FLIP, 0)),
            take.eq(self.valid & ~is_flag & (self.data != ESCAPE) & ~bad),
            crc.data.eq(plain),
            crc.valid.eq(take),
            crc.start.eq(is_flag),
            writer.addr.eq(Cat((count >> 2)[: (BANK_WORDS - 1).bit_length()], fill)),
            writer.data.eq(Cat(collected, plain)),
            writer.en.eq(take & (count[:2] == 3)),
        ]
        whole, sized = Signal(), (count[:2] == 0) & (count >= 4 * REQUEST_WORDS + 4)
        m.d.comb += whole.eq(Value.cast(crc.match_detected) & sized & ~bad & ~escaped)  # pyright: ignore[reportArgumentType]
        with m.If(self.valid & ~is_flag):
            m.d.sync += escaped.eq((self.data == ESCAPE) & ~escaped)
            with m.If((self.data == ESCAPE) & escaped):  # no encoder sends it
                m.d.sync += bad.eq(1)
        with m.If(take):
            m.d.sync += [count.eq(count + 1), collected.eq(Cat(collected[8:], plain))]
            with m.If((count == _LONGEST) | full.bit_select(fill, 1)):
                m.d.sync += [bad.eq(1), count.eq(count)]
        with m.If(self.error):
            m.d.sync += bad.eq(1)
        with m.If(is_flag):
            m.d.sync += [count.eq(0), bad.eq(0), escaped.eq(0)]
            with m.If(whole):
                m.d.sync += [full.bit_select(fill, 1).eq(1), fill.eq(~fill), self.frames.eq(self.frames + 1)]
                for i in range(2):
                    with m.If(fill == i):
                        m.d.sync += words[i].eq((count >> 2) - 1)
            with m.Elif(bad | (count != 0)):
                m.d.sync += self.damaged.eq(self.damaged + 1)
        return m
