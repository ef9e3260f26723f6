"""Random programs, interpreter against RTL: `python -m bench.random_programs --count 5000`.

A seed reproduces its program: ``--seed S`` runs it alone, ``--seed S --show`` prints it as assembly. A long
run continues with ``--start-seed``. The timing of the memory follows from the seed. Exit code 1 where one
differs.
"""

import argparse
import sys

import torch
from tqdm import tqdm

from compiler.assembler import disassemble
from hw.machine import MACHINES
from sim.random_check import Checker
from sim.random_program import random_program
from trine.output import note


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_programs", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="programs (default %(default)s)")
    parser.add_argument("--start-seed", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument("--machine", choices=MACHINES, default="ci", help="default %(default)s")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--show", action="store_true", help="print the program of --seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = MACHINES[options.machine]
    seeds = range(options.start_seed, options.start_seed + options.count)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
        if options.show:
            case = random_program(options.seed, machine)
            print(f"# token {case.token}, position {case.position}, predicates 0x{case.predicates:04x}, "
                  f"runs {case.steps}, memory base {case.memory_base}")  # fmt: skip
            print(disassemble(case.program), end="")
    failing = []
    with Checker(machine, note) as checker:
        for seed in tqdm(seeds, desc=f"random programs on {machine.name}", unit="program", disable=None):
            found = checker.check(seed)
            if found is not None:
                failing.append(seed)
                tqdm.write(found)
    if failing:
        print(f"random programs: {len(failing)} of {len(seeds)} differ: seeds {', '.join(map(str, failing))}")
        return 1
    print(f"random programs: {len(seeds)} without difference ({checker.errors} of them end with an error)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
