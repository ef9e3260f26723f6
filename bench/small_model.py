"""A model bound by latency, not by memory: `python -m bench.small_model` (bit_model_1M on kv260, RTL).

One decode token at a context, RTL equal to the interpreter: where each cycle went by unit (exact counters),
and by instruction of a layer (the chain of dependences of `compiler.dependence`), beside the limit that the
chain sets. K and V of the older tokens are those of the model's own text.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import torch

from compiler.compile import compile_model
from compiler.dependence import dependency_chain, what
from compiler.frontends import load_checkpoint
from compiler.timeline import Timeline, decoded
from hw.machine import MACHINES
from sim.backend import Request
from sim.ddr4 import DDR4_2400
from sim.entries import Entry
from sim.requests import prompt_requests
from trine.output import note, table, write_json

from .kv260 import account
from .paired import Paired
from .shipped import ROOT

MODEL = ROOT.parent / "shared" / "checkpoints" / "bit_model_1M.bin"
MOST_CYCLES, MOST_OF_LIMIT = 24_000, 2.0
BOS = 1


def main() -> int:
    """Run and print; exit code 1 where a limit is missed, 2 where there is no model."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_model", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="a ternary checkpoint")
    parser.add_argument("--machine", choices=sorted(MACHINES), default="kv260")
    parser.add_argument("--context", type=int, default=64, help="tokens seen (default %(default)s)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if not options.model.exists():
        note(f"wanted the checkpoint {options.model}, found none; name another one with --model")
        return 2
    torch.set_num_threads(1)
    machine = MACHINES[options.machine]
    artefact = compile_model(load_checkpoint(options.model), b"", machine, vectors=False)
    context, program = options.context, decoded(artefact.program)

    with Paired(artefact, DDR4_2400) as pair:
        # Greedy text up to the token that is measured.
        position, token = 0, BOS
        for request in prompt_requests([BOS], chunk=1, tile=1):
            token = pair.run(request).outcome.tokens[-1][-1]
            position += 1
        if context > 2:
            more = pair.run(Request([Entry(token, position)], steps=context - 2))
            position, token = context - 1, more.outcome.tokens[-1][-1]
        run = pair.run(Request([Entry(token, position)]))
        pair.end(position)

    chain = dependency_chain(machine, program, Entry(token, position))
    limit = chain[-1].end
    memory = DDR4_2400.plain(machine)
    guess = Timeline(machine, memory, program).step([Entry(token, position)]).cycles
    layers = int(artefact.config["layers"])
    name = artefact.config["name"]
    print(f"{name} on {machine.name}, one token at context {context}, equal to the interpreter")
    print(f"{run.cycles:,} cycles")
    print(f"{machine.clock_mhz * 1e6 / run.cycles:,.0f} tokens/s at {machine.clock_mhz:g} MHz; "
          f"estimate {guess:,.0f} ({guess / run.cycles - 1:+.2%})")  # fmt: skip
    print(f"dependency limit {limit:,.0f}; measured / limit {run.cycles / limit:.3f}\n")
    print(table(account(run), ("where the cycles went", "cycles", "share")), end="\n\n")

    # The same places of all layers, in the order of a middle one.
    spent: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for link in chain:
        spent[what(link)] += link.end - link.begin
        counts[what(link)] += 1
    rows = [(name, counts[name], f"{spent[name]:,.0f}", f"{spent[name] / limit:.1%}") for name in spent]
    print(table(rows, ("chain of dependences", "times", "cycles", "of the limit")))
    write_json(options.json, {
        "model": artefact.config["name"], "machine": machine.name, "context": context, "cycles": run.cycles,
        "limit": limit, "estimate": guess, "layers": layers, "counters": run.counters, "chain": spent,
    })  # fmt: skip
    missed = [f"{MOST_CYCLES:,} cycles"] * (run.cycles > MOST_CYCLES)
    missed += [f"{MOST_OF_LIMIT:g} times the limit"] * (run.cycles > MOST_OF_LIMIT * limit)
    if missed:
        print(f"missed: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
