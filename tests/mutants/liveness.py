"""What a Verilog design computes from what: names that its outputs depend on, registers that keep a value."""

from collections.abc import Iterator
from typing import Any

from pyverilog.vparser import ast

#: A module and a name in it.
Name = tuple[str, str]
#: What each name is computed from.
Feeds = dict[Name, set[Name]]


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


def feeds_of(modules: dict[str, Any]) -> Feeds:
    """Conditions count as what an assignment under them is computed from."""
    outputs = {name: {one.name for one in variables(module) if isinstance(one, ast.Output)}
               for name, module in modules.items()}  # fmt: skip
    feeds: Feeds = {}

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
    return feeds


def live_names(modules: dict[str, Any], feeds: Feeds) -> set[Name]:
    """The names that an output of the first module depends on, through all instances."""
    top = next(iter(modules))
    live: set[Name] = set()
    waiting = [(top, one.name) for one in variables(modules[top]) if isinstance(one, ast.Output)]
    while waiting:
        one = waiting.pop()
        if one not in live:
            live.add(one)
            waiting += feeds.get(one, ())
    return live


def kept_values(name: str, module: Any, feeds: Feeds) -> dict[str, str]:
    """Registers of a module that can keep their value from one cycle to the next: next value -> register.

    The others take a new value in every cycle: what reset gives them is gone after one.
    """
    clocked: dict[str, str] = {}
    for item in module.items:
        if isinstance(item, ast.Always) and any(one.type == "posedge" for one in item.sens_list.list):
            for statement in getattr(item.statement, "statements", (item.statement,)):
                if isinstance(statement, ast.NonblockingSubstitution) and isinstance(
                    statement.right.var, ast.Identifier
                ):
                    clocked[statement.right.var.name] = next(names_in(statement.left))
    registers = set(clocked.values())
    found = {}
    for following, register in clocked.items():
        seen, waiting = set[str](), [following]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            if one not in registers:
                waiting += [source for owner, source in feeds.get((name, one), ()) if owner == name]
        if register in seen:
            found[following] = register
    return found


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
