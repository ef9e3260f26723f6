"""Registers moved into multipliers: a netlist does, cycle by cycle, what the RTL that it was made of does."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench.gates import OURS, YOSYS_MODELS
from bench.synthesis import yosys
from boards.flow.dsp_registers import Packed, pack_registers
from hw.fp32_mul import Fp32Mul
from hw.square_sum import SquareSum
from sim.emit import emit_component
from sim.verilate import build_texts
from tests.hw.cell_forms import DRIVER


class Around(wiring.Component):
    """Products whose registers may move, and such as may not: each a reason of its own."""

    en: In(1)
    stop: In(1)
    rst_too: In(1)
    a: In(12)
    b: In(12)
    o: Out(24 * 8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = (Signal(12, reset_less=True, name=name) for name in "ab")
        reset = Signal(12)
        a_stopped, b_stopped = (Signal(12, reset_less=True, name=f"{name}_stopped") for name in "ab")
        results = [Signal(24, reset_less=True, name=f"result{i}") for i in range(8)]
        cleared = Signal(24)
        with m.If(self.en):
            m.d.sync += [a.eq(self.a), b.eq(self.b), reset.eq(self.a)]
            m.d.sync += [results[0].eq(a * b), results[1].eq(reset * b), results[3].eq(self.a * self.b)]
        with m.If(~self.stop):
            m.d.sync += [
                a_stopped.eq(self.a ^ self.b),
                b_stopped.eq(self.b),
                results[2].eq(a_stopped * b_stopped),
            ]
        m.d.sync += [results[4].eq(a * b_stopped), cleared.eq(a * ~b)]
        # A product's register is the next product's operand: it can lie in one block only.
        small = Signal(16, reset_less=True)
        with m.If(self.en):
            m.d.sync += [small.eq(a[:8] * b[:8]), results[7].eq(small * a[:8])]
        m.d.comb += [results[5].eq(cleared), results[6].eq(a_stopped * a)]
        for i, result in enumerate(results):
            m.d.comb += self.o.word_select(i, 24).eq(result)
        return m


def made(component: wiring.Component, folder: Path, change: Callable[[dict], None]) -> tuple[str, Packed]:
    """Verilog of the cells of a component, registers moved, as module ``gate``; what moved."""
    (folder / "gate.v").write_text(emit_component(component, "gate"))
    yosys(
        f"read_verilog -sv {folder}/gate.v\nrename -hide w:*\nsynth_ecp5 -top gate\n"
        f"write_json {folder}/mapped.json\n", folder,
    )  # fmt: skip
    netlist = json.loads((folder / "mapped.json").read_text())
    packed = pack_registers(netlist["modules"]["gate"])
    change(netlist["modules"]["gate"]["cells"])
    only = {"modules": {"gate": netlist["modules"]["gate"]}}
    (folder / "packed.json").write_text(json.dumps(only))
    yosys(
        f"read_verilog -lib {YOSYS_MODELS.parent}/cells_bb.v\nread_verilog -overwrite {YOSYS_MODELS}\n"
        f"read_json {folder}/packed.json\nhierarchy -check -top gate\nproc\nflatten\nrename -hide w:*\n"
        f"opt_clean -purge\nselect gate\nwrite_verilog -noattr -selected {folder}/gates.v\n", folder,
    )  # fmt: skip
    return (folder / "gates.v").read_text(), packed


def compare(
    make: Callable[[], wiring.Component], inputs: dict[str, int], results: dict[str, int], folder: Path,
    change: Callable[[dict], None] = lambda _: None,
) -> tuple[bool, Packed]:  # fmt: skip
    """Whether both have the same results in 20,000 random cycles, reset among them; what moved."""
    names = {"clk": 1, "rst": 1, **inputs}
    gate, packed = made(make(), folder, change)

    def instance(form: str) -> str:
        ports = [f".{name}({name})" for name in names] + [f".{name}({form}_{name})" for name in results]
        return f"  {form} {form}({', '.join(ports)});"

    top = "\n".join([
        f"module top({', '.join(f'input [{w - 1}:0] {name}' for name, w in names.items())}, output wrong);",
        *(f"  wire [{width - 1}:0] gold_{name}, gate_{name};" for name, width in results.items()),
        f"  assign wrong = {' || '.join(f'gold_{name} != gate_{name}' for name in results)};",
        instance("gold"), instance("gate"), "endmodule", "",
    ])  # fmt: skip
    # A port has the bits of its type; those beyond its width are 0.
    stimuli = "top.rst = cycle % 977 == 5;" + "".join(
        f" fill(top.{name}, false);" + (f" top.{name} &= {(1 << width) - 1};" if width < 32 else "")
        for name, width in inputs.items()
    )
    texts = {
        "top.sv": top, "gold.v": emit_component(make(), "gold"), "gate.v": gate,
        "block.v": OURS["MULT18X18D"].read_text(), "driver.cpp": DRIVER.replace("STIMULI", stimuli),
    }  # fmt: skip
    done = subprocess.run([build_texts("top", texts)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done
    return done.returncode == 0, packed


def test_multiplier(tmp_path: Path) -> None:
    same, packed = compare(lambda: Fp32Mul(4), {"en": 1, "a": 32, "b": 32}, {"o": 32}, tmp_path)
    assert same
    assert packed.both == 4 and packed.registers > 64


def test_squares(tmp_path: Path) -> None:
    inputs = {"valid": 1, "last": 1, "x": 64, "grid": 8}
    same, packed = compare(lambda: SquareSum(2, 4), inputs, {"done": 1, "total": 63}, tmp_path)
    assert same
    assert packed.both >= 4


#: Of `Around`: products 0 and 2 lie between registers of one enable each (the second one is inverted); 3 has
#: registers behind it only, 6 before it only, of two enables; 1, 4 and 5 have a reset, or two enables; 7 is
#: the second one of a chain.
AROUND = {"en": 1, "stop": 1, "rst_too": 1, "a": 12, "b": 12}


def test_what_may_not_move_stays(tmp_path: Path) -> None:
    same, packed = compare(Around, AROUND, {"o": 24 * 8}, tmp_path)
    assert same
    # Of the two in a chain the first one to come takes the register between them.
    assert packed.both + packed.operands == 4 and packed.both >= 3
    assert packed.results >= 1


@pytest.mark.parametrize("setting", ["CE0", "REG_INPUTA_CLK", "REG_OUTPUT_CLK"])
def test_a_wrong_block_is_seen(tmp_path: Path, setting: str) -> None:
    def change(cells: dict) -> None:
        block = next(cell for cell in cells.values() if cell["parameters"].get("REG_OUTPUT_CLK"))
        if setting == "CE0":
            block["connections"]["CE0"] = ["1"]
        elif setting == "REG_INPUTA_CLK":
            block["parameters"] |= {"REG_INPUTA_CLK": "NONE", "REG_INPUTB_CLK": "NONE"}
        else:
            block["parameters"][setting] = "NONE"

    same, _ = compare(lambda: Fp32Mul(4), {"en": 1, "a": 32, "b": 32}, {"o": 32}, tmp_path, change)
    assert not same
