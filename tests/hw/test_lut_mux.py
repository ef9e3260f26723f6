"""LutMux: its cells proved equal to the choice of a word with Yosys's cell models."""

import subprocess
import sys
from pathlib import Path

import pytest

from hw.lut_mux import LutMux
from sim.emit import emit_component

YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"


def proved(directory: Path, width: int, words: int, change: tuple[str, str] = ("", "")) -> bool:
    """Whether Yosys proves the cells equal to plain Verilog; ``change`` is made to the cells' form."""
    text = emit_component(LutMux(width, words), "gate", primitives=True)
    assert change[0] in text and "LUT6" in text
    (directory / "gate.v").write_text(text.replace(*change) if change[0] else text)
    (directory / "gold.v").write_text(
        f"module gold(input [{(words - 1).bit_length() - 1}:0] select, input [{width * words - 1}:0] i,"
        f" output [{width - 1}:0] o);\n  assign o = i >> select * {width};\nendmodule\n"
    )
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


@pytest.mark.parametrize(("width", "words"), [(1, 2), (5, 2), (1, 4), (3, 4), (2, 8), (2, 16)])
def test_cells(tmp_path: Path, width: int, words: int):
    assert proved(tmp_path, width, words)


def test_a_wrong_table_is_seen(tmp_path: Path):
    assert not proved(tmp_path, 3, 4, ("ff00f0f0ccccaaaa", "ff00f0f0ccccaaab"))


def test_a_wrong_level_is_seen(tmp_path: Path):
    assert not proved(tmp_path, 2, 16, (".S(select[3])", ".S(select[2])"))


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="2, 4, 8 or 16 words, not 3"):
        LutMux(8, 3)
