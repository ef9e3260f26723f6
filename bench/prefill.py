"""Prompts in chunks and tiles: `python -m bench.prefill`, the proof and then the price.

First a grid of prompt lengths (1 to 300), chunks (1 to 128) and tiles (1, 2, 4, 8) on a small model: logits,
next token and KV memory of golden model, interpreter and RTL must be equal. Then the cycles of one prompt on
the shipped model by tile, with what the bus and the units did.
"""

import argparse
import dataclasses
import random
import sys

import torch
from tqdm import tqdm

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import CI
from sim.backends import Golden, Isa
from sim.dram import DDR3
from sim.lockstep import run_lockstep
from sim.requests import prompt_requests
from sim.rtl_backend import Rtl
from tests.models.random_model import random_model
from trine.output import note, table

from .shipped import shipped_artefact

#: `ci` with the largest tile.
MACHINE = dataclasses.replace(CI, name="ci8", tile=8)
TILES = (1, 2, 4, 8)
LENGTHS = (1, 2, 3, 7, 8, 9, 16, 31, 64, 100, 127, 128, 129, 200, 257, 300)
CHUNKS = (1, 2, 5, 8, 13, 32, 64, 100, 127, 128)
SHARES = ("matmul_active", "attention_active", "vector_only", "overhead", "bus_full")


def cases(count: int, seed: int) -> list[tuple[int, int, int]]:
    """(length, chunk, tile): every length, chunk and tile at least once, the rest drawn by the seed."""
    rng = random.Random(seed)
    found = [(length, rng.choice(CHUNKS[4:]), rng.choice(TILES)) for length in LENGTHS]
    found += [(rng.choice(LENGTHS[3:11]), chunk, tile) for chunk in CHUNKS for tile in TILES]
    more = [(n, c, t) for n in LENGTHS for c in CHUNKS for t in TILES if (n, c, t) not in found]
    return (found + rng.sample(more, len(more)))[:count]


def covered(grid: list[tuple[int, int, int]]) -> str:
    """What a grid has, in words."""
    lengths, chunks, tiles = (f"{min(values)} to {max(values)}" for values in zip(*grid, strict=True))
    return f"{len(grid)} prompts of {lengths} tokens, chunks {chunks}, tiles {tiles}"


def prove(grid: list[tuple[int, int, int]], seed: int) -> str | None:
    """The first difference of a grid of `cases`."""
    model = random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, context=512, tied=False)
    artefact = compile_model(model, b"", MACHINE, vectors=False)
    rng = random.Random(seed)
    for number, (length, chunk, tile) in enumerate(
        tqdm(grid, desc="golden = isa = rtl", unit="prompt", disable=None)
    ):
        prompt = [rng.randrange(70) for _ in range(length)]
        with Rtl(artefact, DDR3, note, seed=number + 1) as rtl:
            backends = [Golden(artefact), Isa(artefact, seed=number + 1), rtl]
            result = run_lockstep(backends, prompt, 2, artefact.config["layers"], chunk=chunk, tile=tile)
        if result.difference is not None:
            return f"prompt of {length}, chunk {chunk}, tile {tile}: {result.difference}"
    return None


def price(artefact: Artefact, length: int, chunk: int) -> list[tuple[object, ...]]:
    """Cycles by tile; the same ids and KV rows are asserted."""
    rows, solo, seen = [], 0.0, set()
    prompt = [1, *(3 + i * 37 % 1000 for i in range(length - 1))]
    for tile in TILES:
        with Rtl(artefact, DDR3) as rtl:
            cycles = 0
            requests = prompt_requests(prompt, chunk=chunk, tile=tile, logits=True)
            for request in tqdm(list(requests), desc=f"tile {tile}", unit="chunk", disable=None):
                outcome = rtl.run(request)
                cycles += outcome.cycles or 0
            counts = rtl.counters()
            assert outcome.logits is not None
            last = rtl.kv(artefact.config["layers"] - 1, length - 1)
            seen.add((outcome.tokens[0][0], outcome.logits[-1].numpy().tobytes(), last.k.tobytes()))
        each = cycles / length
        solo = solo or each
        beats = counts["read_beats"] / counts["cycles"]
        rows.append((tile, cycles, f"{each:.0f}", f"{solo / each:.2f}", f"{beats:.1%}",
                     *(f"{counts[name] / counts['cycles']:.1%}" for name in SHARES)))  # fmt: skip
    assert len(seen) == 1, "tiles disagree"
    return rows


def main() -> int:
    """Exit code 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefill", description=__doc__)
    parser.add_argument("--cases", type=int, default=80, help="prompts of the grid (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="tokens of the timed prompt")
    parser.add_argument("--chunk", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = cases(options.cases, options.seed)
    difference = prove(grid, options.seed) if grid else None
    if difference is not None:
        print(f"DIFFERENT: {difference}")
        return 1
    if grid:
        print(f"{covered(grid)}: golden = isa = rtl\n")
    artefact = Artefact.read(shipped_artefact(MACHINE))
    rows = price(artefact, options.length, options.chunk)
    print(f"shipped model on ci with tile 8, prompt of {options.length} tokens, chunk {options.chunk}:\n")
    head = ("tile", "cycles", "per token", "speed-up", "bus moves", *SHARES)
    print(table(rows, head))
    return 0


if __name__ == "__main__":
    sys.exit(main())
