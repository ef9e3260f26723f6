"""Memory in the FPGA's block RAM, for models that fit."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.axi4 import MAX_BEATS, ReadPort, WritePort

__all__ = ["OnChipMemory"]


class OnChipMemory(wiring.Component):
    """AXI4 RAM of 4-byte beats: one each cycle, in both directions at once.

    Parameters
    ----------
    size : int
        Bytes, a multiple of 4.

    Members
    -------
    read : ReadPort(4), write : WritePort(4) (from their other sides)
        One burst of each at a time. Addresses beyond the memory are answered with DECERR.
    ready : Out(1)
        Always.

    Latency: address to first beat 2 cycles; last beat of a write to its response 1.
    """

    def __init__(self, size: int):
        if size < 4 or size % 4:
            raise ValueError(f"size: wanted a multiple of 4 bytes, found {size}; round it up")
        self.size = size
        super().__init__({"read": In(ReadPort(4)), "write": In(WritePort(4)), "ready": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self.size // 4
        m.submodules.memory = memory = Memory(shape=32, depth=words, init=[])
        reader, writer = memory.read_port(), memory.write_port(granularity=8)
        m.d.comb += self.ready.eq(1)

        ar, r = self.read.ar, self.read.r
        address, left, valid, last, outside = (
            Signal(range(words)), Signal(range(MAX_BEATS + 1)), Signal(), Signal(), Signal()
        )  # fmt: skip
        issue = Signal()
        m.d.comb += [
            ar.ready.eq((left == 0) & ~valid),
            issue.eq((left != 0) & (~valid | r.ready)),
            reader.addr.eq(address),
            reader.en.eq(issue),
            r.valid.eq(valid),
            r.payload.data.eq(reader.data),
            r.payload.last.eq(last),
            r.payload.resp.eq(outside.replicate(2)),
        ]
        with m.If(ar.ready & ar.valid):
            m.d.sync += [
                address.eq(ar.payload.addr >> 2), left.eq(ar.payload.len + 1),
                outside.eq((ar.payload.addr >> 2) + ar.payload.len >= words),
            ]  # fmt: skip
        with m.If(r.ready):
            m.d.sync += valid.eq(0)
        with m.If(issue):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), valid.eq(1), last.eq(left == 1)]

        aw, w, b = self.write.aw, self.write.w, self.write.b
        target, bad = Signal(range(words)), Signal()
        m.d.comb += [
            writer.addr.eq(target),
            writer.data.eq(w.payload.data),
            b.payload.eq(bad.replicate(2)),
        ]
        with m.FSM():
            with m.State("ADDRESS"):
                m.d.comb += aw.ready.eq(1)
                m.d.sync += [
                    target.eq(aw.payload.addr >> 2),
                    bad.eq((aw.payload.addr >> 2) + aw.payload.len >= words),
                ]
                with m.If(aw.valid):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += w.ready.eq(1)
                with m.If(w.valid):
                    with m.If(~bad):
                        m.d.comb += writer.en.eq(w.payload.strb)
                    m.d.sync += target.eq(target + 1)
                    with m.If(w.payload.last):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += b.valid.eq(1)
                with m.If(b.ready):
                    m.next = "ADDRESS"
        return m
