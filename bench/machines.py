"""One model, several machines and memories: `python -m bench.machines` (shipped model, RTL).

Lane count, bus width and DRAM timing change; tokens, logits and KV memory must not. Prints cycles per token.
"""

import argparse
import hashlib
import sys
from dataclasses import dataclass

import torch
from tqdm import tqdm

from hw.machine import MACHINES
from sim.backends import Backend
from trine.cli import build_parser
from trine.output import table
from trine.session import Job, figures

from .shipped import PROMPT, shipped_artefact

#: (machine, DRAM timing as `trine run --dram` takes it)
SETTINGS = (
    ("ci", ""),
    ("ci", "latency=2,write_latency=2,turn=0,refresh_every=0,refresh_cycles=0,stall_r=0"),
    ("ci", "latency=100,stall_r=100,stall_ar=200"),
    ("narrow", ""),
    ("wide", ""),
)


@dataclass(frozen=True)
class Row:
    """One setting's figures and the digest of everything that must be equal."""

    cells: tuple[str, ...]
    digest: str


def digest(backend: Backend, layers: int, tokens: list[int], logits: list[torch.Tensor], length: int) -> str:
    """SHA-256 of tokens, logits and all KV rows."""
    total = hashlib.sha256(repr(tokens).encode())
    for row in logits:
        total.update(row.numpy().tobytes())
    for layer in range(layers):
        for position in range(length):
            row = backend.kv(layer, position)
            for part in (row.k, row.v, row.s_k, row.s_v):
                total.update(part.tobytes())
    return total.hexdigest()


def measure(machine: str, dram: str, count: int) -> Row:
    """Run one setting."""
    arguments = ["run", str(shipped_artefact(machine)), "--prompt", PROMPT, "--tokens", str(count)]
    arguments += ["--dram", dram]
    job = Job.from_arguments(build_parser().parse_args(arguments))
    backend = job.open("rtl")
    try:
        tokens: list[int] = []
        logits: list[torch.Tensor] = []
        cycles: list[int] = []
        length = len(job.prompt) + count - 1
        for position in tqdm(range(length), desc=f"{machine} {dram}", unit="token", disable=None):
            token = job.prompt[position] if position < len(job.prompt) else tokens[-1]
            step = backend.step(token, position, logits=True)
            assert step.logits is not None
            assert step.cycles is not None
            logits.append(step.logits)
            cycles.append(step.cycles)
            if position >= len(job.prompt) - 1:
                tokens.append(step.token)
        numbers = figures(job, backend, cycles, count)
        everything = digest(backend, job.config.layers, tokens, logits, length)
    finally:
        backend.close()
    size, bus = MACHINES[machine], numbers["bus"]
    cells = (machine, str(size.bus_bytes), str(size.tables), str(size.lanes), dram.split(",")[0] or "default",
             f"{numbers['cycles']['per_token']:.0f}", f"{bus['utilisation']:.3f}", f"{bus['ceiling']:.3f}",
             f"{bus['utilisation'] / bus['ceiling']:.3f}", everything[:12])  # fmt: skip
    return Row(cells, everything)


def main() -> int:
    """Run all settings; exit code 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.machines", description=__doc__)
    parser.add_argument("--tokens", type=int, default=8, help="tokens to generate (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(machine, dram, options.tokens) for machine, dram in SETTINGS]
    head = ("machine", "bus bytes", "tables", "lanes", "DRAM", "cycles/token", "utilisation", "ceiling",
            "of ceiling", "digest")  # fmt: skip
    print(table((row.cells for row in rows), head))
    equal = len({row.digest for row in rows}) == 1
    print("tokens, logits and KV memory: " + ("the same everywhere" if equal else "DIFFERENT"))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
