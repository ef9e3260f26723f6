"""The machine beside a LiteDRAM core: UART link, overlay, and the core's AXI4 and control ports.

The core makes the clock of everything here (`user_clk`), and its DDR3 must be set up from outside: it has no
processor. The host does that through `WishboneMailbox`.
"""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.isa import CSR_ADDRESS_BITS, digest
from hw.machine import MachineConfig
from hw.overlay import Overlay

from ..axi_share import AxiShare
from ..link import Link
from ..uart import divisor_of
from .wishbone import WishboneMailbox, WishbonePort

__all__ = ["DATA_BYTES", "MAILBOX", "LiteDramTop"]

#: Width of the memory port: what the link and machines for boards with a UART have.
DATA_BYTES = 4
#: First word index of the mailbox: the upper half of the register space.
MAILBOX = 1 << CSR_ADDRESS_BITS - 1
_INCR = 0b01


class LiteDramTop(wiring.Component):
    """What stands between the pins of a UART and a LiteDRAM core, in the core's clock domain.

    Parameters
    ----------
    machine : MachineConfig
        Its bus is 4 bytes, one port.
    clock_mhz : float
        Of ``sync``.
    baud : int
        Of the UART.
    memory_bytes : int
        Size of the memory.

    Members
    -------
    rx, tx : In(1), Out(1)
        UART, from and to the host.
    init_done, init_error : In(1)
        Of the core.
    wb_ctrl : WishbonePort
        The core's registers.
    memory_<pin> : the core's AXI4 port; address_bits of them in an address.
    leds : Out(4)
        Alive, memory ready, interrupt, memory not set up.
    """

    def __init__(self, machine: MachineConfig, *, clock_mhz: float, baud: int, memory_bytes: int):
        if (machine.bus_bytes, machine.ports) != (DATA_BYTES, 1):
            raise ValueError(
                f"machine {machine.name!r}: wanted a bus of {DATA_BYTES} bytes and one port, found "
                f"{machine.bus_bytes} and {machine.ports}; take another machine"
            )
        self.machine, self.clock_mhz, self.memory_bytes = machine, clock_mhz, memory_bytes
        self.divisor = divisor_of(clock_mhz, baud)
        self.address_bits = (memory_bytes - 1).bit_length()
        address = {"addr": self.address_bits, "burst": 2, "len": 8, "size": 4, "id": 1, "valid": 1}
        out = {
            **{f"{way}{name}": bits for way in ("aw", "ar") for name, bits in address.items()},
            "wdata": 32, "wstrb": 4, "wlast": 1, "wvalid": 1, "bready": 1, "rready": 1,
        }  # fmt: skip
        back = {
            "awready": 1, "arready": 1, "wready": 1, "bvalid": 1, "bresp": 2, "bid": 1, "rvalid": 1,
            "rlast": 1, "rresp": 2, "rdata": 32, "rid": 1,
        }  # fmt: skip
        super().__init__(
            {
                "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]  Member takes it
                "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
                "leds": Out(4),
                "init_done": In(1),
                "init_error": In(1),
                "wb_ctrl": Out(WishbonePort()),
                **{f"memory_{name}": Out(bits) for name, bits in out.items()},
                **{f"memory_{name}": In(bits) for name, bits in back.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        identity = {
            "machine": int(self.machine.digest()[:8], 16),
            "isa": int(digest()[:8], 16),
            "memory_bytes": self.memory_bytes,
            "clock_khz": round(1000 * self.clock_mhz),
        }
        m.submodules.link = link = Link(self.divisor, identity)
        m.domains.machine = machine = ClockDomain()
        m.d.comb += [
            machine.clk.eq(ClockSignal()),
            machine.rst.eq(ResetSignal() | link.reset),
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            # The link speaks before the memory does: the host sets that up.
            link.ready.eq(1),
        ]
        inside = DomainRenamer("machine")
        overlay, share = Overlay(self.machine), AxiShare(DATA_BYTES)
        m.submodules.overlay, m.submodules.share = inside(overlay), inside(share)

        # Registers: the machine's, and the mailbox above them.
        m.submodules.mailbox = mailbox = WishboneMailbox()
        connect(m, mailbox.bus, wiring.flipped(self.wb_ctrl))
        above, was_above = link.csr.addr[-1], Signal()
        m.d.sync += was_above.eq(above)
        for port in (overlay.csr, mailbox.csr):
            m.d.comb += [port.addr.eq(link.csr.addr), port.wdata.eq(link.csr.wdata)]
        m.d.comb += [
            overlay.csr.write.eq(link.csr.write & ~above),
            mailbox.csr.write.eq(link.csr.write & above),
            link.csr.rdata.eq(Mux(was_above, mailbox.csr.rdata, overlay.csr.rdata)),
        ]

        # Memory: the machine and the link share the core's port.
        for channel in ("ar", "r"):  # one port of `ReadPorts`
            many, one = getattr(overlay.read, channel), getattr(share.read[0], channel)
            to, back = (one, many) if channel == "ar" else (many, one)
            m.d.comb += [
                Value.cast(to.payload).eq(back.payload), to.valid.eq(back.valid), back.ready.eq(to.ready),
            ]  # fmt: skip
        connect(m, overlay.write, share.write[0])
        connect(m, link.read, share.read[1])
        connect(m, link.write, share.write[1])
        for way, channel in (("ar", share.memory_read.ar), ("aw", share.memory_write.aw)):
            m.d.comb += [
                getattr(self, f"memory_{way}addr").eq(channel.payload.addr),
                getattr(self, f"memory_{way}len").eq(channel.payload.len),
                getattr(self, f"memory_{way}size").eq((DATA_BYTES - 1).bit_length()),
                getattr(self, f"memory_{way}burst").eq(_INCR),
                getattr(self, f"memory_{way}valid").eq(channel.valid),
                channel.ready.eq(getattr(self, f"memory_{way}ready")),
            ]
        r, w, b = share.memory_read.r, share.memory_write.w, share.memory_write.b
        m.d.comb += [
            r.payload.data.eq(self.memory_rdata), r.payload.resp.eq(self.memory_rresp),
            r.payload.last.eq(self.memory_rlast), r.valid.eq(self.memory_rvalid),
            self.memory_rready.eq(r.ready),
            self.memory_wdata.eq(w.payload.data), self.memory_wstrb.eq(w.payload.strb),
            self.memory_wlast.eq(w.payload.last), self.memory_wvalid.eq(w.valid),
            w.ready.eq(self.memory_wready),
            b.payload.eq(self.memory_bresp), b.valid.eq(self.memory_bvalid),
            self.memory_bready.eq(b.ready),
        ]  # fmt: skip

        blink = Signal(max(2, int(self.clock_mhz * 1e6 / 2).bit_length()))
        m.d.sync += blink.eq(blink + 1)
        m.d.comb += self.leds.eq(
            Cat(blink[-1], self.init_done & ~self.init_error, overlay.irq, ~self.init_done)
        )
        return m
