"""How long the tools take: `python -m bench.speed` (compile the shipped model, build `ci`, simulate it).

Wall times of this machine, in one run; the builds go to an empty cache.
"""

import os
import sys
import tempfile
import time

import torch

from models.sampling import Sampler
from trine.cli import build_parser
from trine.generate import Plan, Text, generate
from trine.output import note, table
from trine.session import Job

from .shipped import PROMPT, SHIPPED

TOKENS = 12


def main() -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRINE_CACHE"] = folder
        artefact = f"{folder}/shipped.trine"
        parser = build_parser()

        begin = time.perf_counter()
        args = parser.parse_args(["compile", str(SHIPPED), "-o", artefact])
        args.run(args)
        rows.append(("trine compile of the shipped model", f"{time.perf_counter() - begin:.1f} s"))

        from hw.machine import CI
        from sim.verilate import build_overlay

        begin = time.perf_counter()
        build_overlay(CI, note)
        rows.append(("simulator of ci (Amaranth, Verilator, g++)", f"{time.perf_counter() - begin:.1f} s"))

        arguments = ["run", artefact, "--prompt", PROMPT, "--tokens", str(TOKENS)]
        job = Job.from_arguments(parser.parse_args(arguments))
        backend = job.open("rtl")
        try:
            plan = Plan(job.count, job.chunk, job.tile, Sampler(temperature=0))
            timing = generate(backend, [Text(job.prompts[0])], plan)
            cycles = sum(timing.prefill + timing.decode)
            speed = cycles / backend.seconds  # pyright: ignore[reportAttributeAccessIssue]  an Rtl
            rows.append(("simulation of ci", f"{speed:.0f} cycles/s"))
        finally:
            backend.close()
    print(table(rows, ("what", "measured")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
