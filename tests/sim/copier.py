"""The smallest machine with the overlay's ports: copies a region of DRAM on a doorbell, then interrupts."""

import enum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.axi4 import ReadPort, WritePort

#: CSR word addresses.
SOURCE, TARGET, BEATS, FAULT, SCRATCH, DOORBELL, ACKNOWLEDGE = range(7)


class Fault(enum.IntEnum):
    """What the copier gets wrong, on purpose; the value goes into the `FAULT` CSR."""

    NONE = 0
    AR_UNALIGNED = 1
    AR_BOUNDARY = 2
    AR_WITHDRAWN = 3
    AR_UNSTABLE = 4
    AW_UNALIGNED = 5
    AW_BOUNDARY = 6
    AW_WITHDRAWN = 7
    AW_UNSTABLE = 8
    W_EARLY_LAST = 9
    W_NO_LAST = 10
    W_WITHDRAWN = 11
    W_UNSTABLE = 12
    #: Interrupts when the last beat is sent, not when the last write is answered.
    EARLY_INTERRUPT = 13
    #: Never interrupts.
    HANG = 14


class Copier(wiring.Component):
    """Copies `BEATS` beats from byte address `SOURCE` to `TARGET` in bursts of `burst_beats`.

    Regions are aligned to a burst, and a burst to its length, so none crosses a 4 KiB boundary.

    Members
    -------
    read, write : AXI4 manager ports.
    csr : ``addr`` (12-bit word index), ``write``, ``wdata``; ``rdata`` is valid in the next cycle. Reading
        `DOORBELL` gives the write bursts answered.
    irq : high from completion until a write to `ACKNOWLEDGE`.
    """

    def __init__(self, bus_bytes: int, burst_beats: int = 16):
        self.bus_bytes = bus_bytes
        self.burst_beats = burst_beats
        csr = wiring.Signature({"addr": Out(12), "write": Out(1), "wdata": Out(32), "rdata": In(32)})
        super().__init__(
            {
                "read": Out(ReadPort(bus_bytes)),
                "write": Out(WritePort(bus_bytes)),
                "csr": In(csr),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        read, write, csr = self.read, self.write, self.csr
        depth = 4 * self.burst_beats
        burst_bytes = self.burst_beats * self.bus_bytes
        m.submodules.data = data = fifo.SyncFIFOBuffered(width=8 * self.bus_bytes, depth=depth)

        registers = {name: Signal(32, name=f"csr{name}") for name in (SOURCE, TARGET, BEATS, FAULT, SCRATCH)}
        asked, addressed, answered, sent = Signal(32), Signal(32), Signal(32), Signal(32)
        running, toggle = Signal(), Signal()
        m.d.sync += toggle.eq(~toggle)

        with m.Switch(csr.addr):
            for name, register in registers.items():
                with m.Case(name):
                    m.d.sync += csr.rdata.eq(register)
                    with m.If(csr.write):
                        m.d.sync += register.eq(csr.wdata)
            with m.Case(DOORBELL):
                m.d.sync += csr.rdata.eq(answered)
                with m.If(csr.write):
                    m.d.sync += running.eq(1)
                    m.d.sync += [count.eq(0) for count in (asked, addressed, answered, sent)]
            with m.Case(ACKNOWLEDGE), m.If(csr.write):
                m.d.sync += self.irq.eq(0)

        def fault(which: Fault):
            return registers[FAULT] == which

        def skew(unaligned: Fault, boundary: Fault, unstable: Fault):
            far = Mux(fault(boundary), 4096 - self.bus_bytes, 0)
            return far + fault(unaligned) + Mux(fault(unstable) & toggle, burst_bytes, 0)

        # Reads: no more bursts than the FIFO has room for.
        bursts = registers[BEATS] // self.burst_beats
        room = asked * self.burst_beats + self.burst_beats <= sent + depth
        m.d.comb += [
            read.ar.payload.addr.eq(
                registers[SOURCE] + asked * burst_bytes
                + skew(Fault.AR_UNALIGNED, Fault.AR_BOUNDARY, Fault.AR_UNSTABLE)
            ),
            read.ar.payload.len.eq(self.burst_beats - 1),
            read.ar.valid.eq(running & (asked < bursts) & room & ~(fault(Fault.AR_WITHDRAWN) & toggle)),
            data.w_data.eq(read.r.payload.data),
            data.w_en.eq(read.r.valid),
            read.r.ready.eq(data.w_rdy),
        ]  # fmt: skip
        with m.If(read.ar.valid & read.ar.ready):
            m.d.sync += asked.eq(asked + 1)

        # Writes: the address goes ahead of its data.
        beat = sent % self.burst_beats
        last = Mux(fault(Fault.W_EARLY_LAST), beat == self.burst_beats - 2, beat == self.burst_beats - 1)
        m.d.comb += [
            write.aw.payload.addr.eq(
                registers[TARGET] + addressed * burst_bytes
                + skew(Fault.AW_UNALIGNED, Fault.AW_BOUNDARY, Fault.AW_UNSTABLE)
            ),
            write.aw.payload.len.eq(self.burst_beats - 1),
            write.aw.valid.eq(running & (addressed < bursts) & ~(fault(Fault.AW_WITHDRAWN) & toggle)),
            write.w.payload.data.eq(data.r_data ^ (fault(Fault.W_UNSTABLE) & toggle)),
            write.w.payload.strb.eq(~0),
            write.w.payload.last.eq(last & ~fault(Fault.W_NO_LAST)),
            write.w.valid.eq(data.r_rdy & ~(fault(Fault.W_WITHDRAWN) & toggle)),
            data.r_en.eq(write.w.valid & write.w.ready),
            write.b.ready.eq(1),
        ]  # fmt: skip
        with m.If(write.aw.valid & write.aw.ready):
            m.d.sync += addressed.eq(addressed + 1)
        with m.If(write.w.valid & write.w.ready):
            m.d.sync += sent.eq(sent + 1)
        with m.If(write.b.valid & write.b.ready):
            m.d.sync += answered.eq(answered + 1)

        finished = Mux(fault(Fault.EARLY_INTERRUPT), sent == registers[BEATS], answered == bursts)
        with m.If(running & finished & ~fault(Fault.HANG)):
            m.d.sync += [running.eq(0), self.irq.eq(1)]
        return m


def copy(beats: int, source: int, target: int, fault: Fault = Fault.NONE) -> list[tuple[int, int]]:
    """CSR writes of one copy; the last one starts it."""
    where = [(SOURCE, source), (TARGET, target), (BEATS, beats)]
    return [(ACKNOWLEDGE, 1), *where, (FAULT, fault), (DOORBELL, 1)]
