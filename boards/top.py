"""The machine on a board: overlay, memory, host link; what a board file connects to pins."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.isa import CSR_ADDRESS_BITS, digest
from hw.machine import MachineConfig
from hw.overlay import Overlay

from .axi_share import AxiShare
from .axi_slice import AxiSlice
from .link import Link
from .onchip import OnChipMemory
from .sdram import SdramController
from .sdram_timing import SdramPins, SdramTiming
from .uart import divisor_of

__all__ = ["LEDS", "UartTop"]

#: What each LED says, LED 0 first.
LEDS = (
    "alive",
    "running",
    "link",
    "memory ready",
    "interrupt",
    "damaged frame",
    "machine reset",
    "memory error",
)
#: Seconds that a pulse stays visible.
_SHOWN = 0.1


class UartTop(wiring.Component):
    """Everything of a board with a UART, in one clock domain ``sync`` that the board makes.

    Parameters
    ----------
    config : MachineConfig
        Its bus is 4 bytes, one port.
    clock_mhz : float
        Of ``sync``.
    baud : int
        Of the UART, within 2 % of the clock divided by a number of 4 or more.
    memory : SdramTiming or int
        An SDRAM chip on `sdram`; or bytes of block RAM.

    Members
    -------
    rx, tx : In(1), Out(1)
        UART, from and to the host.
    sdram : SdramPins
        Only with an SDRAM.
    leds : Out(8)
        `LEDS`; 1: on.

    A reset of ``sync`` resets all but the SDRAM's power-up wait; command RESET of the link resets machine and
    memory controller (domain ``machine``), not the link.
    """

    def __init__(self, config: MachineConfig, *, clock_mhz: float, baud: int, memory: SdramTiming | int):
        for field, wanted in (("bus_bytes", 4), ("ports", 1)):
            if getattr(config, field) != wanted:
                raise ValueError(
                    f"machine {config.name!r}: wanted {field} {wanted} for a board with a UART, found "
                    f"{getattr(config, field)}; compile for another machine"
                )
        self.config, self.clock_mhz, self.memory = config, clock_mhz, memory
        self.divisor = divisor_of(clock_mhz, baud)
        pins = {"sdram": Out(SdramPins())} if isinstance(memory, SdramTiming) else {}
        super().__init__(
            {
                "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]  Member takes it
                "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
                "leds": Out(len(LEDS)),
                **pins,
            }
        )

    @property
    def memory_bytes(self) -> int:
        """Size of the memory."""
        return self.memory.size if isinstance(self.memory, SdramTiming) else self.memory

    def identity(self) -> dict[str, int]:
        """What HELLO says of this top (`boards.link_protocol.HELLO_WORDS`)."""
        return {
            "machine": int(self.config.digest()[:8], 16),
            "isa": int(digest()[:8], 16),
            "memory_bytes": self.memory_bytes,
            "clock_khz": round(1000 * self.clock_mhz),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = Link(self.divisor, self.identity())
        # The machine's reset goes everywhere: from a register of its own, a cycle late.
        m.domains.machine = machine = ClockDomain()
        reset = Signal(reset_less=True, init=1)
        m.d.sync += reset.eq(ResetSignal() | link.reset)
        m.d.comb += [
            machine.clk.eq(ClockSignal()),
            machine.rst.eq(reset),
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
        ]
        inside = DomainRenamer("machine")
        overlay, share, between = Overlay(self.config), AxiShare(4), AxiSlice(4)
        m.submodules.overlay, m.submodules.share = inside(overlay), inside(share)
        m.submodules.between = inside(between)
        if isinstance(self.memory, SdramTiming):
            memory = SdramController(self.clock_mhz, self.memory)
            connect(m, memory.pins, flipped(self.sdram))
        else:
            memory = OnChipMemory(self.memory)
        m.submodules.memory = inside(memory)

        # Link and registers lie apart: what is asked for is a register between them.
        asked = Signal(StructLayout({"addr": CSR_ADDRESS_BITS, "write": 1, "wdata": 32}))
        for name in ("addr", "write", "wdata"):
            m.d.sync += asked[name].eq(getattr(link.csr, name))
            m.d.comb += getattr(overlay.csr, name).eq(asked[name])
        m.d.comb += link.csr.rdata.eq(overlay.csr.rdata)
        for channel in ("ar", "r"):  # one port of `ReadPorts`
            many, one = getattr(overlay.read, channel), getattr(between.read, channel)
            to, back = (one, many) if channel == "ar" else (many, one)
            m.d.comb += [
                Value.cast(to.payload).eq(back.payload), to.valid.eq(back.valid), back.ready.eq(to.ready),
            ]  # fmt: skip
        connect(m, overlay.write, between.write)
        connect(m, between.memory_read, share.read[0])
        connect(m, between.memory_write, share.write[0])
        connect(m, link.read, share.read[1])
        connect(m, link.write, share.write[1])
        connect(m, share.memory_read, memory.read)
        connect(m, share.memory_write, memory.write)
        m.d.comb += link.ready.eq(memory.ready)

        # LEDs: the first blinks about once a second; pulses stay.
        blink = Signal(max(2, int(self.clock_mhz * 1e6 / 2).bit_length()))
        m.d.sync += blink.eq(blink + 1)
        busy = between.memory_read.ar.valid | between.memory_write.aw.valid
        failed = Signal()
        r, b = share.memory_read.r, share.memory_write.b
        with m.If((r.valid & (r.payload.resp != 0)) | (b.valid & (b.payload != 0))):
            m.d.sync += failed.eq(1)
        with m.If(link.reset):
            m.d.sync += failed.eq(0)
        pulses = {"machine": busy, "heard": link.heard, "damage": link.damaged, "reset": link.reset}
        shown = [self._shown(m, name, pulse) for name, pulse in pulses.items()]
        m.d.comb += self.leds.eq(
            Cat(blink[-1], shown[0], shown[1], memory.ready, overlay.irq, shown[2], shown[3], failed)
        )
        return m

    def _shown(self, m: Module, name: str, pulse: Value) -> Value:
        """A pulse made long enough to see."""
        most = max(1, int(self.clock_mhz * 1e6 * _SHOWN))
        left = Signal(range(most + 1), name=f"shown_{name}")
        with m.If(pulse):
            m.d.sync += left.eq(most)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return left != 0
