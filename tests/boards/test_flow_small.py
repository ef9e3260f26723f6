"""The small design placed and routed for an ECP5, by the tools themselves."""

import json
import re

import pytest
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Fragment,
    Instance,
    IOPort,
    Module,
    ResetSignal,
    Signal,
)

from boards.board import PinnedDesign, find_board
from boards.ecp5 import pads
from boards.flow.bitstream import TOP, Options, build_bitstream
from boards.flow.constraints import pins_of, platform
from boards.ternary_top import TernaryTop
from hw.shared import SharedModules
from sim.emit import emit
from sim.verilate import cache_directory


class Small(Elaboratable):
    """`TernaryTop` at the ULX3S' oscillator's 25 MHz."""

    def __init__(self):
        self.ports = {name: IOPort(1, name=name) for name in ("clk25", "rx", "tx")}

    def elaborate(self, _: object) -> Module:
        m = Module()
        clock = Signal(name="clk_sync")
        m.domains.sync = ClockDomain("sync")
        m.d.comb += [ClockSignal("sync").eq(clock), ResetSignal("sync").eq(0)]
        m.submodules.clock_pad = Instance("IB", i_I=self.ports["clk25"], o_O=clock)
        m.submodules.unit = top = TernaryTop(clock_mhz=25.0, baud=1_000_000)
        pads(m, "rx", self.ports["rx"], into=top.rx)
        pads(m, "tx", self.ports["tx"], out=top.tx)
        return m


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_small_design_meets_its_clock_on_an_ecp5():
    """Yosys, nextpnr and the packer: under two minutes of CPU the first time, then from the cache."""
    board, small, modules = find_board("ulx3s"), Small(), SharedModules()
    wanted = {"clk25": ("clk25", 0, ""), "rx": ("uart", 0, "rx"), "tx": ("uart", 0, "tx")}
    design = PinnedDesign(
        small, {name: (port, None) for name, port in small.ports.items()},
        pins_of(platform("ulx3s", "ULX3S_85F_Platform"), wanted), {"clk25": 25.0}, 25.0,
    )  # fmt: skip
    verilog = emit(Fragment.get(small, modules), TOP, design.ports, modules)
    build = build_bitstream(
        board, design, verilog, "ternary", Options(25.0, seeds=(1, 2)), cache_directory() / "boards"
    )
    assert build.met and build.fmax_mhz >= 25
    data = build.bitstream.read_bytes()
    assert b"LFE5U-85F" in data[:200] and len(data) > 50_000
    whole, unit = build.components[""], build.components["unit.unit"]
    assert 0 < unit["lut"] < whole["lut"] < 8_000 and whole["block"] >= 4
    # nextpnr's own counts are of the same design: a flip-flop is a flip-flop.
    assert build.placed["TRELLIS_FF"]["used"] == whole["ff"]
    path = build.paths[0]
    assert path["nanoseconds"] == pytest.approx(1000 / build.fmax_mhz, rel=0.02)
    config = (build.bitstream.parent / "design.config").read_text()
    assert re.search(r"^\.device LFE5U-85F$", config, re.MULTILINE)
    report = json.loads((build.bitstream.parent / "report.json").read_text())
    assert report["fmax"]
