"""Mutants of a design: one Verilog text that holds them all, of which one at most is alive in a run.

Sites are drawn by a seed from the syntax tree (pyverilog) of the Verilog that Amaranth emitted, the same
number from every component (source file) as far as it goes; a component's draw is its own, so that a change
of one leaves those of the others. Each becomes a choice in the text between the statement and its mutation,
by a number that the simulator takes from its command line (`surroundings`). One build so serves all, and the
run of mutant 0, the design as it is, shows that the choices change nothing.

Not drawn, since no run could tell them from the design, or since nobody wrote them: what no output depends on
(names kept for waveforms); reset values of registers that are written in every cycle, or before they are
read; `>` against `>=` where the larger of the two is taken; the lines in which a register keeps its value;
zeros that widen one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .sites import CONSTANT, RESET, Candidate, Change, candidates, parse
from .surroundings import NUMBER, surrounded

#: Components whose every register means something after reset; data elsewhere is written before it is read.
_AT_REST = ("amaranth/fifo", "csr")
_ATTRIBUTE = re.compile(r"\(\* .*? \*\)|/\*.*?\*/")
_SOURCE = re.compile(r'src = "([^":]+):(\d+)')


@dataclass(frozen=True)
class Mutant:
    """One mutation: where it is, what it is."""

    number: int
    #: Source file of the component, without its suffix; Verilog module; source line the statement came from.
    component: str
    module: str
    source: str
    #: Line of the Verilog text without mutants, from 1.
    line: int
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return (f"{self.number}: {self.kind}, {self.source} (module {self.module}, line {self.line}): "
                f"{self.before}  ->  {self.after}")  # fmt: skip


def plant(verilog: str, count: int, seed: int) -> tuple[str, list[Mutant]]:
    """`count` mutants of a design: the text that holds all, and what they are, numbered from 1.

    `verilog` is Amaranth's with its source attributes (`overlay_verilog` with `sources`); its first module
    is the top. The first k mutants are k components as far as there are so many.
    """
    lines = verilog.split("\n")
    plain = _ATTRIBUTE.sub(lambda found: " " * len(found[0]), verilog)
    text = plain.split("\n")
    tree = parse(plain)
    found = candidates(tree, text)
    owners = _owners(lines)
    by_component: dict[str, dict[str, list[Candidate]]] = {}
    for one in found:
        if one.data and owners[one.module] not in _AT_REST:
            continue
        kinds = by_component.setdefault(owners[one.module], {})
        kinds.setdefault(CONSTANT if one.kind == RESET else one.kind, []).append(one)
    mutants: list[Mutant] = []
    for number, (component, one, change) in enumerate(_draw(by_component, count, seed), 1):
        text[one.line - 1] = change.text(f"{NUMBER} == {number}", number)
        mutants.append(
            Mutant(
                number,
                component,
                one.module,
                _source(lines, one.line),
                one.line,
                one.kind,
                _short(change.before),
                _short(change.after),
            )
        )
    return surrounded("\n".join(text), tree), mutants


def _draw(
    by_component: dict[str, dict[str, list[Candidate]]], count: int, seed: int
) -> Sequence[tuple[str, Candidate, Change]]:
    """Components in turn, in a random order; of each a kind, then a site of the kind; no line twice."""
    randoms = {component: Random(f"{seed} {component}") for component in by_component}
    order = sorted(by_component, key=lambda component: randoms[component].random())
    drawn: list[tuple[str, Candidate, Change]] = []
    used: set[int] = set()
    while len(drawn) < count and order:
        for component in list(order):
            kinds, random = by_component[component], randoms[component]
            for kind in kinds:
                kinds[kind] = [one for one in kinds[kind] if one.line not in used]
            left = [kind for kind in sorted(kinds) if kinds[kind]]
            if not left:
                order.remove(component)
            elif len(drawn) < count:
                one = random.choice(kinds[random.choice(left)])
                used.add(one.line)
                if (change := one.change()) is not None:
                    drawn.append((component, one, change))
    return drawn


def _owners(lines: list[str]) -> dict[str, str]:
    """Component of each module: the source file named above it."""
    owners = {}
    for i, line in enumerate(lines):
        if line.startswith("module "):
            name = re.split(r"[\s(]", line.removeprefix("module ").strip())[0]
            owners[name.removeprefix("\\")] = _source(lines, i + 1).split(":")[0].removesuffix(".py")
    return owners


def _source(lines: list[str], number: int) -> str:
    """``file.py:line`` of the attribute on line `number` or the nearest above it; not of context managers."""
    for line in reversed(lines[:number]):
        if (found := _SOURCE.search(line)) and not found[1].endswith("contextlib.py"):
            path = found[1].split("/")
            library = "amaranth/" if "amaranth" in path else ""
            return f"{library}{path[-1]}:{found[2]}"
    return "unknown:0"


def _short(text: str) -> str:
    return " ".join(text.split())
