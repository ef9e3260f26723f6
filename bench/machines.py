"""One model, twenty machines and memories: `python -m bench.machines`.

Lane counts, rows a cycle, tiles, bus widths, FIFO depths and DRAM timing change (`sim.machine_grid`); tokens,
logits and KV memory must not. Each runs a prompt in chunks and tiles, then the token loop.
"""

import argparse
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from tqdm import tqdm

from compiler.compile import compile_model
from hw.machine import MachineConfig
from sim.backend import Request
from sim.backends import Golden
from sim.dram import DramParams
from sim.entries import Entry
from sim.machine_grid import GRID
from sim.requests import prompt_requests
from sim.rtl_backend import Rtl
from sim.verilate import build_overlay
from tests.models.random_model import random_model
from trine.output import note, table

PROMPT = [1, 7, 3, 29, 5, 5, 11, 0, 30, 2, 17, 60, 44, 8, 21, 9, 33, 1, 2]
STEPS = 10
CHUNK = 13


def run(backend: Golden | Rtl, machine: MachineConfig, layers: int) -> tuple[int, int, str]:
    """Prefill cycles, decode cycles, and a digest of ids, logits and all KV rows."""
    total, prefill, token = hashlib.sha256(), 0, 0
    for request in prompt_requests(PROMPT, chunk=CHUNK, tile=machine.tile, logits=True):
        outcome = backend.run(request)
        prefill += outcome.cycles or 0
        if request.head:
            assert outcome.logits is not None
            total.update(outcome.logits[-1].numpy().tobytes())
            token = outcome.tokens[0][0]
    outcome = backend.run(Request([Entry(token, len(PROMPT))], steps=STEPS, logits=True))
    assert outcome.logits is not None
    total.update(outcome.logits.numpy().tobytes() + repr((token, outcome.tokens)).encode())
    for layer in range(layers):
        for row in range(len(PROMPT) + STEPS):
            kv = backend.kv(layer, row)
            total.update(b"".join(part.tobytes() for part in (kv.k, kv.v, kv.s_k, kv.s_v)))
    return prefill, outcome.cycles or 0, total.hexdigest()


def measure(number: int, machine: MachineConfig, dram: DramParams) -> tuple[tuple[object, ...], str]:
    """A row of the table, and the digest."""
    model = random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, context=64, tied=False)
    artefact = compile_model(model, b"", machine, vectors=False)
    layers = int(artefact.config["layers"])
    with Rtl(artefact, dram, seed=number) as rtl:
        prefill, decode, digest = run(rtl, machine, layers)
    if number == 0:
        _, _, wanted = run(Golden(artefact), machine, layers)
        if wanted != digest:
            note("the golden model's digest differs from that of the first machine")
            digest = wanted
    cells = (machine.name, machine.bus_bytes, machine.tables, machine.lanes, machine.tile, machine.fifo_words,
             f"{dram.latency}/{dram.refresh_cycles} of {dram.refresh_every}",
             f"{prefill / len(PROMPT):.0f}", f"{decode / STEPS:.0f}", digest[:12])  # fmt: skip
    return cells, digest


def main() -> int:
    """Run all settings; exit code 1 where one differs."""
    argparse.ArgumentParser(prog="python -m bench.machines", description=__doc__).parse_args()
    torch.set_num_threads(1)
    machines = list({machine.name: machine for machine, _ in GRID}.values())
    with ThreadPoolExecutor(2) as pool:
        built = pool.map(build_overlay, machines)
        list(tqdm(built, total=len(machines), desc="simulators", unit="machine", disable=None))
    found = [
        measure(number, *setting)
        for number, setting in enumerate(tqdm(GRID, desc="machines", unit="run", disable=None))
    ]
    head = ("machine", "bus bytes", "tables", "lanes", "tile", "FIFO", "latency/refresh",
            "prefill cycles/token", "decode cycles/token", "digest")  # fmt: skip
    print(table((cells for cells, _ in found), head))
    equal = len({digest for _, digest in found}) == 1
    print(
        f"{len(found)} machines and the golden model: tokens, logits and KV memory "
        + ("the same everywhere" if equal else "DIFFERENT")
    )
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
