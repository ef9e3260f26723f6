"""The memory commands of the link: WRITE, READ and CRC, as AXI4 bursts."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from hw.axi4 import ReadPort, WritePort

from .link_protocol import MAX_DATA, REQUEST_WORDS, Command, Status
from .link_receive import BANK_WORDS

__all__ = ["LinkMemory"]

#: Words of the longest burst: none goes over a multiple of `MAX_DATA` bytes.
_BURST = MAX_DATA // 4


class LinkMemory(wiring.Component):
    """Executes one command after another. WRITE and READ are one burst each; CRC is as many as it needs, and
    computes a byte each cycle (CRC-32 as `zlib.crc32`).

    Parameters
    ----------
    patience : int
        Cycles without progress after which memory counts as hung.

    Members
    -------
    start : In(1), pulse; with command (8), address (32, bytes), words (30).
    index, word : Out, In(32)
        A word of the request's frame, one cycle after its index.
    result, result_en : Out(32), Out(1)
        A word of the reply.
    done, status : Out(1), Out(8)
        Pulse: finished, OK or MEMORY.
    hung : Out(1)
        Memory makes no progress; this component and memory need a reset.
    read, write : ReadPort(4), WritePort(4)
    """

    def __init__(self, patience: int = 1 << 20):
        self.patience = patience
        super().__init__(
            {
                "start": In(1),
                "command": In(8),
                "address": In(32),
                "words": In(30),
                "index": Out(range(BANK_WORDS)),
                "word": In(32),
                "result": Out(32),
                "result_en": Out(1),
                "done": Out(1),
                "status": Out(8),
                "hung": Out(1),
                "read": Out(ReadPort(4)),
                "write": Out(WritePort(4)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        ar, r, aw, w, b = self.read.ar, self.read.r, self.write.aw, self.write.w, self.write.b
        address, left, failed = Signal(30), Signal(30), Signal()
        length, beats, byte = Signal(8), Signal(8), Signal(2)  # one less than there are
        room, rest = Signal(range(_BURST + 1)), Signal(30)
        final, last, none = Signal(), Signal(), Signal()
        plain, plain_en, idle = Signal(8), Signal(), Signal()
        m.d.comb += [
            ar.payload.addr.eq(address << 2),
            ar.payload.len.eq(length),
            aw.payload.addr.eq(address << 2),
            aw.payload.len.eq(length),
            w.payload.data.eq(self.word),
            w.payload.strb.eq(0b1111),
            w.payload.last.eq(last),
            self.result.eq(r.payload.data),
            crc.data.eq(plain),
            crc.valid.eq(plain_en),
            crc.start.eq(idle),
            self.status.eq(Mux(failed, Status.MEMORY, Status.OK)),
        ]
        # A burst to the next multiple of its longest, in two steps: what is left after it, its length.
        m.d.sync += [
            room.eq(_BURST - address[: (_BURST - 1).bit_length()]),
            rest.eq(left - room),
            final.eq(left <= room),
            last.eq(left == 1),
            none.eq(left == 0),
            plain.eq(Array(r.payload.data.word_select(i, 8) for i in range(4))[byte]),
            plain_en.eq(0),
        ]
        waited, moved = Signal(range(self.patience + 1)), Signal()
        m.d.sync += [moved.eq(0), self.hung.eq(waited == self.patience)]
        with m.If(moved):
            m.d.sync += [waited.eq(0), self.hung.eq(0)]
        with m.Elif(~self.hung):
            m.d.sync += waited.eq(waited + 1)
        for channel in (ar, aw, w):
            with m.If(channel.valid & channel.ready):
                m.d.sync += moved.eq(1)
        for channel, error in ((r, r.payload.resp != 0), (b, b.payload != 0)):
            with m.If(channel.valid & channel.ready):
                m.d.sync += moved.eq(1)
                with m.If(error):
                    m.d.sync += failed.eq(1)

        with m.FSM() as fsm:
            m.d.comb += idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [
                    moved.eq(1), length.eq(self.words - 1),
                    address.eq(self.address >> 2), left.eq(self.words), self.index.eq(REQUEST_WORDS),
                    failed.eq(0),
                ]  # fmt: skip
                with m.If(self.start):
                    m.next = "READ_ROOM"
                    with m.If(self.command == Command.WRITE):
                        m.next = "WRITE_ADDRESS"
            with m.State("WRITE_ADDRESS"):
                m.d.comb += aw.valid.eq(1)
                with m.If(aw.ready):
                    m.next = "WRITE_BEAT"
            with m.State("WRITE_BEAT"):
                m.d.comb += w.valid.eq(1)
                with m.If(w.ready):
                    m.d.sync += [self.index.eq(self.index + 1), left.eq(left - 1)]
                    m.next = "WRITE_NEXT"
                    with m.If(last):
                        m.next = "WRITE_ANSWER"
            with m.State("WRITE_NEXT"):  # the frame buffer's latency
                m.next = "WRITE_BEAT"
            with m.State("WRITE_ANSWER"):
                m.d.comb += b.ready.eq(1)
                with m.If(b.valid):
                    m.next = "DONE"
            with m.State("READ_ROOM"):
                m.next = "READ_REST"
            with m.State("READ_REST"):
                m.next = "READ_LENGTH"
            with m.State("READ_LENGTH"):
                m.d.sync += [length.eq(Mux(final, left, room) - 1), left.eq(Mux(final, 0, rest))]
                m.next = "READ_ADDRESS"
            with m.State("READ_ADDRESS"):
                m.d.comb += ar.valid.eq(1)
                m.d.sync += beats.eq(length)
                with m.If(ar.ready):
                    m.d.sync += address.eq(Cat(Const(0, 8), address[8:] + 1))  # of the next burst
                    m.next = "READ_BEAT"
                    with m.If(self.command == Command.CRC):
                        m.next = "CRC_BEAT"
            with m.State("READ_BEAT"):
                m.d.comb += [r.ready.eq(1), self.result_en.eq(r.valid)]
                with m.If(r.valid):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 0):
                        m.next = "READ_ROOM"
                        with m.If(none):
                            m.next = "DONE"
            with m.State("CRC_BEAT"):
                m.d.comb += r.ready.eq(byte == 3)
                m.d.sync += plain_en.eq(r.valid)
                with m.If(r.valid):
                    m.d.sync += byte.eq(byte + 1)
                with m.If(r.valid & r.ready):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 0):
                        m.next = "READ_ROOM"
                        with m.If(none):
                            m.next = "CRC_LAST"
            with m.State("CRC_LAST"):  # its last byte is on the way
                m.next = "CRC_RESULT"
            with m.State("CRC_RESULT"):
                m.d.comb += [self.result.eq(crc.crc), self.result_en.eq(1)]
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
