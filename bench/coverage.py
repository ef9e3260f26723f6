"""What random programs have run of the instruction set: `python -m bench.coverage`.

Runs programs on the interpreter and on the RTL of several machines, counts the bins of `sim.coverage` that
they hit, prints a table and every bin that none has hit. Exit code 1 where a program differs or fewer than
95 % of the bins are hit.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from hw.machine import CI, MachineConfig
from sim.coverage import GROUPS, Coverage, Watch, watching
from sim.coverage_stalls import build_monitored, hit_stalls
from sim.machine_grid import THIN
from sim.random_check import Checker, predict
from tests.random.program import random_program
from trine.output import note, table

#: Tiles of 4 and of 8.
ROUND = (CI, THIN)
_WANTED = 0.95


def cover(machine: MachineConfig, seeds: range, executable: Path | None) -> tuple[Coverage, list[str]]:
    """Coverage of the programs of some seeds, on the RTL too where there is one; what differs."""
    torch.set_num_threads(1)
    coverage, failing = Coverage(machine), []
    with tempfile.TemporaryDirectory(prefix="trine-") as folder:
        stalls = Path(folder) / "stalls"
        checker = executable and Checker(machine, executable=executable, plusargs=[f"+stalls={stalls}"])
        for seed in seeds:
            case = random_program(seed, machine)
            watch = Watch(coverage, case)
            with watching(watch):
                predicted = predict(case, machine, watch)
            watch.end(predicted.error, predicted.tokens)
            coverage.hit_counters(predicted.counters)
            if checker:
                found = checker.compare(case, predicted)
                failing += [found] if found else []
                if checker.measured is not None:
                    coverage.hit_counters(checker.measured.counters)
        if checker:
            checker.close()
        hit_stalls(coverage, stalls)
    return coverage, failing


def total(results: list[tuple[MachineConfig, Coverage]]) -> dict[str, dict[str, int]]:
    """Hits of all; bins of a machine that the others lack carry its name."""
    found: dict[str, dict[str, int]] = {group: {} for group in GROUPS}
    for group in GROUPS:
        everywhere = set.intersection(*(set(coverage.bins[group]) for _, coverage in results))
        for machine, coverage in results:
            for name, count in coverage.bins[group].items():
                key = name if name in everywhere else f"{name} [{machine.name}]"
                found[group][key] = found[group].get(key, 0) + count
    return found


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="programs (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--no-rtl", action="store_true", help="interpreter only: no stalls")
    options = parser.parse_args()
    executables = {
        machine.name: None if options.no_rtl else build_monitored(machine, note) for machine in ROUND
    }
    size = Checker.BLOCK
    work = [(ROUND[at // size % len(ROUND)], range(at, min(at + size, options.start + options.count)))
            for at in range(options.start, options.start + options.count, size)]  # fmt: skip
    covered = {machine.name: Coverage(machine) for machine in ROUND}
    failing: list[str] = []
    with (
        ProcessPoolExecutor(options.workers) as pool,
        tqdm(total=options.count, desc="coverage", unit="program", disable=None) as bar,
    ):
        jobs = [pool.submit(cover, machine, seeds, executables[machine.name]) for machine, seeds in work]
        for job, (machine, seeds) in zip(jobs, work, strict=True):
            coverage, differing = job.result()
            covered[machine.name].add(coverage)
            failing += differing
            bar.update(len(seeds))
    bins = total([(machine, covered[machine.name]) for machine in ROUND])
    if options.no_rtl:
        del bins["stalled"]
    hits = {group: (sum(map(bool, found.values())), len(found)) for group, found in bins.items()}
    for group, found in bins.items():
        for name, count in found.items():
            if not count:
                print(f"not covered: {group}: {name}")
    for text in failing:
        print(text)
    rows = [(group, str(hit), str(all_), f"{100 * hit / all_:.1f} %") for group, (hit, all_) in hits.items()]
    hit, all_ = (sum(pair[i] for pair in hits.values()) for i in range(2))
    rows.append(("total", str(hit), str(all_), f"{100 * hit / all_:.1f} %"))
    print(table(rows, ("group", "covered", "bins", "share")))
    print(f"coverage: {hit} of {all_} bins by {options.count} programs")
    return 1 if failing or hit < _WANTED * all_ else 0


if __name__ == "__main__":
    sys.exit(main())
