"""How long the tools take: `python -m bench.speed` (estimates, compiling, simulators and their speed).

`ci` runs the shipped model; another machine decodes one token of the first layer of a published shape. The
builds go to an empty cache. Wall times are of this machine with whatever else it does; seconds of processor
time (of all processes) depend less on that, and two idle cores take about half of them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from hw.machine import MACHINES, MachineConfig
from models.sampling import Sampler
from sim.rtl_backend import Rtl
from trine.cli import build_parser
from trine.generate import Plan, Text, generate
from trine.output import note, table
from trine.session import Job

from .shipped import PROMPT, SHIPPED

TOKENS = 12
#: Runs of which the quickest counts.
RUNS = 3
#: What a machine other than `ci` runs.
SHAPE = "bitnet-0.73b"

Rows = list[tuple[str, str]]


class Stages:
    """Wall time and processor time, with that of child processes, from one line of progress to the next."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, float, float]] = []
        self("")

    def __call__(self, line: str) -> None:
        times = os.times()
        processor = times.user + times.system + times.children_user + times.children_system
        self.lines.append((line, time.perf_counter(), processor))

    def rows(self) -> Rows:
        """What each line announced, and how long it took; ends the last one."""
        self("")
        return [
            (line, f"{after[1] - wall:.1f} s wall, {after[2] - processor:.1f} s processor")
            for (line, wall, processor), after in zip(self.lines, self.lines[1:], strict=False)
            if line
        ]


def build(machine: MachineConfig) -> Rows:
    """Build the machine's simulator, stage by stage."""
    from sim.verilate import build_overlay

    stages = Stages()

    def progress(line: str) -> None:
        note(line)
        stages(line)

    progress("tools")
    build_overlay(machine, progress)
    rows = stages.rows()
    first, last = stages.lines[0], stages.lines[-1]
    total = f"{last[1] - first[1]:.1f} s wall, {last[2] - first[2]:.1f} s processor"
    return [*rows[1:], (f"simulator of {machine.name}", total)]


def estimate(*arguments: str) -> str:
    """Processor seconds of `trine estimate`, the least of some runs, and how many times an empty Python's."""

    def seconds(*command: str) -> float:
        found = []
        for _ in range(RUNS):
            before = os.times()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            after = os.times()
            found.append(after.children_user + after.children_system
                         - before.children_user - before.children_system)  # fmt: skip
        return min(found)

    taken, empty = seconds("-m", "trine", "estimate", *arguments), seconds("-c", "pass")
    return f"{taken:.2f} s processor, {taken / empty:.0f} times `python -c pass`"


def simulate(artefact: Path, machine: MachineConfig, tokens: int) -> Rows:
    """Cycles that the built simulator does in a second, from a doorbell to the interrupt."""
    arguments = ["run", str(artefact), "--prompt", PROMPT, "--tokens", str(tokens)]
    job = Job.from_arguments(build_parser().parse_args(arguments))
    backend = job.open("rtl")
    assert isinstance(backend, Rtl)
    try:
        plan = Plan(job.count, job.chunk, job.tile, Sampler(temperature=0))
        timing = generate(backend, [Text(job.prompts[0])], plan)
        speed = sum(timing.prefill + timing.decode) / backend.seconds
    finally:
        backend.close()
    return [(f"simulation of {machine.name}", f"{speed:.0f} cycles/s")]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--machine", choices=sorted(MACHINES), default="ci", help="(default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="estimate and compile only")
    options = parser.parse_args()
    machine = MACHINES[options.machine]
    torch.set_num_threads(1)
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRINE_CACHE"] = folder
        artefact = Path(folder) / "model.trine"
        ci = machine.name == "ci"
        model = [str(SHIPPED)] if ci else ["--shape", SHAPE, "--layers", "1", "--no-vectors"]
        begin = time.perf_counter()
        args = build_parser().parse_args(["compile", *model, "--machine", machine.name, "-o", str(artefact)])
        args.run(args)
        what = "the shipped model" if ci else f"a layer of {SHAPE}"
        rows.append((f"trine compile of {what}", f"{time.perf_counter() - begin:.1f} s wall"))
        rows.append((f"trine estimate of it, on {machine.name}", estimate(str(artefact))))
        shape = ("--shape", SHAPE, "--machine", "kv260")
        rows.append((f"trine estimate of {SHAPE}, on kv260", estimate(*shape)))
        if options.quick:
            print(table(rows, ("what", "measured")))
            return 0
        rows += build(machine)
        rows += simulate(artefact, machine, TOKENS if ci else 1)
    print(table(rows, ("what", "measured")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
