"""Where a Verilog text can be mutated, and how: candidates from the syntax tree of Amaranth's output.

Amaranth (Yosys) writes one statement a line with few operators in it, so that a mutation replaces one line.
`parse` and `candidates` read the tree; a `Candidate` makes its `Change` only when drawn.
"""

import copy
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyverilog.ast_code_generator.codegen import ASTCodeGenerator
from pyverilog.vparser import ast
from pyverilog.vparser.parser import VerilogParser

from .liveness import feeds_of, kept_values, live_names, names_in, variables

#: What an operator becomes.
SWAPS = {
    ast.Plus: ast.Minus, ast.Minus: ast.Plus, ast.Times: ast.Plus, ast.Divide: ast.Times,
    ast.And: ast.Or, ast.Or: ast.And, ast.Xor: ast.And, ast.Land: ast.Lor, ast.Lor: ast.Land,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.LessThan: ast.LessEq, ast.LessEq: ast.LessThan,
    ast.GreaterThan: ast.GreaterEq, ast.GreaterEq: ast.GreaterThan, ast.Srl: ast.Sll, ast.Sll: ast.Srl,
    ast.Uor: ast.Uand, ast.Uand: ast.Uor,
}  # fmt: skip
#: Kinds that the draw takes as one: both are a bit of a literal.
CONSTANT, RESET = "constant bit", "reset value"
OPERATOR = "operator"
#: A wider value is no number: nothing adds 1 to it by mistake.
_NUMBER_BITS = 32
_LITERAL = re.compile(r"(\d+)'(s?)([hdb])([0-9a-f]+)")


class Printer(ASTCodeGenerator):
    """pyverilog's, with the space that an escaped identifier ends with."""

    def visit_Identifier(self, node: Any) -> str:  # noqa: N802  the visitor's own convention
        return f"{node.name} "


PRINTER = Printer()


@dataclass(frozen=True)
class Change:
    """A statement, its mutation, and the line that chooses between them."""

    before: str
    after: str
    #: (condition that the mutant is alive, its number) -> the line.
    text: Callable[[str, int], str]


@dataclass(frozen=True)
class Candidate:
    """A possible mutation of one line."""

    module: str
    kind: str
    line: int
    #: None where the line holds more than the statement.
    change: Callable[[], Change | None]
    #: Reset of a register that is neither a flag nor a state machine's.
    data: bool = False


@dataclass(frozen=True)
class Place:
    """Where a statement is: its module, the text's lines and the widths of the module's variables.

    live: names that an output of the design depends on. kept: as of `kept_values`.
    maxima: names of comparisons that only choose between what they compare: either way where it is equal.
    """

    module: str
    lines: list[str]
    widths: dict[str, int]
    live: set[tuple[str, str]]
    kept: dict[str, str]
    maxima: set[str]

    def alive(self, *nodes: Any) -> bool:
        """Whether an output depends on a name in `nodes`."""
        return any((self.module, name) in self.live for node in nodes for name in names_in(node))


def parse(text: str) -> Any:
    """Syntax tree of a text without attributes and comments."""
    with tempfile.TemporaryDirectory(prefix="trine-") as folder:  # for the parser's tables
        return VerilogParser(outputdir=folder, debug=False).parse(text)


def candidates(tree: Any, lines: list[str]) -> list[Candidate]:
    """All candidates, in the order of the text."""
    modules = {one.name.removeprefix("\\"): one for one in tree.description.definitions}
    feeds = feeds_of(modules)
    live = live_names(modules, feeds)
    found: list[Candidate] = []
    for name, module in modules.items():
        widths = {variable.name: _width(variable) for variable in variables(module)}
        place = Place(name, lines, widths, live, kept_values(name, module, feeds), _maxima(module))
        for item in module.items:
            if isinstance(item, ast.Assign) and place.alive(item.left):
                found += _of_assign(item, place)
            elif isinstance(item, ast.Always):
                found += _of_statement(item.statement, place, nested=False)
    return found


def _maxima(module: Any) -> set[str]:
    chosen = {}
    for item in module.items:
        if isinstance(item, ast.Assign) and isinstance(item.right.var, ast.Cond):
            one = item.right.var
            arms = frozenset(PRINTER.visit(arm) for arm in (one.true_value, one.false_value))
            chosen.setdefault(PRINTER.visit(one.cond).strip(), set()).add(arms)
    found = set()
    for item in module.items:
        if isinstance(item, ast.Assign) and isinstance(item.right.var, ast.GreaterThan | ast.LessThan):
            value, name = item.right.var, PRINTER.visit(item.left.var).strip()
            compared = frozenset((PRINTER.visit(value.left), PRINTER.visit(value.right)))
            if chosen.get(name) == {compared}:
                found.add(name)
    return found


def _width(variable: Any) -> int:
    """Bits; Yosys writes a variable of none as [-1:0]."""
    if variable.width is None:
        return 1
    high = variable.width.msb
    return 0 if isinstance(high, ast.Uminus) else int(high.value) - int(variable.width.lsb.value) + 1


def _of_assign(item: Any, place: Place) -> Iterator[Candidate]:
    target, value = item.left.var, item.right.var
    width = _target_width(target, place)
    if not width:
        return
    for kind, mutated in _expressions(value, width):
        if kind == OPERATOR and PRINTER.visit(target).strip() in place.maxima:
            continue

        def change(mutated: Callable[[], str] = mutated) -> Change | None:
            left, before, after = PRINTER.visit(target), PRINTER.visit(value), mutated()
            if not _same(place.lines[item.lineno - 1], f"assign {left} = {before};"):
                return None

            def text(alive: str, number: int) -> str:
                # Two wires, so that neither expression's width or sign reaches the other.
                old, new = f"trine_old_{number}", f"trine_new_{number}"
                bits = f"[{width - 1}:0]"
                return (f"wire {bits} {old} = {before}; wire {bits} {new} = {after}; "
                        f"assign {left} = {alive} ? {new} : {old};")  # fmt: skip

            return Change(f"{left}= {before}", f"{left}= {after}", text)

        yield Candidate(place.module, kind, item.lineno, change)


def _target_width(target: Any, place: Place) -> int | None:
    match target:
        case ast.Identifier():
            return place.widths[target.name]
        case ast.Partselect():
            return int(target.msb.value) - int(target.lsb.value) + 1
        case ast.Pointer():
            return 1
    return None


def _of_statement(node: Any, place: Place, nested: bool) -> Iterator[Candidate]:
    match node:
        case ast.Block():
            for one in node.statements:
                yield from _of_statement(one, place, nested)
        case ast.IfStatement():
            if isinstance(node.cond, ast.Identifier) and node.cond.name == "rst":
                yield from _of_reset(node, place)
                return
            if isinstance(node.cond, ast.Identifier) and "$auto$" in node.cond.name:
                return
            if place.alive(*_targets(node)):
                yield _of_control(node, node.cond, "negated condition", "if", "!({})", place)
            for one in (node.true_statement, node.false_statement):
                yield from _of_statement(one, place, nested=True)
        case ast.CaseStatement():
            if place.alive(*_targets(node)):
                yield _of_control(node, node.comp, "other case", "case[zx]?", "({}) ^ 1'h1", place)
            for one in node.caselist:
                yield from _of_statement(one.statement, place, nested=True)
        case ast.Substitution():
            if place.alive(node.left):
                yield from _of_substitution(node, place, nested)


def _of_reset(node: Any, place: Place) -> Iterator[Candidate]:
    """Other reset values, of registers that can keep them."""
    for one in getattr(node.true_statement, "statements", ()):
        name = getattr(one.left.var, "name", "")
        register = place.kept.get(name)
        if register is None or not place.alive(one.left):
            continue
        data = place.widths[name] > 1 and "fsm_state" not in register
        for candidate in _of_substitution(one, place, nested=False):
            if candidate.kind == CONSTANT:
                yield dataclasses.replace(candidate, kind=RESET, data=data)


def _targets(node: Any) -> Iterator[Any]:
    """Left sides of all assignments in a statement."""
    if isinstance(node, ast.Substitution):
        yield node.left
    elif isinstance(node, ast.Node):
        for child in node.children() or ():
            yield from _targets(child)


def _of_control(node: Any, value: Any, kind: str, word: str, mutation: str, place: Place) -> Candidate:
    """`value` is what stands in the parentheses after `word`."""

    def change() -> Change | None:
        before = PRINTER.visit(value)
        found = re.fullmatch(rf"(.*?\b{word} )\((.*)\)( begin)?\s*", place.lines[node.lineno - 1])
        if found is None or not _same(found[2], before):
            return None
        after = mutation.format(before)

        def text(alive: str, _: int) -> str:
            return f"{found[1]}({alive} ? {after} : ({before})){found[3] or ''}"

        return Change(f"({before})", f"({after})", text)

    return Candidate(place.module, kind, node.lineno, change)


def _of_substitution(node: Any, place: Place, nested: bool) -> Iterator[Candidate]:
    arrow = "<=" if isinstance(node, ast.NonblockingSubstitution) else "="
    target, value = node.left.var, node.right.var
    kept = place.kept.get(target.name) if isinstance(target, ast.Identifier) else None
    if not nested and isinstance(value, ast.Identifier) and value.name == kept:
        return  # Amaranth's line, of no statement: a register keeps its value

    def chosen(mutated: Callable[[], str] | None) -> Change | None:
        left, before = PRINTER.visit(target), PRINTER.visit(value)
        whole = f"{left}{arrow} {before};"
        if not _same(place.lines[node.lineno - 1], whole):
            return None
        after = ";" if mutated is None else f"{left}{arrow} {mutated()};"
        return Change(whole, after, lambda alive, _: f"if ({alive}) begin {after} end else begin {whole} end")

    if nested or arrow == "<=":
        yield Candidate(place.module, "dropped assignment", node.lineno, lambda: chosen(None))
    width = _target_width(target, place) if isinstance(target, ast.Identifier | ast.Partselect) else None
    for kind, mutated in _expressions(value, width or 1):
        yield Candidate(place.module, kind, node.lineno, lambda mutated=mutated: chosen(mutated))


def _expressions(value: Any, width: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Mutations of a right side: (kind, its text when asked for)."""
    constant = isinstance(value, ast.IntConst)
    if not constant:
        yield "stuck at 0", lambda: "'0"
        yield "stuck at 1", lambda: "'1"
        if 1 < width <= _NUMBER_BITS:
            yield "off by one", lambda: f"({PRINTER.visit(value)}) + 1"
    for index, (_, _, node) in enumerate(_walk([value], 0)):
        kind = _kind(node)
        if kind is not None:
            yield kind, lambda index=index: _mutated(value, index)


def _kind(node: Any) -> str | None:
    if isinstance(node, ast.Plus | ast.Minus) and _is_zero(node.right):
        return None  # either sign gives the same
    if type(node) in SWAPS:
        return OPERATOR
    if isinstance(node, ast.Unot | ast.Ulnot):
        return "negated condition"
    if isinstance(node, ast.Cond):
        return "arms swapped"
    if isinstance(node, ast.IntConst) and _LITERAL.fullmatch(node.value):
        return CONSTANT
    return None


def _is_zero(node: Any) -> bool:
    return isinstance(node, ast.IntConst) and re.fullmatch(r"\d+'s?[hdb]0+", node.value) is not None


def _walk(holder: Any, key: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(holder, key, node) of an expression's nodes that may be replaced.

    Bounds of selections may not, nor the zeros with which Amaranth widens a value.
    """
    node = holder[key] if isinstance(holder, list) else getattr(holder, key)
    yield holder, key, node
    if isinstance(node, ast.Concat | ast.SystemCall):
        name = "list" if isinstance(node, ast.Concat) else "args"
        parts = list(getattr(node, name))
        setattr(node, name, parts)
        extended = isinstance(node, ast.Concat) and _is_zero(parts[0])
        for i in range(extended, len(parts)):
            yield from _walk(parts, i)
        return
    if isinstance(node, ast.Partselect | ast.Repeat):
        return
    for name in ("ptr", "cond", "true_value", "false_value", "left", "right"):
        if isinstance(getattr(node, name, None), ast.Node):
            yield from _walk(node, name)


def _mutated(value: Any, index: int) -> str:
    """Text of the expression whose node `index`, in the order of `_walk`, is mutated."""
    root = [copy.deepcopy(value)]
    holder, key, node = list(_walk(root, 0))[index]
    match node:
        case ast.Unot():
            new = node.right
        case ast.Ulnot():
            new = ast.Uor(node.right)
        case ast.Cond():
            new = ast.Cond(node.cond, node.false_value, node.true_value)
        case ast.IntConst():
            new = ast.IntConst(_flipped(node.value))
        case ast.UnaryOperator():
            new = SWAPS[type(node)](node.right)
        case _:
            new = SWAPS[type(node)](node.left, node.right)
    if isinstance(holder, list):
        holder[key] = new
    else:
        setattr(holder, key, new)
    return PRINTER.visit(root[0])


def _flipped(literal: str) -> str:
    """A sized literal with its lowest bit but one flipped, or its only bit."""
    found = _LITERAL.fullmatch(literal)
    assert found is not None
    width, base = int(found[1]), {"h": 16, "d": 10, "b": 2}[found[3]]
    value = int(found[4], base) ^ (2 if width > 1 else 1)
    return f"{width}'{found[2]}h{value:x}"


def _same(line: str, wanted: str) -> bool:
    """Whether two texts differ at most in spaces and parentheses."""
    first, second = (re.sub(r"[\s()]", "", text) for text in (line, wanted))
    return first == second
