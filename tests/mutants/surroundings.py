"""What stands around a design with mutants: the number of the one alive, and a memory that can fail.

The simulator takes from its command line ``+mutant=N`` (0: the design as it is), ``+fault_read=N`` and
``+fault_write=N``: the N-th beat that the machine reads, or answer that it gets to a write, since reset is an
error (0: none).
"""

import re
from collections.abc import Iterator
from typing import Any

from pyverilog.vparser import ast

from .liveness import variables

__all__ = ["NUMBER", "surrounded"]

#: The variable that says which mutant is alive.
NUMBER = "trine_mutant::number"
_PACKAGE = """package trine_mutant;
  int number = 0;
endpackage
"""
_AROUND = """
module overlay({names});
{ports}
  int fault_read = 0, fault_write = 0, beats, answers;
  initial begin
    if (!$value$plusargs("mutant=%d", {number})) {number} = 0;
    void'($value$plusargs("fault_read=%d", fault_read));
    void'($value$plusargs("fault_write=%d", fault_write));
  end
  always_ff @(posedge clk) begin
    beats <= rst ? 1 : beats + int'(read__r__valid && read__r__ready);
    answers <= rst ? 1 : answers + int'(write__b__valid && write__b__ready);
  end
  wire [{read_high}:0] r_payload = beats == fault_read ?
      read__r__payload | {read_bits}'(2) << {data_bits} : read__r__payload;
  wire [1:0] b_payload = answers == fault_write ? 2'd2 : write__b__payload;
  {design} inner({connections});
endmodule
"""
_DESIGN = "overlay_design"


def surrounded(text: str, tree: Any) -> str:
    """The design's text inside of a module that has its name and ports; `tree` is the design's."""
    text, count = re.subn(r"^module overlay\(", f"module {_DESIGN}(", text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError("wanted a text whose top is the module overlay, found none")
    ports = list(_ports(tree.description.definitions[0]))
    instead = {"read__r__payload": "r_payload", "write__b__payload": "b_payload"}
    read_bits = next(bits for _, bits, name in ports if name == "read__r__payload")
    around = _AROUND.format(
        names=", ".join(name for _, _, name in ports),
        ports="\n".join(f"  {way} [{bits - 1}:0] {name};" for way, bits, name in ports),
        number=NUMBER,
        read_bits=read_bits,
        read_high=read_bits - 1,
        data_bits=read_bits - 3,  # {last, resp, data}
        design=_DESIGN,
        connections=", ".join(f".{name}({instead.get(name, name)})" for _, _, name in ports),
    )
    return _PACKAGE + text + around


def _ports(top: Any) -> Iterator[tuple[str, int, str]]:
    """(input or output, bits, name)."""
    for one in variables(top):
        if isinstance(one, ast.Input | ast.Output):
            bits = 1 if one.width is None else int(one.width.msb.value) + 1
            yield type(one).__name__.lower(), bits, one.name
