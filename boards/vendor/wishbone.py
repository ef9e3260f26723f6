"""A Wishbone bus behind four registers, for a host that reaches nothing else."""

import time
from collections.abc import Callable

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.csr import CsrPort
from hw.isa import CSR_ADDRESS_BITS

__all__ = ["ADDRESS", "DATA", "READ", "STATUS", "WORDS", "WishboneMailbox", "WishbonePort", "registers_by"]

#: Registers, by word index modulo `WORDS`.
ADDRESS, DATA, READ, STATUS = range(4)
WORDS = 4
#: Seconds after which an access counts as lost; it takes microseconds.
PATIENCE = 10.0
#: Bits of STATUS.
BUSY, FAILED = 1 << 0, 1 << 1


class WishbonePort(wiring.Signature):
    """Classic Wishbone B4 with 32 bits of data and word addresses, seen from the manager."""

    def __init__(self):
        super().__init__(
            {
                "adr": Out(30),
                "dat_w": Out(32),
                "dat_r": In(32),
                "sel": Out(4),
                "cyc": Out(1),
                "stb": Out(1),
                "we": Out(1),
                "ack": In(1),
                "err": In(1),
            }
        )


class WishboneMailbox(wiring.Component):
    """One access at a time.

    A write of ADDRESS sets the byte address. A write of DATA writes that word; a write of READ reads it, and
    DATA then shows what came. STATUS: bit 0, the access is under way; bit 1, one has failed since the last
    write of ADDRESS. What is written while an access is under way is lost: look at STATUS first.

    Members
    -------
    csr : CsrPort (from its other side); the lowest bits of its index choose a register
    bus : WishbonePort
    """

    def __init__(self):
        super().__init__({"csr": In(CsrPort()), "bus": Out(WishbonePort())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        csr, bus = self.csr, self.bus
        address, data, failed = Signal(32), Signal(32), Signal()
        m.d.comb += [bus.adr.eq(address[2:]), bus.sel.eq(0b1111), bus.stb.eq(bus.cyc), bus.dat_w.eq(data)]
        with m.If(bus.cyc):
            with m.If(bus.ack | bus.err):
                m.d.sync += [bus.cyc.eq(0), failed.eq(failed | bus.err)]
                with m.If(~bus.we):
                    m.d.sync += data.eq(bus.dat_r)
        with m.Elif(csr.write):
            with m.Switch(csr.addr[:2]):
                with m.Case(ADDRESS):
                    m.d.sync += [address.eq(csr.wdata), failed.eq(0)]
                with m.Case(DATA):
                    m.d.sync += [data.eq(csr.wdata), bus.we.eq(1), bus.cyc.eq(1)]
                with m.Case(READ):
                    m.d.sync += [bus.we.eq(0), bus.cyc.eq(1)]
        with m.Switch(csr.addr[:2]):
            with m.Case(ADDRESS):
                m.d.sync += csr.rdata.eq(address)
            with m.Case(DATA):
                m.d.sync += csr.rdata.eq(data)
            with m.Default():
                m.d.sync += csr.rdata.eq(bus.cyc | failed << 1)
        return m


def registers_by(
    csr: Callable[[list[tuple[int, int | None]]], list[int]], first: int = 1 << CSR_ADDRESS_BITS - 1,
    patience: float = PATIENCE,
) -> tuple[Callable[[int], int], Callable[[int, int], None]]:  # fmt: skip
    """Read and write of the bus by byte address, through the mailbox from word index ``first`` on.

    ``csr`` does register accesses in order, (index, value) a write, (index, None) a read, and returns what
    was read (`boards.host.BoardHost.csr`). OSError where the bus answers with an error; TimeoutError, which
    is one, where an access is not over after ``patience`` seconds.
    """

    def finish(accesses: list[tuple[int, int | None]]) -> None:
        status = csr([*accesses, (first + STATUS, None)])[-1]
        end = time.monotonic() + patience
        while status & BUSY:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"the bus behind the mailbox: wanted an answer to {accesses} within {patience:g} s, "
                    "found none; reset the board, and see that the core's clock runs"
                )
            status = csr([(first + STATUS, None)])[-1]
        if status & FAILED:
            raise OSError(f"the bus behind the mailbox answered {accesses} with an error")

    def read(address: int) -> int:
        finish([(first + ADDRESS, address), (first + READ, 0)])
        return csr([(first + DATA, None)])[-1]

    def write(address: int, value: int) -> None:
        finish([(first + ADDRESS, address), (first + DATA, value)])

    return read, write
