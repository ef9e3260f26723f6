"""bench.verilog_text and bench.timing on designs small enough to know by heart; no Yosys."""

import dataclasses

import pytest

from bench.cells import by_instance
from bench.netlists import Design, machine_verilog
from bench.timing import DELAYS, longest_paths
from bench.verilog_text import lighten, modules, stub
from hw.machine import NARROW

TWICE = r"""module top(a, b);
  input a;
  wire a;
  output b;
  wire b;
  \top.one  one (
    .\x$1 (a),
    .y(m)
  );
  \top.two  \integer  (
    .\x$7 (m),
    .y(b)
  );
endmodule

module \top.one (\x$1 , y);
  input \x$1 ;
  wire \x$1 ;
  output y;
  wire y;
  reg [1:0] store [1:0];
  initial begin
    store[0] = 2'd0;
    store[1] = 2'h0;
  end
  assign y = \x$1 ;
endmodule

module \top.two (y, \x$7 );
  input \x$7 ;
  wire \x$7 ;
  output y;
  wire y;
  reg [1:0] store [1:0];
  initial begin
    store[0] = 2'd0;
    store[1] = 2'h0;
  end
  assign y = \x$7 ;
endmodule
"""
END = "2'h0;\n  end\n  assign y = \\x$7"


def test_equal_modules_once():
    text, inside = lighten(TWICE, "top")
    assert sorted(modules(text)) == ["\\top.one", "top"]
    assert inside["top"] == [("one", "top.one"), ("integer", "top.one")]
    assert "initial" not in text
    assert text.count(".\\x$n0  (") == 2
    assert stub(modules(text)["\\top.one"]).count("put ") == 2


@pytest.mark.parametrize(
    ("there", "here"), [("y = \\x$7 ;", "y = ~\\x$7 ;"), (END, END.replace("2'h0", "2'h1"))]
)
def test_modules_that_differ_stay(there: str, here: str):
    assert there in TWICE
    text, inside = lighten(TWICE.replace(there, here), "top")
    assert len(modules(text)) == 3
    assert inside["top"] == [("one", "top.one"), ("integer", "top.two")]


def cell(kind: str, **pins: list[int]) -> dict[str, object]:
    out = {"Q", "O", "CO", "P", "DOA", "DOB", "SPO", "DPO"}
    ways = {pin: "output" if pin in out else "input" for pin in pins}
    return {"type": kind, "parameters": {}, "port_directions": ways, "connections": pins}


def test_a_path_through_a_module():
    """Register, LUT, a module with a LUT and a register beside it, carry chain, register."""
    inner = {
        "ports": {"i": {"direction": "input", "bits": [2]}, "o": {"direction": "output", "bits": [3]}},
        "cells": {"lut": cell("LUT2", I0=[2], I1=[4], O=[3]), "own": cell("FDRE", C=[9], D=[3], Q=[4])},
    }
    chain = cell("CARRY4", CI=[], S=[5, 3, 3, 3], DI=[3, 3, 3, 3], O=[6, 7, 8, 9], CO=[10, 11, 12, 13])
    outer = {
        "ports": {"clk": {"direction": "input", "bits": [2]}},
        "cells": {
            "from": cell("FDRE", C=[2], D=[9], Q=[3]),
            "lut": cell("LUT1", I0=[3], O=[4]),
            "inner": cell("inner", i=[4], o=[5]),
            "carry": chain,
            "to": cell("FDRE", C=[2], D=[6], Q=[14]),
        },
    }
    design = Design("top", {"top": outer, "inner": inner}, {"top": [("inner", "inner")], "inner": []})
    paths, loops = longest_paths(design)
    assert loops == 0
    two = DELAYS["register"] + 2 * DELAYS["LUT"] + DELAYS["setup"]
    assert paths["top.inner"].nanoseconds == pytest.approx(two)
    assert (paths["top.inner"].luts, paths["top.inner"].start) == (2, ("top", "register"))
    assert paths["top"].nanoseconds == pytest.approx(two + DELAYS["into carry"])
    assert (paths["top"].luts, paths["top"].carries) == (2, 1)
    found = by_instance(design.cells(), design.inside, "xcup", "top")
    assert (found["top"].lut, found["top"].ff, found["top.inner"].ff) == (2, 3, 1)


@pytest.mark.parametrize(
    ("kind", "own", "other", "out"),
    [
        ("RAM32M", "ADDRA", "ADDRB", "DOA"),
        ("RAM64X1D", "DPRA0", "A0", "DPO"),
        ("RAM64X1D", "A0", "DPRA0", "SPO"),
    ],
)  # fmt: skip
def test_a_ports_data_follow_from_its_own_address(kind: str, own: str, other: str, out: str):
    """One of the addresses comes through a LUT more; what is read goes to a register."""

    def longest(pins: dict[str, list[int]]) -> float:
        cells = {
            "from": cell("FDRE", C=[2], D=[9], Q=[3]),
            "lut": cell("LUT1", I0=[3], O=[4]),
            "ram": cell(kind, **pins),
            "to": cell("FDRE", C=[2], D=[6], Q=[14]),
        }
        ports = {"clk": {"direction": "input", "bits": [2]}}
        found, _ = longest_paths(Design("top", {"top": {"ports": ports, "cells": cells}}, {"top": []}))
        return found["top"].nanoseconds

    short = DELAYS["register"] + DELAYS["LUT RAM"] + DELAYS["setup"]
    assert longest({own: [3], other: [4], out: [6]}) == pytest.approx(short)
    assert longest({own: [4], other: [3], out: [6]}) == pytest.approx(short + DELAYS["LUT"])


def test_a_family_has_no_cells_of_another():
    other = dataclasses.replace(NARROW, name="narrow_xcup", family="xcup")
    assert "DSP48E2" in machine_verilog(other)
    assert "DSP48E2" not in machine_verilog(NARROW) and "LUT6" not in machine_verilog(NARROW)
