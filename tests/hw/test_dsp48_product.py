"""Fp32Mul: its form of UltraScale+ cells beside its plain form (`hw.dsp48_product`)."""

import subprocess
from pathlib import Path

import pyosys
import pytest

from bench.synthesis import yosys
from hw.fp32_mul import Fp32Mul
from sim.emit import emit_component
from sim.verilate import build_texts

CELLS = Path(__file__).parent / "cells" / "dsp48e2_product.v"
YOSYS_CELLS = Path(pyosys.__file__).parent / "share/xilinx/cells_sim.v"
#: Random numbers, the significands often with few or with all bits; pauses.
DRIVER = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <random>
double sc_time_stamp() { return 0; }
void vl_stop(const char*, int, const char*) {}
static Vtop top;
static std::mt19937 draw(6);
static uint32_t number() {
    uint32_t fractions[] = {draw(), 0, 0x7FFFFF, 1u << draw() % 23, 0x7FFFFFu << draw() % 23};
    return (draw() % 8 ? 64 + draw() % 128 : draw()) << 23 | (fractions[draw() % 5] & 0x7FFFFF);
}
int main() {
    top.rst = 0;
    for (int cycle = 0; cycle < 200000; cycle++) {
        top.en = draw() % 8 != 0;
        top.a = number();
        top.b = number();
        top.clk = 0; top.eval();
        if (cycle > 20 && top.wrong) { std::printf("cycle %d\\n", cycle); return 1; }
        top.clk = 1; top.eval();
    }
    return 0;
}
"""
TOP = """
module top(input clk, rst, en, input [31:0] a, b, output wrong);
  wire [31:0] plain_o, cells_o;
  assign wrong = plain_o != cells_o;
  plain plain(.clk(clk), .rst(rst), .en(en), .a(a), .b(b), .o(plain_o));
  cells cells(.clk(clk), .rst(rst), .en(en), .a(a), .b(b), .o(cells_o));
endmodule
"""


def flattened(name: str, folder: Path, change: tuple[str, str]) -> str:
    """Verilog of one form without instances; ``change`` is made to that of cells."""
    cells = name == "cells"
    text = emit_component(Fp32Mul(), name, primitives=cells)
    if cells and change[0]:
        assert change[0] in text
        text = text.replace(*change)
    assert ("DSP48E2" in text) == cells
    (folder / f"{name}.v").write_text(text)
    models = f"read_verilog -overwrite {YOSYS_CELLS} {CELLS}\n" if cells else ""
    yosys(
        f"{models}read_verilog -sv {folder}/{name}.v\nhierarchy -check -top {name}\nproc\nflatten\n"
        f"opt_clean -purge\nwrite_verilog -noattr {folder}/{name}_flat.v\n",
        folder,
    )
    return (folder / f"{name}_flat.v").read_text()


def equal(folder: Path, change: tuple[str, str] = ("", "")) -> bool:
    """Whether both forms have the same products in random cycles."""
    texts = {name + ".v": flattened(name, folder, change) for name in ("plain", "cells")}
    done = subprocess.run(
        [build_texts("top", {"top.sv": TOP, **texts, "driver.cpp": DRIVER})],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done
    return done.returncode == 0


def test_cells(tmp_path: Path):
    assert equal(tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".OPMODE(9'h055)", ".OPMODE(9'h005)"),  # without the lower product
        (".AREG(32'd0)", ".AREG(32'd1)"),
    ],
)
def test_a_wrong_block_is_seen(right: str, wrong: str, tmp_path: Path):
    assert not equal(tmp_path, (right, wrong))
