"""The machine after synthesis, in the simulator: `python -m bench.netlist_run`.

Yosys maps the RTL to cells of the ECP5; the netlist, with models of the cells, takes the RTL's place in the
simulation of a whole machine and runs a small model: a prompt, then decode. Tokens, ranked logits, K and V
rows and every counter are compared with those of golden model and interpreter.
"""

import argparse
import dataclasses
import sys
import time

import torch

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import MACHINES, MachineConfig
from sim.backends import Golden, Isa
from sim.dram import DDR3
from sim.lockstep import run_lockstep
from sim.rtl_backend import Rtl
from sim.verilate import build, overlay_verilog
from tests.models.random_model import random_model
from trine.output import note, table, write_json

from .gates import OURS, YOSYS_MODELS, Gates, gates

PROMPT = (1, 7, 3)
SEED = 5
#: Quick to compile, which takes far longer than to run.
OPTIONS = ("--output-split", "100000", "--output-split-cfuncs", "500", "-fno-dfg", "-CFLAGS", "-O0")


def artefact_of(machine: MachineConfig) -> Artefact:
    """A model of one layer, small enough for a netlist's speed."""
    model = random_model(4, dim=32, hidden=64, heads=2, kv_heads=1, layers=1, vocab=40, tied=False)
    return compile_model(model, b"", machine, vectors=False)


def synthesised(machine: MachineConfig, workers: int) -> Gates:
    """The machine in cells of the ECP5."""
    return gates(overlay_verilog(machine, note), "overlay", workers)


def main() -> int:
    """Synthesise, build, run, compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.netlist_run", description=__doc__)
    ecp5 = [name for name, machine in MACHINES.items() if machine.family == "ecp5"]
    parser.add_argument("--machine", choices=ecp5, default="ci", help="default %(default)s")
    parser.add_argument("--tokens", type=int, default=2, help="tokens after the prompt (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes of Yosys (default %(default)s)")
    parser.add_argument("--synthesis-only", action="store_true", help="fill the cache")
    parser.add_argument("--json", metavar="FILE", help="cells, times and the result")
    options = parser.parse_args()
    if options.tokens < 2:
        parser.error(f"tokens: wanted 2 or more, found {options.tokens}; one token proves no decode step")
    machine = MACHINES[options.machine]
    begin = time.perf_counter()
    netlist = synthesised(machine, options.workers)
    times = {"synthesis": time.perf_counter() - begin}
    print(f"machine {machine.name} in cells of the ECP5, by Yosys, module by module\n")
    rows = [
        (cell, f"{count:,}", "ours: " + OURS[cell].name if cell in OURS else "Yosys': " + YOSYS_MODELS.name)
        for cell, count in sorted(netlist.cells.items(), key=lambda pair: -pair[1])
    ]
    print(table(rows, ("cell", "in the design", "simulation model")))
    if options.synthesis_only:
        return 0

    begin = time.perf_counter()
    executable = build(netlist.verilog, machine.bus_bytes, note, OPTIONS, ports=machine.ports)
    times["simulator"] = time.perf_counter() - begin
    artefact = artefact_of(machine)
    with Rtl(artefact, DDR3, note, seed=SEED, executable=executable) as rtl:
        backends = [Golden(artefact), Isa(artefact, seed=SEED), rtl]
        result = run_lockstep(backends, PROMPT, options.tokens, artefact.config["layers"])
        counts, times["run"] = rtl.counters(), rtl.seconds
    same = result.difference is None
    print(
        f"\nprompt {list(PROMPT)}, then {result.tokens}: "
        + ("as golden model and interpreter" if same else f"DIFFERS: {result.difference}")
    )
    print(
        f"{counts['cycles']:,} cycles in {times['run']:.1f} s; "
        f"synthesis {times['synthesis']:.0f} s, simulator {times['simulator']:.0f} s (0: from the cache)"
    )
    if options.json:
        report = {
            "machine": dataclasses.asdict(machine),
            "cells": netlist.cells,
            "our_models": sorted(set(OURS) & set(netlist.cells)),
            "tokens": result.tokens,
            "equal": same,
            "cycles": counts["cycles"],
            "seconds": times,
        }
        write_json(options.json, report)
    return 0 if same else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
