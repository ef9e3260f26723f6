"""Where every cycle of decode went: `python -m bench.decode_cycles` (shipped model, machine ci, RTL)."""

import argparse
import sys

import torch

from hw.isa import COUNTERS
from models.sampling import Sampler
from sim.rtl_backend import Rtl
from trine.cli import build_parser
from trine.generate import Plan, Text, generate
from trine.output import note, table, write_json
from trine.session import Job, figures

from .shipped import PROMPT, shipped_artefact

BUS = ("read_beats", "bus_full", "bus_wait", "bus_idle")
UNITS = ("matmul_active", "matmul_starved", "attention_active", "attention_starved", "vector_only",
         "vector_starved", "overhead")  # fmt: skip
MEANING = {counter.name: counter.meaning for counter in COUNTERS} | {"read_beats": "cycles with a read beat"}


def main() -> int:
    """Run and print both divisions of all decode cycles."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode_cycles", description=__doc__)
    parser.add_argument("--tokens", type=int, default=32, help="tokens to generate (default %(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="tokens by one doorbell (default: all)")
    parser.add_argument("--machine", default="ci")
    parser.add_argument("--dram", default="", help="as for trine run")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    artefact = shipped_artefact(options.machine)
    arguments = [
        "run",
        str(artefact),
        "--prompt",
        PROMPT,
        "--tokens",
        str(options.tokens),
        "--dram",
        options.dram,
    ]
    job = Job.from_arguments(build_parser().parse_args(arguments))
    backend = job.open("rtl")
    assert isinstance(backend, Rtl)
    with backend:
        sampler = Sampler(temperature=0)
        text = Text(job.prompts[0])
        generate(backend, [text], Plan(1, job.chunk, job.tile, sampler))
        before, first, text.done = backend.counters(), text.processed, ""
        timing = generate(backend, [text], Plan(job.count, job.chunk, job.tile, sampler, steps=options.steps))
        counts = {name: value - before[name] for name, value in backend.counters().items()}
        numbers = figures(job, backend, timing)
    steps = counts["steps"]
    print(
        f"{steps} decode tokens at positions {first} to {text.processed - 1}, "
        f"{options.steps or 'all'} by one doorbell, machine {options.machine}\n"
    )
    for title, names in (("the bus", BUS), ("the units", UNITS)):
        assert sum(counts[name] for name in names) == counts["cycles"], "cycles are missing from the account"
        rows = [
            (name, f"{counts[name] / steps:.1f}", f"{counts[name] / counts['cycles']:.1%}", MEANING[name])
            for name in names
        ]
        rows.append(("all", f"{counts['cycles'] / steps:.1f}", "100.0%", "cycles"))
        print(table(rows, (title, "cycles per token", "share", "meaning")), end="\n\n")
    bus = numbers["bus"]
    print(
        f"useful bytes / (cycles x {bus['bytes_per_cycle']}): {bus['utilisation']:.4f}; "
        f"ceiling {bus['ceiling']:.4f}; of the ceiling {bus['utilisation'] / bus['ceiling']:.4f}"
    )
    print(
        "a unit lacked tape while nothing was asked of the memory: "
        f"{counts['starved_bus_free'] / steps:.1f} cycles per token"
    )
    write_json(options.json, {**numbers, "decode_counters": counts, "decode_tokens": steps})
    note(f"simulated {backend.counters()['cycles'] / backend.seconds:.0f} cycles/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
