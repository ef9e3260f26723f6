"""ThreeOperandAdder: sums, and the cells' netlist proved equal to the additions with Yosys's cell models."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.three_operand_adder import ThreeOperandAdder

YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"


def test_sums():
    rng = random.Random(2)
    dut = ThreeOperandAdder(14, primitives=False)

    async def bench(ctx) -> None:
        for _ in range(200):
            operands = [rng.choice((0, 1 << 13, (1 << 14) - 1, rng.getrandbits(14))) for _ in range(3)]
            for port, value in zip((dut.a, dut.b, dut.c), operands, strict=True):
                ctx.set(port, value)
            drop = rng.random() < 0.3
            ctx.set(dut.drop, drop)
            await ctx.tick()
            assert ctx.get(dut.sum) == sum(operands[drop:]) % (1 << 14)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def proved(directory: Path, width: int, change: tuple[str, str] = ("", "")) -> bool:
    """Whether Yosys proves both forms equal from any equal state; ``change`` is made to the cells' form."""
    for name, primitives in (("gold", False), ("gate", True)):
        text = rtlil.convert(ThreeOperandAdder(width, primitives), name=name, emit_src=False)
        if primitives and change[0]:
            assert change[0] in text
            text = text.replace(*change)
        (directory / f"{name}.il").write_text(text)
    (directory / "run.ys").write_text(
        f"read_rtlil {directory}/gate.il\nread_verilog +/xilinx/cells_sim.v\n"
        f"hierarchy -top gate\nproc\nflatten\nread_rtlil {directory}/gold.il\nproc gold\n"
        "miter -equiv -flatten -make_outputs gold gate miter\nhierarchy -top miter\nopt -full\n"
        "sat -verify -prove trigger 0 -seq 1 -set-init-zero -tempinduct miter\n"
    )
    done = subprocess.run([sys.executable, "-c", YOSYS, str(directory / "run.ys")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "proof did fail" in output, output[-2000:]
    return done.returncode == 0


@pytest.mark.parametrize("width", [1, 9])
def test_cells(tmp_path: Path, width: int):
    assert proved(tmp_path, width)


def test_a_wrong_table_is_seen(tmp_path: Path):
    # The carry of one place: O5 without the case of I1 and I2, where I0 counts, and where it does not.
    majority = "1100000011000000" + "1110100011101000"
    assert not proved(tmp_path, 9, (majority, "1100000011000000" + "1010100010101000"))
    assert not proved(tmp_path, 9, (majority, "1110100011101000" + "1110100011101000"))
