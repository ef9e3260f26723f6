"""ULX3S-85F: a Lattice ECP5 with 32 MB of SDRAM and a USB serial port (Radiona; docs/boards/ulx3s.md)."""

from amaranth.hdl import Elaboratable, IOPort, Module

from hw.machine import MACHINES, MachineConfig

from .board import Board, BoardError, Capacity, Memory, PinnedDesign
from .ecp5 import bidirectional, clocks, find_pll, output_clock, pads
from .flow.constraints import pins_of, platform
from .sdram_refresh import LATE
from .sdram_timing import ULX3S_SDRAM
from .top import UartTop
from .uart import clocks_near

__all__ = ["BAUD", "BOARD", "Ulx3s"]

#: MHz of the oscillator.
_SOURCE = 25.0
#: The chip's clock is late by so much, a twelfth of a cycle early for the next edge: `sdram_slack`.
_SDRAM_DEGREES = 330
#: ns: a pad with what drives it, least and most, out and back; more from a register in the fabric than from
#: the clock's. Estimates from nextpnr's delays of speed grade 6.
_OUT, _BACK, _FABRIC = (2.0, 4.5), (1.0, 2.5), (0.7, 3.0)
#: ns of the chip: access and hold of data (tAC, tOH), set-up and hold of what it takes (tIS, tIH).
_ACCESS, _HOLD, _TAKE_SETUP, _TAKE_HOLD = 5.4, 2.5, 1.5, 1.0
#: ns that a build wants to spare.
_LEAST_SLACK = 0.5
#: Bits a second of the serial port: the USB bridge's (FT231X) highest.
BAUD = 3_000_000
#: Every chip that is mounted; 85F boards have 32 MB.
_SDRAM = ULX3S_SDRAM
#: Ports of the FPGA: resource, number and part in `amaranth_boards`, and bits.
_SDRAM_OUT = {"a": ("a", 13), "ba": ("ba", 2), "cs_n": ("cs", 1), "ras_n": ("ras", 1), "cas_n": ("cas", 1),
              "we_n": ("we", 1), "dqm": ("dqm", 2), "cke": ("clk_en", 1)}  # fmt: skip
_LEDS = 8


def sdram_slack(clock_mhz: float) -> dict[str, float]:
    """ns to spare at the chip's pins and at the registers that take its data, by hand: nextpnr does not know
    of paths outside the device.

    A command that leaves at 0 is taken by the chip at its clock's edge late in the same cycle; READ data come
    with the edge CAS - 1 later, stay for a cycle, and are taken at cycle CAS + 1 (`boards.sdram`).
    """
    period = 1000 / clock_mhz
    early = period * (1 - _SDRAM_DEGREES / 360)
    return {
        "command set-up": period - early + _OUT[0] - _OUT[1] - _FABRIC[1] - _TAKE_SETUP,
        "command hold": early + _FABRIC[0] - _TAKE_HOLD,
        "data set-up": period + early - _OUT[1] - _ACCESS - _BACK[1],
        "data hold": _OUT[0] + _HOLD + _BACK[0] - early,
    }


class Ulx3s(Elaboratable):
    """The FPGA's top: clocks and pads around `boards.top.UartTop`.

    Attributes
    ----------
    ports : dict of str to IOPort
    pll : Pll
    """

    def __init__(self, config: MachineConfig, clock_mhz: float):
        self.config = config
        self.pll = find_pll(_SOURCE, clock_mhz)
        sizes = {"clk25": 1, "rx": 1, "tx": 1, "led": _LEDS, "sdram_clk": 1, "sdram_dq": 16}
        sizes |= {f"sdram_{name}": bits for name, (_, bits) in _SDRAM_OUT.items()}
        self.ports = {name: IOPort(bits, name=name) for name, bits in sizes.items()}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = self.ports
        later = clocks(m, ports["clk25"], _SOURCE, self.pll, _SDRAM_DEGREES)
        m.submodules.board = top = UartTop(self.config, clock_mhz=self.pll.mhz, baud=BAUD, memory=_SDRAM)
        pads(m, "rx", ports["rx"], into=top.rx)
        pads(m, "tx", ports["tx"], out=top.tx)
        pads(m, "led", ports["led"], out=top.leds)
        output_clock(m, "sdram_clk", ports["sdram_clk"], later)
        for name in _SDRAM_OUT:
            pads(m, f"sdram_{name}", ports[f"sdram_{name}"], out=getattr(top.sdram, name))
        bidirectional(m, "sdram_dq", ports["sdram_dq"], top.sdram.dq_o, top.sdram.dq_oe, top.sdram.dq_i)
        return m


def _design(machine: MachineConfig | None, clock_mhz: float) -> PinnedDesign:
    """Pins are those of `amaranth_boards`."""
    if machine is None:
        raise BoardError("board ulx3s: wanted a machine, found none; name one with --machine")
    slack = sdram_slack(clock_mhz)
    if min(slack.values()) < _LEAST_SLACK:
        raise BoardError(
            f"board ulx3s: wanted {_LEAST_SLACK:g} ns to spare at the SDRAM's pins, found "
            f"{min(slack.values()):.1f} ({min(slack, key=lambda name: slack[name])}) at {clock_mhz:g} MHz; "
            "--clock 18 to 80 has it"
        )
    if len(near := clocks_near(find_pll(_SOURCE, clock_mhz).mhz, BAUD)) > 1:
        raise BoardError(
            f"board ulx3s: wanted a clock within 2 % of a multiple of {BAUD / 1e6:g} MHz, for a link of "
            f"{BAUD:,} bits a second, found {clock_mhz:g}; take --clock {near[0]:g} or {near[1]:g}"
        )
    top, found = Ulx3s(machine, clock_mhz), platform("ulx3s", "ULX3S_85F_Platform")
    wanted = {"clk25": ("clk25", 0, ""), "rx": ("uart", 0, "rx"), "tx": ("uart", 0, "tx"),
              "sdram_clk": ("sdram", 0, "clk"), "sdram_dq": ("sdram", 0, "dq")}  # fmt: skip
    wanted |= {f"sdram_{name}": ("sdram", 0, part) for name, (part, _) in _SDRAM_OUT.items()}
    pins = pins_of(found, wanted)
    for n in range(_LEDS):
        pins |= {f"led[{n}]": pins_of(found, {"led": ("led", n, "")})["led"]}
    return PinnedDesign(
        top=top,
        ports={name: (port, None) for name, port in top.ports.items()},
        pins=pins,
        clocks={"clk25": _SOURCE},
        clock_mhz=top.pll.mhz,
        facts={"baud": BAUD, "memory_bytes": _SDRAM.size},
    )


#: MHz (docs/boards/ulx3s.md).
_CLOCK = 60.0
BOARD = Board(
    name="ulx3s",
    title="ULX3S-85F",
    family="ecp5",
    device="LFE5U-85F",
    package="CABGA381",
    speed="6",
    toolchain="nextpnr-ecp5",
    machine=MACHINES["ulx3s"],
    clock_mhz=_CLOCK,
    # Two bytes a clock; a beat of 4 is two of them: every second cycle brings one. `boards.sdram` and two
    # register slices: an open row.
    memory=Memory(
        "sdr", _SDRAM.size, 2e6 * _CLOCK,
        f"latency=17,write_latency=13,turn=8,refresh_every={_SDRAM.clocks('t_refi', _CLOCK) - LATE},"
        f"refresh_cycles={sum(_SDRAM.clocks(name, _CLOCK) for name in ('t_rp', 't_rfc')) + 4},stall_r=512",
    ),
    link="uart",
    capacity=Capacity(lut=83_640, ff=83_640, ram=41_820, block=208, dsp=156),
    page="docs/boards/ulx3s.md",
    programmer="openFPGALoader -b ulx3s {}",
    design=_design,
)  # fmt: skip
