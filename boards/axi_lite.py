"""AXI4-Lite subordinate in front of the overlay's registers (ARM IHI 0022, chapter B1)."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiLitePort", "AxiLiteRegisters", "RegisterPort"]

#: Responses (A3.4.4).
OKAY, SLVERR = 0, 2
#: Every byte of a word is written.
_WHOLE = 0b1111


class AxiLitePort(wiring.Signature):
    """All five channels with 32 bits of data, seen from the manager.

    Members: aw, ar: payload addr (byte address) and prot; w: data, strb; b: response; r: data, resp.
    """

    def __init__(self, address_bits: int):
        address = data.StructLayout({"addr": address_bits, "prot": 3})
        super().__init__(
            {
                "aw": Out(stream.Signature(address)),
                "w": Out(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
                "b": In(stream.Signature(2)),
                "ar": Out(stream.Signature(address)),
                "r": In(stream.Signature(data.StructLayout({"data": 32, "resp": 2}))),
            }
        )


class RegisterPort(wiring.Signature):
    """32-bit words by word index, as `hw.csr.CsrPort` with an index of any width (seen from the host).

    Members: addr Out(index_bits); write Out(1); wdata Out(32); rdata In(32), one cycle after addr.
    """

    def __init__(self, index_bits: int):
        super().__init__({"addr": Out(index_bits), "write": Out(1), "wdata": Out(32), "rdata": In(32)})


class AxiLiteRegisters(wiring.Component):
    """One read and one write at a time, in turn when both wait.

    A write takes effect once, in the cycle in which its address and its data have both been taken, in
    whichever order they came; its response follows in the next cycle. A read's data are offered two cycles
    after its turn. No output depends on an input of the same cycle (A3.2.1), and valid stands until ready.

    Writes of less than a whole word, and accesses of words that are not there, are answered with SLVERR and
    do nothing (reads: zero). The low two bits of an address are ignored, as is `prot`.

    Parameters
    ----------
    address_bits : int
        Of the byte address.
    words : int
        Registers, from address 0.

    Members
    -------
    bus : AxiLitePort(address_bits) (from its other side)
    registers : RegisterPort(address_bits - 2)
    """

    def __init__(self, address_bits: int, words: int):
        if not 0 < words <= 1 << address_bits - 2:
            raise ValueError(f"words must be 1 to {1 << address_bits - 2}, found {words}")
        self.words, self.index_bits = words, address_bits - 2
        super().__init__(
            {"bus": In(AxiLitePort(address_bits)), "registers": Out(RegisterPort(address_bits - 2))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, registers = self.bus, self.registers
        write_index, read_index = Signal(self.index_bits), Signal(self.index_bits)
        word, strobes = Signal(32), Signal(4)
        addressed, filled, asked = Signal(), Signal(), Signal()

        # Each request waits in a register of its channel.
        m.d.comb += [bus.aw.ready.eq(~addressed), bus.w.ready.eq(~filled), bus.ar.ready.eq(~asked)]
        with m.If(bus.aw.valid & bus.aw.ready):
            m.d.sync += [write_index.eq(bus.aw.payload.addr[2:]), addressed.eq(1)]
        with m.If(bus.w.valid & bus.w.ready):
            m.d.sync += [word.eq(bus.w.payload.data), strobes.eq(bus.w.payload.strb), filled.eq(1)]
        with m.If(bus.ar.valid & bus.ar.ready):
            m.d.sync += [read_index.eq(bus.ar.payload.addr[2:]), asked.eq(1)]

        # Turns: what went last gives way.
        can_write, can_read, wrote, reading = Signal(), Signal(), Signal(), Signal()
        write, read = Signal(), Signal()
        m.d.comb += [
            can_write.eq(addressed & filled & ~bus.b.valid),
            can_read.eq(asked & ~reading & ~bus.r.valid),
            write.eq(can_write & ~(can_read & wrote)),
            read.eq(can_read & ~write),
        ]
        with m.If(write | read):
            m.d.sync += wrote.eq(write)

        # Write, and its response.
        writable = (write_index < self.words) & (strobes == _WHOLE)
        m.d.comb += [
            registers.addr.eq(read_index),
            registers.wdata.eq(word),
            registers.write.eq(write & writable),
        ]
        with m.If(write):
            m.d.comb += registers.addr.eq(write_index)
            m.d.sync += [addressed.eq(0), filled.eq(0)]
            m.d.sync += [bus.b.valid.eq(1), bus.b.payload.eq(SLVERR)]
            with m.If(writable):
                m.d.sync += bus.b.payload.eq(OKAY)
        with m.If(bus.b.valid & bus.b.ready):
            m.d.sync += bus.b.valid.eq(0)

        # Read: the word is there in the cycle after its index.
        m.d.sync += reading.eq(read)
        with m.If(reading):
            m.d.sync += [
                asked.eq(0), bus.r.valid.eq(1), bus.r.payload.data.eq(0), bus.r.payload.resp.eq(SLVERR),
            ]  # fmt: skip
            with m.If(read_index < self.words):
                m.d.sync += [bus.r.payload.data.eq(registers.rdata), bus.r.payload.resp.eq(OKAY)]
        with m.If(bus.r.valid & bus.r.ready):
            m.d.sync += bus.r.valid.eq(0)
        return m
