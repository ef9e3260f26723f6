"""The memory commands of the link: WRITE, READ and CRC, as AXI4 bursts."""

from amaranth.hdl import Array, Module, Mux, Signal
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
        burst, beats, byte = Signal(range(_BURST + 1)), Signal(range(_BURST + 1)), Signal(2)
        room = Signal(range(_BURST + 1))
        m.d.comb += [
            room.eq(_BURST - address[: (_BURST - 1).bit_length()]),
            burst.eq(Mux(left > room, room, left)),
            ar.payload.addr.eq(address << 2),
            ar.payload.len.eq(burst - 1),
            aw.payload.addr.eq(address << 2),
            aw.payload.len.eq(self.words - 1),
            w.payload.data.eq(self.word),
            w.payload.strb.eq(0b1111),
            w.payload.last.eq(left == 1),
            self.result.eq(r.payload.data),
            crc.data.eq(Array(r.payload.data.word_select(i, 8) for i in range(4))[byte]),
            self.status.eq(Mux(failed, Status.MEMORY, Status.OK)),
        ]
        waited, moved = Signal(range(self.patience + 1)), Signal()
        m.d.comb += self.hung.eq(waited == self.patience)
        with m.If(moved):
            m.d.sync += waited.eq(0)
        with m.Elif(~self.hung):
            m.d.sync += waited.eq(waited + 1)
        for channel in (ar, aw, w):
            with m.If(channel.valid & channel.ready):
                m.d.comb += moved.eq(1)
        for channel, error in ((r, r.payload.resp != 0), (b, b.payload != 0)):
            with m.If(channel.valid & channel.ready):
                m.d.comb += moved.eq(1)
                with m.If(error):
                    m.d.sync += failed.eq(1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [moved.eq(1), crc.start.eq(1)]
                m.d.sync += [
                    address.eq(self.address >> 2), left.eq(self.words), self.index.eq(REQUEST_WORDS),
                    failed.eq(0),
                ]  # fmt: skip
                with m.If(self.start):
                    m.next = "READ_ADDRESS"
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
                    with m.If(left == 1):
                        m.next = "WRITE_ANSWER"
            with m.State("WRITE_NEXT"):  # the frame buffer's latency
                m.next = "WRITE_BEAT"
            with m.State("WRITE_ANSWER"):
                m.d.comb += b.ready.eq(1)
                with m.If(b.valid):
                    m.next = "DONE"
            with m.State("READ_ADDRESS"):
                m.d.comb += ar.valid.eq(1)
                m.d.sync += beats.eq(burst)
                with m.If(ar.ready):
                    m.d.sync += [address.eq(address + burst), left.eq(left - burst)]
                    m.next = "READ_BEAT"
                    with m.If(self.command == Command.CRC):
                        m.next = "CRC_BEAT"
            with m.State("READ_BEAT"):
                m.d.comb += [r.ready.eq(1), self.result_en.eq(r.valid)]
                with m.If(r.valid):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 1):
                        m.next = "READ_ADDRESS"
                        with m.If(left == 0):
                            m.next = "DONE"
            with m.State("CRC_BEAT"):
                m.d.comb += [crc.valid.eq(r.valid), r.ready.eq(byte == 3)]
                with m.If(r.valid):
                    m.d.sync += byte.eq(byte + 1)
                with m.If(r.valid & r.ready):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 1):
                        m.next = "READ_ADDRESS"
                        with m.If(left == 0):
                            m.next = "CRC_RESULT"
            with m.State("CRC_RESULT"):
                m.d.comb += [self.result.eq(crc.crc), self.result_en.eq(1)]
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
