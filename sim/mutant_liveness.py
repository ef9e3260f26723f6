"""Which names of a Verilog design its outputs depend on; the rest is kept for waveforms only."""

from collections.abc import Iterator
from typing import Any

from pyverilog.vparser import ast

#: A module and a name in it.
Name = tuple[str, str]


def names_in(node: Any) -> Iterator[str]:
    """Every identifier in an expression."""
    if isinstance(node, ast.Identifier):
        yield node.name
    elif isinstance(node, ast.Node):
        for child in node.children() or ():
            yield from names_in(child)


def variables(module: Any) -> Iterator[Any]:
    """Ports, wires, registers of a module; a name may come twice (port and wire)."""
    for item in module.items:
        if isinstance(item, ast.Decl):
            yield from (one for one in item.list if isinstance(one, ast.Variable))


def live_names(modules: dict[str, Any]) -> set[Name]:
    """The names that an output of the first module depends on, through all instances."""
    outputs = {name: {one.name for one in variables(module) if isinstance(one, ast.Output)}
               for name, module in modules.items()}  # fmt: skip
    feeds: dict[Name, set[Name]] = {}

    def edge(target: Name, source: Name) -> None:
        feeds.setdefault(target, set()).add(source)

    for name, module in modules.items():
        for item in module.items:
            if isinstance(item, ast.Assign):
                _connect(name, item, (), edge)
            elif isinstance(item, ast.Always):
                _statement(name, item.statement, (), edge)
            elif isinstance(item, ast.InstanceList):
                child = item.module.removeprefix("\\")
                for argument in item.instances[0].portlist:
                    port = (child, argument.portname)
                    for wire in names_in(argument.argname):
                        if argument.portname in outputs[child]:
                            edge((name, wire), port)
                        else:
                            edge(port, (name, wire))
    top = next(iter(modules))
    live: set[Name] = set()
    waiting = [(top, port) for port in outputs[top]]
    while waiting:
        one = waiting.pop()
        if one not in live:
            live.add(one)
            waiting += feeds.get(one, ())
    return live


def _connect(module: str, item: Any, conditions: tuple[str, ...], edge: Any) -> None:
    left = list(names_in(item.left))
    for target in left:
        for source in (*left, *names_in(item.right), *conditions):
            edge((module, target), (module, source))


def _statement(module: str, node: Any, conditions: tuple[str, ...], edge: Any) -> None:
    match node:
        case ast.Block():
            for one in node.statements:
                _statement(module, one, conditions, edge)
        case ast.IfStatement():
            inner = (*conditions, *names_in(node.cond))
            _statement(module, node.true_statement, inner, edge)
            _statement(module, node.false_statement, inner, edge)
        case ast.CaseStatement():
            inner = (*conditions, *names_in(node.comp))
            for one in node.caselist:
                _statement(module, one.statement, inner, edge)
        case ast.Substitution():
            _connect(module, node, conditions, edge)
