"""Do the proofs catch a wrong machine? `python -m bench.mutants --count 150 --seed 1`.

Draws mutants of the whole RTL (`sim.mutants`), runs each through lockstep on small models, then through
random programs, until something shows it, and prints who was caught, by component and by kind, and every
survivor.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from compiler.compile import compile_model
from hw.artefact import Artefact
from models.quantised import SITES, QuantisedModel
from sim.dram import IDEAL
from sim.mutant_run import MACHINE, ROUGH, Check, RandomCheck, build_mutants
from sim.mutants import Mutant
from tests.models.random_model import random_model
from trine.output import note, table

PROMPT = (1, 7, 3, 29)


@dataclass(frozen=True)
class Verdict:
    """A mutant and what caught it: a check's name and what it found; `by` is None if nothing did."""

    mutant: Mutant
    by: str | None
    found: str


def model_checks() -> dict[str, Check]:
    """The checks by name, that which catches most first."""
    rms = random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, tied=False)
    l2 = random_model(2, norm="l2", gains=False, dim=32, hidden=80, heads=2, kv_heads=2, vocab=33, tied=False)
    plain = random_model(3, inner_norm=False, tied=False, dim=64, hidden=32, heads=4, kv_heads=1, layers=2)
    large = dataclasses.replace(
        plain.with_grids(dict.fromkeys(SITES, -44)), embedding=plain.embedding * 2.0**12
    )
    return {
        "rms": Check.of(_artefact(rms), ROUGH, PROMPT, 5),
        "l2": Check.of(_artefact(l2), IDEAL, PROMPT, 12),
        "plain": Check.of(_artefact(plain), ROUGH, PROMPT, 8),
        "error": Check.of_error(_artefact(large), IDEAL, 1),
    }


def _artefact(model: QuantisedModel) -> Artefact:
    return compile_model(model, b"", MACHINE, vectors=False)


def judge(executable: Path, mutant: Mutant, checks: Mapping[str, Check | RandomCheck]) -> Verdict:
    """The first check that catches the mutant."""
    for name, check in checks.items():
        found = check.verdict(executable, mutant.number)
        if found is not None:
            return Verdict(mutant, name, found.splitlines()[0])
    return Verdict(mutant, None, "")


def run(
    executable: Path, mutants: Sequence[Mutant], checks: Mapping[str, Check | RandomCheck], workers: int = 2
) -> list[Verdict]:
    """Verdicts on all, in order; the design itself must pass first."""
    for name, check in checks.items():
        found = check.verdict(executable, 0)
        if found is not None:
            raise SystemExit(f"the design without a mutant fails check {name}: {found}")
    with ThreadPoolExecutor(workers) as pool:
        verdicts = pool.map(lambda mutant: judge(executable, mutant, checks), mutants)
        return list(tqdm(verdicts, total=len(mutants), unit="mutant", disable=None))


def _counts(verdicts: Sequence[Verdict], key: Callable[[Mutant], str]) -> list[tuple[str, str, str]]:
    """(group, killed, survived) in the order of names."""
    rows = []
    for group in sorted({key(verdict.mutant) for verdict in verdicts}):
        caught = [verdict.by is not None for verdict in verdicts if key(verdict.mutant) == group]
        rows.append((group, str(sum(caught)), str(len(caught) - sum(caught))))
    return rows


def main() -> int:
    """Run and print; exit code 1 where fewer than 95 % were caught."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=150, help="mutants to draw (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default %(default)s)")
    parser.add_argument("--programs", type=int, default=120, help="random programs (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="simulators at a time (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    executable, mutants = build_mutants(options.count, options.seed, note)
    checks = {**model_checks(), "random programs": RandomCheck(range(options.programs))}
    verdicts = run(executable, mutants, checks, options.workers)
    print(table(_counts(verdicts, lambda mutant: mutant.component), ("component", "killed", "survived")))
    print(table(_counts(verdicts, lambda mutant: mutant.kind), ("kind", "killed", "survived")))
    by = [verdict.by for verdict in verdicts if verdict.by is not None]
    print("killed by: " + ", ".join(f"{name} {by.count(name)}" for name in sorted(set(by))))
    for verdict in verdicts:
        if verdict.by is None:
            print(f"survived {verdict.mutant}")
    print(f"mutants killed: {len(by)} of {len(verdicts)}")
    return 0 if len(by) >= 0.95 * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
