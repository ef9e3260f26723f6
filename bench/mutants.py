"""Do the proofs catch a wrong machine? `python -m bench.mutants` (150 mutants, seed 1).

Draws mutants of the whole RTL (`tests.mutants.plant`), runs each through models, random programs, arithmetic
corners, registers and faults of the memory until something shows it, and prints who was caught, by component,
by kind and by what, those that only the cycle counters show, and every survivor. Verdicts are kept in the
cache beside the simulator: ``--from N`` takes those of the mutants before N from there.
"""

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from tests.mutants.equivalent import proved_equal
from tests.mutants.observe import TIMING
from tests.mutants.plant import Mutant
from tests.mutants.run import COUNT, SEED, Verdict, build_mutants, checks, run
from trine.output import note, table


def _counts(verdicts: Sequence[Verdict], key: Callable[[Mutant], str]) -> list[tuple[str, str, str]]:
    """(group, killed, survived) in the order of names."""
    rows = []
    for group in sorted({key(verdict.mutant) for verdict in verdicts}):
        caught = [verdict.by is not None for verdict in verdicts if key(verdict.mutant) == group]
        rows.append((group, str(sum(caught)), str(len(caught) - sum(caught))))
    return rows


def _tally(words: Iterable[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())


def report(verdicts: Sequence[Verdict], verilog: str) -> int:
    """Print all tables, and which survivors are proved to be the design; how many were killed."""
    print(table(_counts(verdicts, lambda mutant: mutant.component), ("component", "killed", "survived")))
    print(table(_counts(verdicts, lambda mutant: mutant.kind), ("kind", "killed", "survived")))
    killed = [verdict for verdict in verdicts if verdict.by is not None]
    print("killed by check: " + _tally(str(verdict.by) for verdict in killed))
    print("killed by what was found: " + _tally(verdict.how for verdict in killed))
    for verdict in killed:
        if verdict.how == TIMING:
            print(f"timing only: {verdict.mutant} ({verdict.by}: {verdict.found})")
    for verdict in verdicts:
        if verdict.by is None:
            module = proved_equal(verilog, verdict.mutant)
            print(
                f"survived: {verdict.mutant} "
                + (f"(proved equal in {module})" if module else "(not proved equal)")
            )
    print(f"mutants killed: {len(killed)} of {len(verdicts)}")
    return len(killed)


def _kept(path: Path, before: int) -> list[Verdict]:
    """Verdicts of mutants below `before`, the last one of each."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {row["mutant"]["number"]: row for row in rows if row["mutant"]["number"] < before}
    return [Verdict(**row | {"mutant": Mutant(**row["mutant"])}) for _, row in sorted(found.items())]


def main() -> int:
    """Run and print; exit code 1 where fewer than 95 % were killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="mutants to draw (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw (default %(default)s)")
    parser.add_argument(
        "--from", type=int, default=1, dest="first", help="the first mutant to run (default 1)"
    )
    parser.add_argument("--programs", type=int, default=40, help="random programs in each of two memories")
    parser.add_argument("--workers", type=int, default=2, help="simulators at a time (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    executable, mutants, text = build_mutants(options.count, options.seed, note)
    path = executable.parent / "verdicts.jsonl"
    verdicts = _kept(path, options.first)
    with path.open("a" if options.first > 1 else "w") as log:

        def keep(verdict: Verdict) -> None:
            print(json.dumps(dataclasses.asdict(verdict)), file=log, flush=True)

        rest = [mutant for mutant in mutants if mutant.number >= options.first]
        verdicts += run(executable, rest, checks(options.programs), options.workers, True, keep)
    killed = report(verdicts, text)
    return 0 if killed >= 0.95 * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
