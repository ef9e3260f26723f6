"""CascadeDots: its form of cells beside its plain form, and which sizes fit; ThreeOperandTree: its sums."""

import random
import subprocess
from pathlib import Path

import pyosys
import pytest
from amaranth.sim import Simulator

from bench.synthesis import yosys
from hw.integer_dots import CascadeDots, PackedDots, integer_dots
from hw.three_operand_tree import ThreeOperandTree
from sim.emit import emit_component
from sim.verilate import build_texts

CELLS = Path(__file__).parent / "cells" / "dsp48e2_cascade.v"
YOSYS_CELLS = Path(pyosys.__file__).parent / "share/xilinx/cells_sim.v"
#: Random weights and activations, some of them the least numbers throughout; pauses, cleared activations.
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
template <class Port> static void fill(Port& port, uint32_t mask, bool least) {
    uint32_t words[sizeof(Port) / 4 + 1];
    for (auto& word : words) word = least ? 0x80808080u : draw() & mask;
    std::memcpy(&port, words, sizeof port);
}
int main() {
    top.rst = 0;
    for (int cycle = 0; cycle < 20000; cycle++) {
        top.en = draw() % 8 != 0;
        bool least = draw() % 8 == 0;
        fill(top.weights, ~0u, least);
        fill(top.activations, ~0u, least);
        OFF
        top.clk = 0; top.eval();
        if (cycle > 100 && top.wrong) { std::printf("cycle %d\\n", cycle); return 1; }
        top.clk = 1; top.eval();
    }
    return 0;
}
"""


def flattened(component: CascadeDots, name: str, folder: Path, cells: bool, change: tuple[str, str]) -> str:
    """Verilog of one module without instances."""
    text = emit_component(component, name, primitives=cells)
    if cells and change[0]:
        assert change[0] in text
        text = text.replace(*change, 1)
    assert ("DSP48E2" in text) == cells
    (folder / f"{name}.v").write_text(text)
    models = f"read_verilog -overwrite {YOSYS_CELLS} {CELLS}\n" if cells else ""
    yosys(
        f"{models}read_verilog -sv {folder}/{name}.v\nhierarchy -check -top {name}\nproc\nflatten\n"
        f"opt_clean -purge\nwrite_verilog -noattr {folder}/{name}_flat.v\n",
        folder,
    )
    return (folder / f"{name}_flat.v").read_text()


def equal(lanes: int, folder: Path, change: tuple[str, str] = ("", "")) -> bool:
    """Whether both forms have the same sums in random cycles; ``change`` is made to that of cells."""
    dut = CascadeDots(lanes, 8)
    inputs = {"clk": 1, "rst": 1, "en": 1, "weights": lanes * 16, "activations": lanes * 8, "off": lanes}
    results = {"dots": len(dut.dots.as_value()), "total": len(dut.total)}
    wires = "\n".join(f"  wire [{w - 1}:0] gold_{n}, gate_{n};" for n, w in results.items())

    def instance(form: str) -> str:
        ports = [f".{name}({name})" for name in inputs] + [f".{name}({form}_{name})" for name in results]
        return f"  {form} {form}({', '.join(ports)});"

    top = f"""
module top({", ".join(f"input [{width - 1}:0] {name}" for name, width in inputs.items())}, output wrong);
{wires}
  assign wrong = gold_dots != gate_dots || gold_total != gate_total;
{instance("gold")}
{instance("gate")}
endmodule
"""
    mask = f"{(1 << lanes) - 1}ull"
    off = f"top.off = top.en && draw() % 2 ? {mask} & ((uint64_t)draw() << 32 | draw()) : 0;"
    texts = {
        "top.sv": top,
        "gold.v": flattened(CascadeDots(lanes, 8), "gold", folder, False, change),
        "gate.v": flattened(CascadeDots(lanes, 8), "gate", folder, True, change),
        "driver.cpp": DRIVER.replace("OFF", off),
    }
    done = subprocess.run([build_texts("top", texts)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


@pytest.mark.parametrize("lanes", [16, 64])
def test_cells(lanes: int, tmp_path: Path):
    assert equal(lanes, tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".RND(48'h000800020000", ".RND(48'h000800020001"),  # the constant of a first block
        ('.USE_SIMD("FOUR12")', '.USE_SIMD("ONE48")'),
    ],
)
def test_a_wrong_block_is_seen(right: str, wrong: str, tmp_path: Path):
    assert not equal(16, tmp_path, (right, wrong))


def test_which_form():
    """Cascades where the sums fit their fields whatever the weights and activations."""
    assert [type(integer_dots("xcup", lanes, 8)) for lanes in (2, 16, 64)] == [CascadeDots] * 3
    assert [type(integer_dots(*size)) for size in (("xcup", 64, 12), ("ecp5", 64, 8))] == [PackedDots] * 2
    with pytest.raises(ValueError, match="fit 18 bits"):
        CascadeDots(16, 12)


@pytest.mark.parametrize(("terms", "width"), [(2, 3), (3, 12), (4, 12), (8, 18), (16, 5)])
def test_tree(terms: int, width: int):
    rng = random.Random(terms)
    dut = ThreeOperandTree(terms, width)
    due: list[int] = []

    async def bench(ctx) -> None:
        for _ in range(150):
            enable = rng.random() < 0.8
            top = (1 << width) - 1
            numbers = [rng.choice((0, top, top, rng.getrandbits(width))) for _ in range(terms)]
            if rng.random() < 0.2:
                numbers = [top] * terms
            ctx.set(dut.en, enable)
            ctx.set(dut.i, numbers)
            if enable:
                due.append(sum(numbers))
            await ctx.tick()
            if len(due) >= dut.latency:
                assert ctx.get(dut.sum) == due[-dut.latency]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    with pytest.raises(ValueError, match="1 term"):
        ThreeOperandTree(0, width)
