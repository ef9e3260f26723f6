"""A component's form of cells of its family beside its plain form, in random cycles under Verilator."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pyosys
from amaranth.lib import wiring

from bench.synthesis import yosys
from sim.emit import emit_component
from sim.verilate import build_texts

__all__ = ["equal_forms"]

CELLS = Path(__file__).parent / "cells"
YOSYS_CELLS = Path(pyosys.__file__).parent / "share/xilinx/cells_sim.v"
#: STIMULI sets the inputs of a cycle; a port is filled with random bits, or with the bytes of the least int8.
DRIVER = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
double sc_time_stamp() { return 0; }
void vl_stop(const char*, int, const char*) {}
static Vtop top;
static std::mt19937 draw(5);
template <class Port> static void fill(Port& port, bool least) {
    uint32_t words[sizeof(Port) / 4 + 1];
    for (auto& word : words) word = least ? 0x80808080u : draw();
    std::memcpy(&port, words, sizeof port);
}
int main() {
    top.rst = 0;
    for (int cycle = 0; cycle < 20000; cycle++) {
        STIMULI
        top.clk = 0; top.eval();
        if (cycle > 100 && top.wrong) { std::printf("cycle %d\\n", cycle); return 1; }
        top.clk = 1; top.eval();
    }
    return 0;
}
"""


def equal_forms(
    make: Callable[[], wiring.Component], inputs: Mapping[str, int], results: Mapping[str, int], stimuli: str,
    model: str, folder: Path, change: tuple[str, str] = ("", ""),
) -> bool:  # fmt: skip
    """Whether both forms have the same results in 20,000 cycles.

    inputs, results: bits of the ports, clk and rst aside; stimuli: C++ that sets inputs (``top.NAME``);
    model: the file in ``cells`` that has the DSP block; change: made to the text of the form of cells.
    """
    names = {"clk": 1, "rst": 1, **inputs}
    wires = "\n".join(f"  wire [{w - 1}:0] gold_{n}, gate_{n};" for n, w in results.items())

    def instance(form: str) -> str:
        ports = [f".{name}({name})" for name in names] + [f".{name}({form}_{name})" for name in results]
        return f"  {form} {form}({', '.join(ports)});"

    top = f"""
module top({", ".join(f"input [{width - 1}:0] {name}" for name, width in names.items())}, output wrong);
{wires}
  assign wrong = {" || ".join(f"gold_{name} != gate_{name}" for name in results)};
{instance("gold")}
{instance("gate")}
endmodule
"""
    texts = {"top.sv": top, "driver.cpp": DRIVER.replace("STIMULI", stimuli)}
    for name, cells in (("gold", False), ("gate", True)):
        text = emit_component(make(), name, primitives=cells)
        if cells and change[0]:
            assert change[0] in text, text[-3000:]
            text = text.replace(*change, 1)
        assert ("DSP48E2" in text) == cells
        (folder / f"{name}.v").write_text(text)
        models = f"read_verilog -overwrite {YOSYS_CELLS} {CELLS / model}\n" if cells else ""
        yosys(
            f"{models}read_verilog -sv {folder}/{name}.v\nhierarchy -check -top {name}\nproc\nflatten\n"
            f"opt_clean -purge\nwrite_verilog -noattr {folder}/{name}_flat.v\n",
            folder,
        )
        texts[f"{name}.v"] = (folder / f"{name}_flat.v").read_text()
    done = subprocess.run([build_texts("top", texts)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done
    return done.returncode == 0
