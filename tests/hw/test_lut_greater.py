"""LutGreater: its cells proved equal to the comparison with Yosys's cell models."""

import subprocess
import sys
from pathlib import Path

import pytest

from hw.lut_greater import LutGreater
from sim.emit import emit_component

from .test_lut_mux import YOSYS


def proved(directory: Path, width: int, change: tuple[str, str] = ("", "")) -> bool:
    """Whether Yosys proves the cells equal to plain Verilog; ``change`` is made to the cells' form."""
    text = emit_component(LutGreater(width), "gate", primitives=True)
    assert change[0] in text and "CARRY8" in text
    (directory / "gate.v").write_text(text.replace(*change) if change[0] else text)
    ports = f"input [{width - 1}:0] a, input [{width - 1}:0] b, output o"
    (directory / "gold.v").write_text(f"module gold({ports});\n  assign o = a > b;\nendmodule\n")
    (directory / "run.ys").write_text(
        f"read_verilog {directory}/gate.v\nread_verilog +/xilinx/cells_sim.v\nhierarchy -top gate\nproc\n"
        f"flatten\nread_verilog {directory}/gold.v\nproc gold\n"
        "miter -equiv -flatten -make_outputs gold gate miter\nhierarchy -top miter\n"
        "opt -full\nsat -verify -prove trigger 0 miter\n"
    )
    done = subprocess.run([sys.executable, "-c", YOSYS, str(directory / "run.ys")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "proof did fail" in output, output[-2000:]
    return done.returncode == 0


@pytest.mark.parametrize("width", [1, 2, 5, 18, 32])
def test_cells(tmp_path: Path, width: int):
    assert proved(tmp_path, width)


@pytest.mark.parametrize("change", [("00008421", "00008420"), (".CI(1'h0)", ".CI(1'h1)")])
def test_a_wrong_cell_is_seen(tmp_path: Path, change: tuple[str, str]):
    assert not proved(tmp_path, 5, change)
