"""A Verilated PackedMultiplier, RTL or netlist, beside plain products of the same operands."""

import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import pyosys
from amaranth.back import verilog

from bench.synthesis import Netlist, yosys
from hw.packed_multiplier import PackedMultiplier
from hw.packing import Packing
from sim.verilate import build_texts

CELLS = Path(__file__).parent / "cells"
_SHARE = Path(pyosys.__file__).parent / "share"
#: Yosys' own models of look-up tables, carry chains and registers, and ours of the DSP block.
MODELS = {
    "xcup": (_SHARE / "xilinx/cells_sim.v", CELLS / "dsp48e2.v"),
    "ecp5": (_SHARE / "ecp5/cells_sim.v", CELLS / "mult18x18d.v"),
}


def rtl(packing: Packing) -> str:
    """Verilog of the component."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return verilog.convert(PackedMultiplier(packing), name="dut")


def gates(netlist: Netlist) -> str:
    """Verilog of the netlist with the cells' models put in."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "netlist.v").write_text(netlist.verilog)
        models = " ".join(map(str, MODELS[netlist.family]))
        yosys(
            f"read_verilog -overwrite {models}\nread_verilog {folder}/netlist.v\n"
            f"hierarchy -check -top top\nproc\nflatten\nopt_clean -purge\nrename top dut\n"
            f"write_verilog -noattr {folder}/gates.v\n",
            folder,
        )
        return (folder / "gates.v").read_text()


def _checker(packing: Packing) -> str:
    """A module that feeds ``dut`` and compares its products with plain ones, as many cycles later."""
    weights, activations = len(packing.weight_offsets), len(packing.activation_offsets)
    w, x, p = packing.weight_bits, packing.activation_bits, packing.product_bits
    bits, split = weights * w + activations * x, weights * w
    depth, total = PackedMultiplier.LATENCY, packing.products * p
    wanted = "\n".join(
        f"  assign wanted[{p * i} +: {p}] = $signed(of[{w * field.weight} +: {w}])"
        f" * $signed(of[{split + x * field.activation} +: {x}]);"
        for i, field in enumerate(packing.fields)
    )
    return f"""
module top(input clk, input rst, input en, input [63:0] operands, output wrong, output checked,
           output [63:0] of);
  wire [{bits - 1}:0] word = operands[{bits - 1}:0];
  reg [{bits - 1}:0] line [{depth}];
  reg [{depth - 1}:0] there = 0;
  wire [{total - 1}:0] products, wanted;
  assign of = {{{64 - bits}'b0, line[{depth - 1}]}};
{wanted}
  assign wrong = there[{depth - 1}] && products != wanted;
  assign checked = there[{depth - 1}] && en;
  always @(posedge clk) if (en) begin
    line[0] <= word;
    for (int i = 1; i < {depth}; i++) line[i] <= line[i - 1];
    there <= {{there[{depth - 2}:0], 1'b1}};
  end
  dut dut(.clk(clk), .rst(rst), .en(en), .weights(word[{split - 1}:0]),
          .activations(word[{bits - 1}:{split}]), .products(products));
endmodule
"""


def operand_bits(packing: Packing) -> int:
    """Bits of a word of operands: the weights, the first lowest, then the activations."""
    return (
        len(packing.weight_offsets) * packing.weight_bits
        + len(packing.activation_offsets) * packing.activation_bits
    )


def word(packing: Packing, weights: Sequence[int], activations: Sequence[int]) -> int:
    """The word of these operands."""
    total = shift = 0
    for values, bits in ((weights, packing.weight_bits), (activations, packing.activation_bits)):
        for value in values:
            total |= (value & (1 << bits) - 1) << shift
            shift += bits
    return total


def build(packing: Packing, dut: str) -> Path:
    """The simulator of a module ``dut`` beside its check."""
    driver = (Path(__file__).parent / "packed_driver.cpp").read_text()
    texts = {"packed_check.sv": _checker(packing), "dut.v": dut, "packed_driver.cpp": driver}
    return build_texts("top", texts, ("-CFLAGS", f"-DLATENCY={PackedMultiplier.LATENCY}"))


def check(simulator: Path, arguments: Sequence[str] = (), words: Sequence[int] = ()) -> int:
    """Runs the simulator; how many words were right. AssertionError names the first that was not."""
    text = "\n".join(f"{word:x}" for word in words)
    done = subprocess.run([simulator, *arguments], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[0])
