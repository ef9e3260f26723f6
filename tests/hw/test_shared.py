"""Shared modules: which there are, that equal names mean equal modules, that instances are the components."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil, verilog
from amaranth.hdl import Fragment, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.adder_tree import AdderTree
from hw.machine import CI
from hw.overlay import Overlay
from hw.shared import PREFIX, SharedComponent, SharedModules, shared
from sim.emit import emit_component

_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
#: Registers and ports of both are matched by name; induction shows that they stay equal.
_SCRIPT = """
read_verilog gold.v
hierarchy -top dut; proc; flatten; opt_clean
rename dut gold
design -stash gold
read_verilog gate.v
hierarchy -top dut; proc; flatten; opt_clean
rename dut gate
design -stash gate
design -copy-from gold gold
design -copy-from gate gate
equiv_make gold gate both
hierarchy -top both
equiv_struct
equiv_simple -undef
equiv_induct -undef
equiv_status -assert
"""
SMALL = dataclasses.replace(CI, name="small", tables=3, head_lanes=4, tile=2, quantised_words=128)


class Trees(wiring.Component):
    """Two trees of one kind, one of whose arguments has another form, and one of another kind."""

    i: In(24)
    o: Out(30)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        trees = (AdderTree(3, 8, 0), AdderTree(3, width=8, tag=0), AdderTree(4, 6, 0))
        for number, tree in enumerate(trees):
            m.submodules[f"tree{number}"] = shared(tree, platform)
            m.d.comb += [tree.en.eq(1), tree.i.eq(~self.i if number == 1 else self.i)]
            m.d.comb += self.o[10 * number : 10 * number + 10].eq(tree.sum)
        return m


def modules(text: str) -> list[str]:
    return re.findall(r"^module \\?([^ (]+)", text, re.M)


def equal(folder: Path, gold: str, gate: str) -> bool:
    (folder / "gold.v").write_text(gold)
    (folder / "gate.v").write_text(gate)
    (folder / "script.ys").write_text(_SCRIPT)
    done = subprocess.run([sys.executable, "-c", _YOSYS, "script.ys"], cwd=folder, capture_output=True)
    return done.returncode == 0 and b"Equivalence successfully proven" in done.stdout


def test_equal_components_are_one_module_that_computes_the_same(tmp_path: Path):
    plain, text = verilog.convert(Trees(), name="dut"), emit_component(Trees(), "dut")
    assert len(modules(plain)) == 4
    names = [AdderTree(3, 8, 0).module_name, AdderTree(4, 6, 0).module_name]
    assert modules(text)[0] == "dut" and sorted(modules(text)) == sorted(["dut", *names])
    assert equal(tmp_path, plain, text)
    assert not equal(tmp_path, plain, text.replace(" + ", " - "))


def test_without_an_emitter_a_component_is_a_submodule():
    tree = AdderTree(3, 8, 0)
    assert shared(tree, None) is tree


def test_parameters_must_be_plain_values():
    class Odd(SharedComponent):
        i: In(1)

        def __init__(self, what: object) -> None:
            super().__init__()

    assert Odd(1).module_name != Odd(2).module_name and Odd(1).module_name == Odd(what=1).module_name
    with pytest.raises(TypeError, match="plain values"):
        _ = Odd(object()).module_name


class Copies(SharedModules):
    """Keeps every component."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[str, list[SharedComponent]] = {}

    def instance(self, component: SharedComponent):
        self.copies.setdefault(component.module_name, []).append(component)
        return super().instance(component)


@pytest.mark.parametrize("table_form", ["split", "byte"])
def test_components_of_one_name_are_equal(table_form: str):
    machine = dataclasses.replace(SMALL, table_form=table_form)
    platform = Copies()
    Fragment.get(Overlay(machine), platform)
    done: set[str] = set()
    while left := set(platform.copies) - done:
        for name in left:
            texts = {
                rtlil.convert(one, platform=platform, emit_src=False) for one in platform.copies[name][:3]
            }
            assert len(texts) == 1, name
            done.add(name)
    classes = {re.sub("_[0-9a-f]{8}$", "", name.removeprefix(PREFIX)) for name in done}
    forms = {
        "split": {"SplitBuilder", "SplitTable", "TritDecode"},
        "byte": {"ByteBuilder", "ByteTable", "EntrySum"},
    }
    assert classes >= {"IntegerToken", "PackedMultiplier", "AdderTree", "VectorLane", "Fp32Mul", "Fp32Add"}
    assert classes >= forms[table_form]
