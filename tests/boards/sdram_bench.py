"""The SDRAM controller with the chip model in Verilator, driven by sdram_traffic.cpp."""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

from boards.sdram import SdramController
from boards.sdram_timing import ULX3S_SDRAM, SdramTiming
from sim.emit import emit_component
from sim.verilate import SOURCES, build_texts

#: Pins and channels under plain names, as the C++ sees them.
TOP = """
module top(input clk, input rst, output ready,
    input [39:0] ar, input ar_valid, output ar_ready, output [34:0] r, output r_valid, input r_ready,
    input [39:0] aw, input aw_valid, output aw_ready, input [36:0] w, input w_valid, output w_ready,
    output [1:0] b, output b_valid, input b_ready,
    output [12:0] a, output [1:0] ba, output cs_n, ras_n, cas_n, we_n, output [1:0] dqm, output cke,
    output [15:0] dq_o, output dq_oe, input [15:0] dq_i);
  dut dut(.clk(clk), .rst(rst), .ready(ready),
    .read__ar__payload(ar), .read__ar__valid(ar_valid), .read__ar__ready(ar_ready),
    .read__r__payload(r), .read__r__valid(r_valid), .read__r__ready(r_ready),
    .write__aw__payload(aw), .write__aw__valid(aw_valid), .write__aw__ready(aw_ready),
    .write__w__payload(w), .write__w__valid(w_valid), .write__w__ready(w_ready),
    .write__b__payload(b), .write__b__valid(b_valid), .write__b__ready(b_ready),
    .pins__a(a), .pins__ba(ba), .pins__cs_n(cs_n), .pins__ras_n(ras_n), .pins__cas_n(cas_n),
    .pins__we_n(we_n), .pins__dqm(dqm), .pins__cke(cke), .pins__dq_o(dq_o), .pins__dq_oe(dq_oe),
    .pins__dq_i(dq_i));
endmodule
"""


def rules(timing: SdramTiming, clock_mhz: float) -> list[str]:
    """Arguments of the chip model: a chip of this timing at this clock."""
    names = ("rows", "columns", "cas_latency", "mode_clocks", "init_refreshes", "t_rcd", "t_rp", "t_ras",
             "t_rc", "t_rrd", "t_wr", "t_rfc", "t_refi", "init_us")  # fmt: skip
    values = dataclasses.asdict(timing)
    return [f"clock_ns={1000 / clock_mhz}", *(f"{name}={values[name]}" for name in names)]


def build(
    clock_mhz: float = 80,
    timing: SdramTiming = ULX3S_SDRAM,
    break_it: Callable[[str], str] = lambda text: text,
) -> Path:
    """The simulator; `break_it` changes the controller's Verilog."""
    texts = {
        "top.sv": TOP,
        "dut.v": break_it(emit_component(SdramController(clock_mhz, timing), "dut")),
        "traffic.cpp": Path(__file__).with_name("sdram_traffic.cpp").read_text(),
        "sdram_chip.h": (SOURCES / "sdram_chip.h").read_text(),
    }
    return build_texts("top", texts, ("-CFLAGS", "-I..", "-CFLAGS", "-O2"))


def traffic(simulator: Path, what: str, *, seed: int, bursts: int, beats: int, stall: int, chip: list[str]):
    """(exit code, printed text)."""
    command = [simulator, what, str(seed), str(bursts), str(beats), str(stall), *chip]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.returncode, done.stdout
