"""Yosys (pyosys): from a component to a netlist of a family's cells, and how many of each.

A family is a key of `hw.packing.FAMILIES`: "xcup" (UltraScale+, `synth_xilinx`) or "ecp5" (`synth_ecp5`).
Figures are of synthesis alone: nothing is placed.
"""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["DSPS", "Netlist", "synthesise", "yosys"]

_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
_SYNTHESIS = {
    "xcup": "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -nowidelut -top top",
    "ecp5": "synth_lattice -family ecp5 -nowidelut -top top",
}
#: The cell of a DSP block, by family.
DSPS = {"xcup": "DSP48E2", "ecp5": "MULT18X18D"}
#: Look-up tables of four inputs (ECP5) in a cell; a carry cell is made of two.
_ECP5_LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}


@dataclass(frozen=True)
class Netlist:
    """A design in cells of a family: Verilog, and how many cells of each kind."""

    family: str
    verilog: str
    cells: dict[str, int]

    @property
    def dsps(self) -> int:
        """DSP blocks."""
        return self.cells.get(DSPS[self.family], 0)

    @property
    def luts(self) -> int:
        """Look-up tables: of six inputs at most (xcup), of four (ecp5, a carry cell being two of them)."""
        if self.family == "ecp5":
            return sum(count * _ECP5_LUTS.get(cell, 0) for cell, count in self.cells.items())
        return sum(
            count for cell, count in self.cells.items() if re.fullmatch(r"LUT\d|SRL\w+|RAM\d+\w+", cell)
        )

    @property
    def registers(self) -> int:
        """Flip-flops."""
        return sum(
            count for cell, count in self.cells.items() if re.fullmatch(r"FD[RSCP]E(_1)?|TRELLIS_FF", cell)
        )


def yosys(script: str, folder: Path) -> str:
    """Runs a script, in a process of its own (Yosys ends it at an error); what it printed."""
    path = folder / "script.ys"
    path.write_text(script)
    done = subprocess.run([sys.executable, "-c", _YOSYS, path], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"Yosys failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def synthesise(component: wiring.Component, family: str, dsp: bool = True) -> Netlist:
    """The netlist of a component, if ``dsp`` is false without DSP blocks; ValueError: unknown family."""
    if family not in _SYNTHESIS:
        raise ValueError(f"family must be {' or '.join(_SYNTHESIS)}, not {family!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = verilog.convert(component)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "top.v").write_text(text)
        yosys(
            # Yosys 0.70 meets an assertion of its own with some of Amaranth's names of wires.
            f"read_verilog {folder}/top.v\nrename -hide w:*\n{_SYNTHESIS[family]}{'' if dsp else ' -nodsp'}\n"
            f"write_verilog -noattr {folder}/netlist.v\ntee -q -o {folder}/stat.json stat -json\n",
            folder,
        )
        counts = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        return Netlist(family, (folder / "netlist.v").read_text(), counts)
