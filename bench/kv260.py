"""The KV260-class machine on the 0.73B shape, in RTL: `python -m bench.kv260` (`make bench-kv260`).

Each run is made by RTL and interpreter from one and the same memory, and compared in token ids, ranked
logits, K and V rows, exact counters and every byte of memory. Decode: one token at each context, from
embedding to argmax, K and V of the older tokens being random. Prompts: whole, up to the first token. Memory:
DDR4-2400 (docs/memory.md). Papers' figures stand beside ours and are theirs.
"""

import argparse
import sys

import torch

from hw.artefact import Artefact
from hw.machine import KV260
from models.numerics import TRITS_PER_BYTE
from models.quantised import matrix_shapes
from models.seeded import SeededModel
from sim.backend import Request
from sim.ddr4 import DDR4_2400
from sim.dram import dram_ceiling
from sim.entries import Entry
from sim.requests import prompt_requests
from trine.output import note, table, write_json

from .paired import Paired, Ran, shape_artefact, useful_bytes

SHAPE = "bitnet-0.73b"
CONTEXTS, PROMPTS = (64, 512, 1023), (64, 128)
#: Tokens a second of decode, and seconds to the first token of a prompt, as the papers state them.
DECODE_PAPERS = (("TeLLMe v2 (its paper)", 25.0), ("PD-Swap (its paper)", 27.0))
PREFILL_PAPERS = {64: 0.45, 128: 0.96}
#: What the benchmark asks of itself: of all bytes a bus could move, and of those that the memory can give.
LEAST, LEAST_OF_CEILING = 0.90, 0.97
MOST_SECONDS = {64: 0.15, 128: 0.32}


def weight_bits(artefact: Artefact) -> float:
    """Bits that a ternary weight takes on the tape."""
    shapes = matrix_shapes(SeededModel.load(artefact.model).config).values()
    codes = sum(rows * -(-k // TRITS_PER_BYTE) for rows, k in shapes)
    return 8 * codes / sum(rows * k for rows, k in shapes)


def decode(artefact: Artefact, context: int, seed: int) -> Ran:
    """One token that sees ``context`` tokens, itself included."""
    with Paired(artefact, DDR4_2400, seed) as pair:
        pair.restore(0, context - 1, seed)
        found = pair.run(Request([Entry(1 + context, context - 1)]))
        pair.end(context - 1)
    return found


def prefill(artefact: Artefact, tokens: int, seed: int) -> Ran:
    """A prompt, in one chunk of full tiles, and its first token."""
    prompt = SeededModel.load(artefact.model).some_tokens(tokens)
    with Paired(artefact, DDR4_2400, seed) as pair:
        (found,) = pair.runs(list(prompt_requests(prompt, chunk=KV260.max_chunk, tile=KV260.tile)))
        pair.end(tokens - 1)
    return found


def account(run: Ran) -> list[tuple[str, str, str]]:
    """Where the cycles of a run went, by unit and by bus."""
    names = ("matmul_active", "matmul_starved", "attention_active", "attention_starved", "vector_only",
             "vector_starved", "overhead", "read_beats", "bus_full", "bus_wait", "bus_idle")  # fmt: skip
    return [(name, f"{run.counters[name]:,}", f"{run.counters[name] / run.cycles:.2%}") for name in names]


def main() -> int:
    """Run and print; exit code 1 where a limit is missed, 2 where RTL and interpreter differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.kv260", description=__doc__)
    parser.add_argument("--contexts", type=int, nargs="*", default=CONTEXTS, metavar="N")
    parser.add_argument("--prompts", type=int, nargs="*", default=PROMPTS, metavar="N")
    parser.add_argument("--layers", type=int, help="of the shape, from the first (default: all)")
    parser.add_argument("--seed", type=int, default=7, help="of weights, K, V, prompts (default %(default)s)")
    parser.add_argument("--account", action="store_true", help="print where the cycles of each run went")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock, bus = KV260.clock_mhz * 1e6, KV260.bus_bytes
    ceiling = dram_ceiling(DDR4_2400.at(KV260), bus)
    artefact = shape_artefact(SHAPE, KV260, options.layers, options.seed)
    bits = weight_bits(artefact)
    note(f"{artefact.config['name']} compiled: {len(artefact.image):,} bytes of memory image")
    print(
        f"{artefact.config['name']}, machine kv260 ({bus} bytes a cycle, {KV260.clock_mhz:g} MHz)\n"
        f"DDR4-2400 gives at most {ceiling:.4f} of the bus; {bits:.4f} bits a ternary weight",
        flush=True,
    )
    missed: list[str] = []
    report: dict[str, object] = {"shape": artefact.config["name"], "ceiling": ceiling, "bits": bits}

    rows, result = [], {}
    for context in options.contexts:
        run = decode(artefact, context, options.seed)
        use = useful_bytes(artefact, [context]) / (run.cycles * bus)
        note(
            f"context {context}: equal to the interpreter; {run.cycles / run.seconds:,.0f} cycles/s simulated"
        )
        print(f"decode at context {context}: {run.cycles:,} cycles, equal to the interpreter")
        print(f"utilisation of ceiling {use / ceiling:.4f}", flush=True)
        if options.account:
            print(table(account(run), (f"context {context}", "cycles", "share")), flush=True)
        if use < LEAST or use / ceiling < LEAST_OF_CEILING:
            missed.append(f"decode at {context}")
        rows.append((context, f"{run.cycles:,}", f"{use:.4f}", f"{clock / run.cycles:.1f}"))
        result[str(context)] = {"cycles": run.cycles, "useful_of_bus": use, "of_ceiling": use / ceiling,
                                "tokens_per_second": clock / run.cycles, "counters": run.counters,
                                "simulated_cycles_per_second": run.cycles / run.seconds}  # fmt: skip
    if rows:
        rows += [(name, "", "", f"{speed:.1f}") for name, speed in DECODE_PAPERS]
        print(
            table(rows, ("context", "cycles", "useful bytes / bus", f"tokens/s at {KV260.clock_mhz:g} MHz"))
        )
    report["decode"] = result

    rows, result = [], {}
    for tokens in options.prompts:
        run = prefill(artefact, tokens, options.seed)
        seconds = run.cycles / clock
        note(f"prompt of {tokens}: equal to the interpreter; {run.cycles / run.seconds:,.0f} cycles/s")
        if options.account:
            print(table(account(run), (f"prompt of {tokens}", "cycles", "share")), flush=True)
        paper = PREFILL_PAPERS.get(tokens)
        if seconds > MOST_SECONDS.get(tokens, seconds):
            missed.append(f"prompt of {tokens}")
        rows.append((tokens, f"{run.cycles:,}", f"{seconds:.4f}", paper or ""))
        result[str(tokens)] = {"cycles": run.cycles, "seconds": seconds, "counters": run.counters}
    if rows:
        print(table(rows, ("prompt", "cycles", "seconds to first token", "TeLLMe v2 (its paper)")))
        print("prompts equal to the interpreter")
    report["prefill"] = result
    if missed:
        print(f"missed: {', '.join(missed)}")
    write_json(options.json, report)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
