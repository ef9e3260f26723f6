"""Amaranth to Verilog, the modules of equal components once (`hw.shared`).

Memories that begin with zeros have no initial contents in the text: Verilator's ``--x-initial fast`` and the
bitstream of an FPGA zero them, and a text that names each word is long and slow to make and to read.
"""

import re
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from amaranth._toolchain.yosys import find_yosys  # pyright: ignore[reportMissingImports]  the stubs lack it
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  likewise
from amaranth.hdl import ClockDomain, Fragment, Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from hw.shared import SharedModules, ports

__all__ = ["emit", "emit_component"]

_TOP = "attribute \\top 1\n"
#: Yosys passes that turn Amaranth's processes into what Verilog can say.
_PLAIN = ("proc -nomux -norom", "memory_collect")
#: The same with the conditions of registers found again: ``if (enable) r <= next``. Amaranth's own text
#: computes ``next`` of each register in each cycle, and so would a simulator.
_ENABLES = (
    "proc -norom",
    "memory_collect",
    "opt_expr",
    "opt_clean",
    "opt_dff -nosdff",
    "opt_expr",
    "opt_clean",
)
#: Ports of a module: by name, a signal and its direction, or None where that is to be found out.
Ports = Mapping[str, tuple[Value, PortDirection | None]]


def emit_component(
    component: wiring.Component, name: str, *, sources: bool = False, primitives: bool = False
) -> str:
    """Verilog of a component as module `name`, which comes first, with the modules it shares; with
    `primitives` for synthesis (`hw.shared.primitives`)."""
    modules = SharedModules(primitives)
    return emit(Fragment.get(component, modules), name, _ports(component), modules, sources=sources)


def emit(
    fragment: Fragment,
    name: str,
    ports: Ports,
    modules: SharedModules,
    *,
    sources: bool = False,
    enables: bool = False,
) -> str:
    """Verilog of what was elaborated under `modules`; with `sources` it names lines of the source, with
    `enables` registers change under a condition where they have one (for simulators)."""
    with patch.object(rtlil.ModuleEmitter, "emit_memory", _emit_memory):
        texts = [rtlil.convert_fragment(fragment, dict(ports), name, emit_src=sources)[0]]
        done: set[str] = set()
        while left := [module for module in modules.components if module not in done]:
            for module in left:
                texts.append(_module(modules, module, sources).replace(_TOP, ""))
                done.add(module)
    text = _verilog("\n".join(texts), _ENABLES if enables else _PLAIN)
    for module, component in modules.components.items():
        if component.APART:
            text = re.sub(
                rf"^(module {module}\(.*)$", r"\1 /*verilator no_inline_module*/", text, flags=re.MULTILINE
            )
    return text


def _verilog(rtlil_text: str, passes: tuple[str, ...]) -> str:
    """Amaranth's RTLIL as Verilog, by its own Yosys."""
    yosys = find_yosys(lambda version: version >= (0, 40))
    script = (f"read_rtlil <<rtlil\n{rtlil_text}\nrtlil", *passes, "write_verilog -norename")
    return yosys.run(["-q", "-"], "\n".join(script), ignore_warnings=True)


def _module(modules: SharedModules, name: str, sources: bool) -> str:
    """RTLIL of one shared module; elaborating it may add others."""
    component = modules.components[name]
    fragment = Fragment.get(component, modules)
    clock: Any = ClockDomain("sync")
    fragment.add_domains(clock)
    own = _ports(component)
    own |= {"clk": (clock.clk, PortDirection.Input), "rst": (clock.rst, PortDirection.Input)}
    return rtlil.convert_fragment(fragment, own, name, emit_src=sources)[0]


def _ports(component: wiring.Component) -> dict[str, tuple[Value, PortDirection]]:
    return {
        name: (signal, PortDirection.Input if is_input else PortDirection.Output)
        for name, signal, is_input in ports(component)
    }


def _emit_memory(emitter: Any, index: int, cell: Any) -> None:
    """As Amaranth's method, which takes the initial contents bit by bit; none where all are 0."""
    if not any(cell.init):
        return
    bits = "".join(format(row, f"0{cell.width}b") for row in reversed(cell.init))
    memory = {"MEMID": emitter.memories[index].memid, "ABITS": 0, "WIDTH": cell.width, "WORDS": cell.depth}
    emitter.builder.cell(
        "$meminit_v2",
        ports={"ADDR": "{ }", "DATA": f"{len(bits)}'{bits}", "EN": f"{cell.width}'{'1' * cell.width}"},
        parameters=memory | {"PRIORITY": 0},
        src_loc=cell.src_loc,
    )
