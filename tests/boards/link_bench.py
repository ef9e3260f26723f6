"""The link, the share and the memory of a board's top, with a small register file in place of the overlay."""

from pathlib import Path

from amaranth.hdl import Array, Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.axi_share import AxiShare
from boards.link import Link
from boards.onchip import OnChipMemory
from boards.sdram import SdramController
from boards.sdram_timing import ULX3S_SDRAM, SdramPins, SdramTiming
from sim.board import board_simulator
from sim.emit import emit_component

#: Words of the register file; writing to `COUNT` adds to it: a request that is executed twice shows.
REGISTERS, COUNT = 8, 7


class LinkTop(wiring.Component):
    """As `boards.top.UartTop`, without the machine.

    Block RAM of N bytes says that it has 2 N: what lies beyond N is answered with an error.
    """

    def __init__(self, memory: SdramTiming | int, divisor: int, clock_mhz: float = 80):
        self.memory, self.divisor, self.clock_mhz = memory, divisor, clock_mhz
        self.size = memory.size if isinstance(memory, SdramTiming) else 2 * memory
        pins = {"sdram": Out(SdramPins())} if isinstance(memory, SdramTiming) else {}
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(8), **pins})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        identity = {"machine": 0x12345678, "isa": 0x9ABCDEF0, "memory_bytes": self.size, "clock_khz": 80000}
        m.submodules.link = link = Link(self.divisor, identity)
        share = AxiShare(4)
        m.submodules.share = ResetInserter(link.reset)(share)
        if isinstance(self.memory, SdramTiming):
            memory = SdramController(self.clock_mhz, self.memory)
            connect(m, memory.pins, flipped(self.sdram))
        else:
            memory = OnChipMemory(self.memory)
        m.submodules.memory = ResetInserter(link.reset)(memory)
        connect(m, link.read, share.read[1])
        connect(m, link.write, share.write[1])
        connect(m, share.memory_read, memory.read)
        connect(m, share.memory_write, memory.write)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx), link.ready.eq(memory.ready)]
        m.d.comb += self.leds.eq(Cat(link.heard, link.damaged, link.reset))
        registers = Array(Signal(32, name=f"register{i}") for i in range(REGISTERS))
        port = link.csr
        m.d.sync += port.rdata.eq(registers[port.addr[:3]])
        with m.If(port.write):
            m.d.sync += registers[port.addr[:3]].eq(port.wdata)
            with m.If(port.addr == COUNT):
                m.d.sync += registers[COUNT].eq(registers[COUNT] + port.wdata)
        return m


def build(
    memory: SdramTiming | int = ULX3S_SDRAM,
    divisor: int = 4,
    break_it=lambda text: text,
    clock_mhz: float = 80,
) -> Path:
    """The simulator; `break_it` changes the Verilog."""
    verilog = break_it(emit_component(LinkTop(memory, divisor, clock_mhz), "board"))
    return board_simulator(verilog, isinstance(memory, SdramTiming))
