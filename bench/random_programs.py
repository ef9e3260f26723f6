"""Random programs, interpreter against RTL: `python -m bench.random_programs --count 5000`.

The seeds are dealt in blocks of 50 to machines with tiles of 1, 4 and 8 tokens, each block with a memory
timing of its own, and to two processes. ``--machine M --seed S`` runs one again; ``--show`` prints it
as assembly with registers and token table. A long run continues with ``--start``. Exit code 1 where one
differs.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from tqdm import tqdm

from hw.machine import CI, MACHINES, NARROW, MachineConfig
from sim.machine_grid import GRID, HUNGRY, SHALLOW, THIN
from sim.random_check import Checker
from sim.verilate import build_overlay
from tests.random.program import random_program
from tests.random.show import show
from trine.output import note

#: Block b runs on machine b modulo their number.
ROUND = (CI, SHALLOW, NARROW, CI, THIN, SHALLOW, HUNGRY)
NAMES: dict[str, MachineConfig] = MACHINES | {machine.name: machine for machine, _ in GRID}


def check_block(machine: MachineConfig, seeds: Sequence[int]) -> tuple[list[str], int]:
    """What differs, and how many programs ended with an error (the same one on both sides)."""
    torch.set_num_threads(1)
    with Checker(machine) as checker:
        found = [checker.check(random_program(seed, machine)) for seed in seeds]
    return [text for text in found if text is not None], checker.errors


def blocks(start: int, count: int, machine: MachineConfig | None) -> list[tuple[MachineConfig, range]]:
    """Machines and their seeds, cut where a block of `Checker` ends."""
    size, end, found = Checker.BLOCK, start + count, []
    while start < end:
        number = start // size
        seeds = range(start, min(end, (number + 1) * size))
        found.append((machine or ROUND[number % len(ROUND)], seeds))
        start = seeds.stop
    return found


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_programs", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="programs (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument("--machine", choices=NAMES, help="this one alone")
    parser.add_argument("--seed", type=int, help="this seed alone; on ci or --machine")
    parser.add_argument("--show", action="store_true", help="print the program of --seed")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    options = parser.parse_args()
    machine = NAMES[options.machine] if options.machine else None
    if options.seed is not None:
        machine = machine or CI
        options.start, options.count = options.seed, 1
        if options.show:
            print(show(random_program(options.seed, machine)), end="")
    work = blocks(options.start, options.count, machine)
    for one in dict.fromkeys(machine for machine, _ in work):
        build_overlay(one, note)
    failing, errors = 0, 0
    with (
        ProcessPoolExecutor(options.workers) as pool,
        tqdm(total=options.count, desc="random programs", unit="program", disable=None) as bar,
    ):
        pending = {pool.submit(check_block, machine, seeds): len(seeds) for machine, seeds in work}
        for done in as_completed(pending):
            found, ended = done.result()
            failing, errors = failing + len(found), errors + ended
            for text in found:
                tqdm.write(text)
            bar.update(pending[done])
    if failing:
        print(f"random programs: {failing} of {options.count} differ")
        return 1
    print(f"random programs: {options.count} without difference ({errors} of them end with an error)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
