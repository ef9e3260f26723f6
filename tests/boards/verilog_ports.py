"""Ports and instances of a Verilog module, by pyverilog's parser."""

import re

from pyverilog.vparser.ast import InstanceList, ModuleDef, Port

from tests.mutants.sites import parse


def _width(signal) -> int:
    if signal.width is None:
        return 1
    return int(signal.width.msb.value) - int(signal.width.lsb.value) + 1


def _plain(verilog: str) -> str:
    """Without attributes and comments, which the parser does not know."""
    return re.sub(r"\(\*.*?\*\)|/\*.*?\*/", "", verilog, flags=re.DOTALL)


def module(verilog: str, name: str) -> ModuleDef:
    """One module's tree."""
    (found,) = (one for one in parse(_plain(verilog)).description.definitions if one.name == name)
    return found


def ports(one: ModuleDef) -> dict[str, tuple[str, int]]:
    """(direction, bits) of each port."""
    listed = {}
    for entry in one.portlist.ports:
        if isinstance(entry, Port):
            listed[entry.name] = None
        else:
            listed[entry.first.name] = (type(entry.first).__name__.lower(), _width(entry.first))
    for item in one.items:
        for declared in getattr(item, "list", ()):
            kind = type(declared).__name__
            if kind in ("Input", "Output", "Inout") and declared.name in listed:
                listed[declared.name] = (kind.lower(), _width(declared))
    return listed


def instances(one: ModuleDef) -> dict[str, tuple[str, dict[str, object]]]:
    """By instance name: module and what is connected to each port."""
    found = {}
    for item in one.items:
        if isinstance(item, InstanceList):
            for instance in item.instances:
                wires = {port.portname: port.argname for port in instance.portlist}
                found[instance.name] = (instance.module, wires)
    return found
