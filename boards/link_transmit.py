"""Replies to bytes of the UART."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .link_protocol import ESCAPE, FLAG, FLIP
from .link_receive import BANK_WORDS

__all__ = ["LinkTransmitter"]


class LinkTransmitter(wiring.Component):
    """Keeps one reply and sends it as a frame, again whenever it is asked to.

    Members
    -------
    address, word, en : In
        Writes a word of the reply; not while `busy`.
    words : In
        Of the reply. start : In(1), pulse: send it. busy : Out(1), from the cycle after.
    data : Out(stream of 8 bits)
        To `UartTransmitter`.

    A byte is ready 4 cycles after the one before was taken, which the UART takes longer to send.
    """

    def __init__(self):
        super().__init__(
            {
                "address": In(range(BANK_WORDS)),
                "word": In(32),
                "en": In(1),
                "words": In(range(BANK_WORDS)),
                "start": In(1),
                "busy": Out(1),
                "data": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=BANK_WORDS, init=[])
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        reader, writer = memory.read_port(), memory.write_port()
        at, byte, left = Signal(range(BANK_WORDS)), Signal(2), Signal(range(BANK_WORDS))
        checking, escaped, plain, special = Signal(), Signal(), Signal(8), Signal()
        word, fcs = Signal(32), Signal(32)
        m.d.comb += [
            writer.addr.eq(self.address),
            writer.data.eq(self.word),
            writer.en.eq(self.en),
            reader.addr.eq(at),
            fcs.eq(crc.crc),  # pyright: ignore[reportArgumentType]
            crc.data.eq(plain),
        ]
        m.d.sync += [
            word.eq(Mux(checking, fcs, reader.data)),
            plain.eq(word.word_select(byte, 8)),
            special.eq((plain == FLAG) | (plain == ESCAPE)),
        ]
        taken = self.data.ready
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [at.eq(0), byte.eq(0), left.eq(self.words), checking.eq(0), escaped.eq(0)]
                with m.If(self.start):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [self.data.valid.eq(1), self.data.payload.eq(FLAG)]
                with m.If(taken):
                    m.next = "WORD"
            # The word, its byte, what the byte is.
            with m.State("WORD"):
                m.next = "BYTE"
            with m.State("BYTE"):
                m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.data.valid.eq(1)
                with m.If(special & ~escaped):
                    m.d.comb += self.data.payload.eq(ESCAPE)
                    with m.If(taken):
                        m.d.sync += escaped.eq(1)
                with m.Else():
                    m.d.comb += [
                        self.data.payload.eq(plain ^ Mux(escaped, FLIP, 0)), crc.valid.eq(taken & ~checking)
                    ]  # fmt: skip
                    with m.If(taken):
                        m.d.sync += [escaped.eq(0), byte.eq(byte + 1)]
                        m.next = "MEMORY"
                        with m.If(byte == 3):
                            m.d.sync += [at.eq(at + 1), left.eq(left - 1), checking.eq(left == 1)]
                            with m.If(checking):
                                m.next = "CLOSE"
            with m.State("MEMORY"):  # the memory's latency
                m.next = "WORD"
            with m.State("CLOSE"):
                m.d.comb += [self.data.valid.eq(1), self.data.payload.eq(FLAG)]
                with m.If(taken):
                    m.next = "IDLE"
        return m
