"""Sequences decoded in one tile: `python -m bench.shape_batch` (kv260, the 0.73B shape, RTL).

Each run is equal to the interpreter. A weight is read once for all sequences of a tile; K and V are each
sequence's own. Throughput beside that many times the solo figure, until arithmetic binds.
"""

import argparse
import sys

import torch

from hw.machine import KV260
from sim.ddr4 import DDR4_2400
from sim.requests import batch_step
from trine.output import note, table, write_json

from .kv260 import SHAPE, account
from .paired import Paired, shape_artefact

#: Sequences that the benchmark asks for, and the least of so many times the solo throughput.
ASKED, LEAST = 4, 0.90


def main() -> int:
    """Run and print; exit code 1 where the throughput of `ASKED` sequences is below the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.shape_batch", description=__doc__)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--account", action="store_true", help="print where the cycles of each run went")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    context, most = options.context, max(options.sequences)
    room = context + 1
    model_context = 1024
    artefact = shape_artefact(SHAPE, KV260, options.layers, rows=max(model_context, most * room))
    cycles: dict[int, int] = {}
    for count in sorted({1, *options.sequences}):
        with Paired(artefact, DDR4_2400) as pair:
            for i in range(count):
                pair.restore(i * room, context - 1, seed=i + 1)
            bases = [i * room for i in range(count)]
            run = pair.run(batch_step([5 + i for i in range(count)], [context - 1] * count, bases))
            pair.end(context - 1)
        cycles[count] = run.cycles
        note(f"{count} sequences: equal to the interpreter")
        if options.account:
            print(table(account(run), (f"{count} sequences", "cycles", "share")), flush=True)
    part = {count: cycles[1] / each for count, each in cycles.items()}
    rows = [
        (count, f"{each:,}", f"{each / count:,.0f}", f"{count * part[count]:.3f}", f"{part[count]:.3f}")
        for count, each in cycles.items()
    ]
    print(f"{artefact.config['name']} and the head on kv260, context {context}, equal to the interpreter")
    print(
        table(rows, ("sequences", "cycles of a step", "cycles per token", "throughput", "of so many times"))
    )
    write_json(options.json, {"cycles": cycles, "context": context, "layers": options.layers})
    return int(ASKED in part and part[ASKED] < LEAST)


if __name__ == "__main__":
    sys.exit(main())
