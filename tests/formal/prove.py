"""Bounded proofs and k-induction over Amaranth components.

A specification is a component that instantiates the design under test: its In members are free inputs, its
`Assume` and `Assert` statements hold in every cycle, its Out members are shown in counterexamples. Yosys
(pyosys) turns it into a BTOR2 transition system, `btor` into terms, Bitwuzla decides. Memories start with
arbitrary contents; one that nothing can write, Yosys may take for a constant: let a free input write it.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bitwuzla
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Value
from amaranth.lib import wiring
from bitwuzla import Kind

from .btor import Frame, System

#: From Amaranth's RTLIL to a flat system of bit vectors: registers, no memories, no reset.
SCRIPT = """
hierarchy -auto-top; proc; flatten; delete t:$meminit t:$meminit_v2; opt_expr; opt_clean; memory_collect;
opt_clean; memory_map; chformal -lower; async2sync; opt -fast; dffunmap; opt_clean
"""
#: Yosys ends its process at an error, so it gets one of its own.
YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
#: Widest trace that is printed, in cycles.
COLUMNS = 40


class Environment(Elaboratable):
    """The specification on a clock without reset: registers start at their initial values."""

    def __init__(self, specification: wiring.Component):
        self.specification = specification
        self.sync = ClockDomain(reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = self.sync
        m.submodules.top = self.specification
        return m


def transition_system(specification: wiring.Component) -> System:
    """The specification as Yosys sees it."""
    ports = [Value.cast(port) for _, _, port in specification.signature.flatten(specification)]
    environment = Environment(specification)
    ports.append(environment.sync.clk)
    text = rtlil.convert(environment, name="top", ports=ports, platform="formal")
    with tempfile.TemporaryDirectory() as folder:
        source, script, result = (Path(folder, name) for name in ("design.il", "script.ys", "design.btor"))
        source.write_text(text)
        script.write_text(f"read_rtlil {source}; {SCRIPT.replace(chr(10), ' ')}; write_btor {result}\n")
        run = subprocess.run([sys.executable, "-c", YOSYS, script], capture_output=True, text=True)
        assert run.returncode == 0, f"Yosys: {(run.stdout + run.stderr)[-2000:]}"
        return System(result.read_text())


def prove(specification: wiring.Component, depth: int, induction: bool = False) -> None:
    """Prove all assertions of a specification.

    Parameters
    ----------
    specification : wiring.Component
    depth : int
        Cycles from reset that are searched for a counterexample.
    induction : bool
        Then go on to k-induction with k = depth (Sheeran, Singh, Stalmarck, FMCAD 2000): the assertions hold
        in every cycle.

    Raises
    ------
    AssertionError
        With the counterexample as a table; or with a state from which induction does not close.
    """
    system = transition_system(specification)
    assert system.frame(None, True).bad, "the specification asserts nothing"
    search(system, depth + induction, "counterexample from reset")
    if induction:
        search(system, depth, "induction does not close", initial=False)


def search(system: System, depth: int, title: str, initial: bool = True) -> None:
    """Raise if an assertion can fail: in any cycle from reset, or in the last one after `depth` good ones."""
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    solver = bitwuzla.Bitwuzla(system.manager, options)
    frames: list[Frame] = []
    make = system.manager.mk_term
    for cycle in range(depth + (not initial)):
        frame = system.frame(frames[-1] if frames else None, initial)
        frames.append(frame)
        for constraint in frame.constraints:
            solver.assert_formula(constraint)
        failing = make(Kind.OR, [system.manager.mk_false()] * 2 + [bad for _, bad in frame.bad])
        if initial or cycle == depth:
            solver.push(1)
            solver.assert_formula(failing)
            answer = solver.check_sat()
            if answer == bitwuzla.Result.SAT:
                raise AssertionError(report(solver, frames, title))
            assert answer == bitwuzla.Result.UNSAT, f"solver gave up at cycle {cycle}"
            solver.pop(1)
        solver.assert_formula(make(Kind.NOT, [failing]))
    if initial:
        assert solver.check_sat() == bitwuzla.Result.SAT, "the assumptions contradict each other"


def source_line(symbol: str) -> str:
    """The assertion's source, from the location in its name."""
    found = re.search(r"([^ :]+\.py):(\d+)", symbol)
    if not found or not Path(found[1]).is_file():
        return symbol
    line = Path(found[1]).read_text().splitlines()[int(found[2]) - 1].strip()
    return f"{Path(found[1]).name}:{found[2]}: {line}"


def report(solver: bitwuzla.Bitwuzla, frames: list[Frame], title: str) -> str:
    """The counterexample: failed assertions, then a row a signal, a column a cycle (hexadecimal)."""

    def value(term: bitwuzla.Term) -> int:
        return int(solver.get_value(term).value(10))

    failed = [source_line(name) for name, bad in frames[-1].bad if solver.get_value(bad).value()]
    shown = frames[-COLUMNS:]
    names = [name for name in sorted(frames[-1].named) if name.startswith("top.") and "$" not in name]
    leaves = [name for name in names if not any(other.startswith(name + ".") for other in names)]
    cells = {
        name.removeprefix("top."): [f"{value(frame.named[name]):x}" for frame in shown] for name in leaves
    }
    wide = max((len(cell) for row in cells.values() for cell in row), default=1)
    margin = max((len(name) for name in cells), default=0)
    lines = [f"{title}, cycle {len(frames) - 1}", *(f"  failed: {line}" for line in failed)]
    lines += [
        f"{name:{margin}} " + " ".join(f"{cell:>{wide}}" for cell in row) for name, row in cells.items()
    ]
    return "\n".join(lines)
