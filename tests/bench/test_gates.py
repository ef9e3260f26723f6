# amaranth: UnusedElaboratable=no
"""bench.gates: memories and multipliers in cells of the ECP5 against their RTL, on random operations.

What is proved is Yosys' mapping and our models of its cells (tests/hw/cells) together, in the forms that the
machines use: block RAM of every width, contents from the start, bytes written one by one, reads that see a
write of the same cycle and reads that do not.
"""

import random
import re
import subprocess
from dataclasses import dataclass

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bench.gates import OURS, gates
from sim.emit import emit_component
from sim.verilate import build_texts

CYCLES = 20_000


@dataclass(frozen=True)
class Form:
    """A memory: words, bits, bits of a write enable, contents, whether a read sees the write beside it."""

    depth: int
    width: int
    part: int | None = None
    filled: bool = False
    transparent: bool = False


FORMS = (
    Form(2048, 9), Form(1024, 18, part=9, filled=True), Form(512, 36, part=9), Form(512, 32, part=8),
    Form(4096, 4, filled=True), Form(8192, 2), Form(512, 30, transparent=True), Form(1024, 24, filled=True),
    Form(1536, 12),
)  # fmt: skip


class Memories(wiring.Component):
    """All forms on the same operations, and a product; what they read goes out side by side."""

    def __init__(self):
        super().__init__(
            {
                "read_at": In(13), "read_en": In(1), "write_at": In(13), "write_en": In(4), "data": In(36),
                "out": Out(sum(form.width for form in FORMS) + 36),
            }
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        at = 0
        for i, form in enumerate(FORMS):
            rng = random.Random(i)
            init = [rng.getrandbits(form.width) for _ in range(form.depth)] if form.filled else []
            m.submodules[f"memory_{i}"] = memory = Memory(shape=form.width, depth=form.depth, init=init)
            write = memory.write_port(granularity=form.part)
            read = memory.read_port(transparent_for=(write,) if form.transparent else ())
            m.d.comb += [
                write.addr.eq(self.write_at % form.depth if form.depth & form.depth - 1 else self.write_at),
                write.data.eq(self.data),
                write.en.eq(self.write_en if form.part else self.write_en[0]),
                read.addr.eq(self.read_at % form.depth if form.depth & form.depth - 1 else self.read_at),
                read.en.eq(self.read_en),
                self.out[at : at + form.width].eq(read.data),
            ]
            at += form.width
        product = Signal(signed(36))
        m.d.sync += product.eq(self.data[:18].as_signed() * self.data[18:].as_signed())
        m.d.comb += self.out[at:].eq(product)
        return m


TOP = """
module top(input clk, input rst, input [12:0] read_at, input read_en, input [12:0] write_at,
           input [3:0] write_en, input [35:0] data,
           output [BITS-1:0] one, output [BITS-1:0] two, output same);
  rtl rtl(.clk, .rst, .read_at, .read_en, .write_at, .write_en, .data, .out(one));
  gate gate(.clk, .rst, .read_at, .read_en, .write_at, .write_en, .data, .out(two));
  assign same = one == two;
endmodule
"""
DRIVER = """
#include <cstdio>
#include <cstdlib>
#include <random>
#include "Vtop.h"
double sc_time_stamp() { return 0; }
void vl_stop(const char*, int, const char*) { std::exit(3); }
int main() {
    Vtop top;
    std::mt19937_64 random(SEED);
    top.clk = 0;
    top.rst = 0;
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        // Few addresses, so that writes are read again; all of them now and then.
        const uint64_t r = random(), few = r >> 63 ? 7 : 8191;
        top.read_at = (r & few) | (random() % 4 == 0 ? 8184 : 0);
        top.write_at = (r >> 13 & few) | (random() % 4 == 0 ? 8184 : 0);
        top.read_en = r >> 26 & 1;
        top.write_en = r >> 27 & 15;
        top.data = random() & 0xfffffffffULL;
        top.eval();
        top.clk = 1;
        top.eval();
        if (!top.same) { printf("cycle %d differs\\n", cycle); return 1; }
        top.clk = 0;
        top.eval();
    }
    printf("%d cycles\\n", CYCLES);
    return 0;
}
"""


def test_memories_and_products_in_cells_of_the_ecp5():
    component = Memories()
    bits = len(component.out)
    rtl = emit_component(component, "rtl")
    netlist = gates(emit_component(Memories(), "gate"), "gate")
    assert set(OURS) <= set(netlist.cells), "the design shall have every cell that we model"
    assert netlist.cells["DP16KD"] >= len(FORMS) - 1
    texts = {
        "top.sv": TOP.replace("BITS", str(bits)), "rtl.v": rtl, "gate.v": netlist.verilog,
        "driver.cpp": DRIVER.replace("SEED", "1").replace("CYCLES", str(CYCLES)),
    }  # fmt: skip
    done = subprocess.run([build_texts("top", texts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[0] == str(CYCLES)

    # The comparison can fail: another word in the contents, or a cell that forgets its enable.
    for wrong, right in ((r"INITVAL_05\(320'h\w", "INITVAL_05(320'h7"), (r"WEA && !RSTA", "!RSTA")):
        assert re.search(wrong, netlist.verilog)
        broken = texts | {"gate.v": re.sub(wrong, right, netlist.verilog)}
        done = subprocess.run([build_texts("top", broken)], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "differs" in done.stdout
