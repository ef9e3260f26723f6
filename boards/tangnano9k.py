"""Sipeed Tang Nano 9K: a Gowin GW1NR-9 with a USB serial port (docs/boards/tangnano9k.md).

No overlay fits; the board takes the small design of `boards.ternary_top`.
"""

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, IOPort, Module, ResetSignal, Signal

from hw.machine import MachineConfig

from .board import Board, BoardError, Capacity, Memory, PinnedDesign
from .flow.constraints import pins_of, platform
from .ternary_top import TernaryTop

__all__ = ["BAUD", "BOARD", "TangNano9k"]

#: MHz of the oscillator, which is the design's clock.
_SOURCE = 27.0
BAUD = 1_000_000
#: LEDs of the top; the board's light when low.
_LEDS = 4


class TangNano9k(Elaboratable):
    """The FPGA's top: pads around `TernaryTop`. Registers start as configured; there is no reset.

    Attributes
    ----------
    ports : dict of str to IOPort
    """

    def __init__(self):
        sizes = {"clk27": 1, "rx": 1, "tx": 1, "led": _LEDS}
        self.ports = {name: IOPort(bits, name=name) for name, bits in sizes.items()}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock = Signal(name="clk_sync")
        m.domains.sync = ClockDomain("sync")
        m.d.comb += [ClockSignal("sync").eq(clock), ResetSignal("sync").eq(0)]
        m.submodules.board = top = TernaryTop(clock_mhz=_SOURCE, baud=BAUD)
        m.submodules.clock_pad = Instance("IBUF", i_I=self.ports["clk27"], o_O=clock)
        m.submodules.rx_pad = Instance("IBUF", i_I=self.ports["rx"], o_O=top.rx)
        m.submodules.tx_pad = Instance("OBUF", i_I=top.tx, o_O=self.ports["tx"])
        for n in range(_LEDS):
            m.submodules[f"led{n}"] = Instance("OBUF", i_I=~top.leds[n], o_O=self.ports["led"][n])
        return m


def _design(machine: MachineConfig | None, clock_mhz: float) -> PinnedDesign:
    """Pins are those of `amaranth_boards`."""
    if clock_mhz != _SOURCE:
        raise BoardError(
            f"board tangnano9k: wanted --clock {_SOURCE:g}, the oscillator's, found "
            f"{clock_mhz:g}; leave it out"
        )
    top, found = TangNano9k(), platform("tang_nano_9k", "TangNano9kPlatform")
    pins = pins_of(found, {"clk27": ("clk27", 0, ""), "rx": ("uart", 0, "rx"), "tx": ("uart", 0, "tx")})
    for n in range(_LEDS):
        pins[f"led[{n}]"] = pins_of(found, {"led": ("led", n, "")})["led"]
    return PinnedDesign(
        top=top,
        ports={name: (port, None) for name, port in top.ports.items()},
        pins=pins,
        clocks={"clk27": _SOURCE},
        clock_mhz=_SOURCE,
        facts={"baud": BAUD},
    )


BOARD = Board(
    name="tangnano9k",
    title="Tang Nano 9K",
    family="gowin",
    device="GW1NR-LV9QN88PC6/I5",
    package="GW1N-9C",
    speed="C6/I5",
    toolchain="nextpnr-gowin",
    machine=None,
    clock_mhz=_SOURCE,
    memory=Memory("on-chip", 6_144, 4 * 1e6 * _SOURCE),
    link="uart",
    capacity=Capacity(lut=8_640, ff=6_480, ram=4_320, block=26, dsp=20),
    page="docs/boards/tangnano9k.md",
    programmer="openFPGALoader -b tangnano9k {}",
    design=_design,
)
