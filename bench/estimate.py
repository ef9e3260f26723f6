"""The estimate against the RTL: `python -m bench.estimate`.

Combinations of shape, machine with memory, and context or prompt: each is estimated from its compiled program
(`compiler.timeline`) and run on RTL; the table has both and the error, the last lines the median and the
largest. Three of them are drawn by a seed taken from the commit's hash, on any of the named machines.
Simulators that the cache lacks are built, minutes each; `--cached` leaves their machines out.
"""

import argparse
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from compiler.compile import compile_model
from compiler.fit import CompileError
from compiler.frontends import load_checkpoint
from compiler.plan import plan_program
from compiler.timeline import Timeline, decoded
from hw.artefact import Artefact
from hw.machine import MACHINES
from models.quantised import QuantisedModel
from models.seeded import SeededModel
from models.shapes import SHAPES as PUBLISHED
from sim import verilate
from sim.backend import KVRow, Request
from sim.ddr4 import DDR4_2400
from sim.dram import DDR3, IDEAL, DramParams
from sim.entries import Entry
from sim.machine_grid import ROUGH, SLOW
from sim.requests import prompt_requests
from sim.rtl_backend import Rtl
from tests.models.random_model import INTEGER_MODELS, random_model
from trine.compile import calibrate_shape
from trine.output import note, table, write_json

from .shipped import SHIPPED

MEMORIES: dict[str, DramParams] = {
    "ddr3": DDR3, "ideal": IDEAL, "rough": ROUGH, "slow": SLOW, "ddr4": DDR4_2400,
}  # fmt: skip
#: Shapes of random models: arguments of `random_model`. "NAME:N" is N layers of a published shape.
SHAPES: dict[str, dict] = {
    "small": {"dim": 64, "hidden": 96, "vocab": 70, "context": 256, "tied": False},
    "flat": {"dim": 32, "hidden": 160, "layers": 3, "kv_heads": 1, "vocab": 300, "context": 256},
    "wide": {"dim": 256, "hidden": 384, "heads": 8, "kv_heads": 4, "vocab": 500, "context": 256},
    "deep": {"dim": 96, "hidden": 128, "layers": 6, "heads": 6, "kv_heads": 6, "vocab": 64, "context": 256},
    "int8": {"dim": 64, "context": 256, **INTEGER_MODELS["int8"]},
    "int4": {"dim": 64, "context": 256, **INTEGER_MODELS["int4"]},
}
CONTEXTS = (1, 17, 64, 200)


@dataclass(frozen=True)
class Case:
    """shape, machine, memory: names. tokens: context of a decode token, or tokens of a prompt; tile: of a
    prompt, 0 for decode."""

    shape: str
    machine: str
    memory: str
    tokens: int
    tile: int = 0


CASES = (
    Case("shipped", "ci", "ddr3", 52), Case("shipped", "ci", "ddr3", 400), Case("small", "ci", "ddr3", 17),
    Case("small", "ci", "rough", 64), Case("small", "narrow", "ddr3", 200), Case("flat", "ci", "ideal", 1),
    Case("flat", "narrow", "rough", 64), Case("wide", "ci", "ddr3", 64), Case("wide", "narrow", "slow", 17),
    Case("deep", "ci", "ddr3", 200), Case("int8", "ci", "ddr3", 64), Case("int4", "ci", "ddr3", 17),
    Case("wide", "ci", "ddr3", 24, 4), Case("small", "narrow", "ddr3", 19, 1),
    Case("deep", "ci", "slow", 16, 2),
    Case("bitnet-0.73b:1", "kv260", "ddr4", 64), Case("bitnet-0.73b:2", "kv260", "ddr4", 512),
    Case("bitnet-0.73b:1", "kv260", "slow", 17), Case("wide", "kv260", "ddr4", 64),
    Case("bitnet-0.73b:2", "kv260", "ddr4", 16, 4), Case("wide", "ci", "ddr4", 64),
)  # fmt: skip
STEPS = 4
CHUNK = 32


def drawn(seed: int, count: int = 3) -> list[Case]:
    """Combinations that are not among `CASES`."""
    rng, found = random.Random(seed), []
    while len(found) < count:
        machine = rng.choice(list(MACHINES))
        shapes = [shape for shape in SHAPES if fits(shape, machine)]
        published = ["bitnet-0.73b:1", "bitnet-0.73b:2"] if machine == "kv260" else []
        case = Case(rng.choice([*shapes, *published]), machine, rng.choice(list(MEMORIES)),
                    rng.choice(CONTEXTS), rng.choice((0, 0, MACHINES[machine].tile)))  # fmt: skip
        if case not in CASES and case not in found:
            found.append(case)
    return found


@cache
def fits(shape: str, machine: str) -> bool:
    """Whether the machine takes a shape of `SHAPES`."""
    try:
        plan_program(_model(shape), MACHINES[machine])
    except CompileError:
        return False
    return True


def commit_seed() -> int:
    """The first 32 bits of the hash of the commit that is checked out."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parent)  # fmt: skip
    return int(done.stdout[:8], 16)


@cache
def _model(shape: str) -> QuantisedModel:
    if ":" in shape:
        name, layers = shape.split(":")
        return calibrate_shape(SeededModel(PUBLISHED[name], 7, int(layers)))
    return (
        load_checkpoint(SHIPPED / "model.safetensors")
        if shape == "shipped"
        else random_model(1, **SHAPES[shape])
    )


@cache
def _artefact(shape: str, machine: str) -> Artefact:
    return compile_model(_model(shape), b"", MACHINES[machine], vectors=False)


def _requests(case: Case) -> list[Request]:
    if case.tile:
        prompt = [1 + i * 7 % 40 for i in range(case.tokens)]
        return list(prompt_requests(prompt, chunk=CHUNK, tile=case.tile))
    return [Request([Entry(1, case.tokens - 1)], steps=1 if ":" in case.shape else STEPS)]


def estimated(case: Case) -> float:
    """Cycles of all steps of a case."""
    machine = MACHINES[case.machine]
    program = decoded(_artefact(case.shape, case.machine).program)
    timeline = Timeline(machine, MEMORIES[case.memory].plain(machine), program)
    cycles = 0.0
    for request in _requests(case):
        cycles += timeline.step(request.entries, request.tile, request.head).cycles
        for step in range(1, request.steps):
            entry = Entry(1, request.entries[-1].position + step)
            cycles += timeline.step([entry], request.tile, request.head).cycles
    return cycles


def simulated(case: Case, executable: Path) -> int:
    """The same on RTL: counter `cycles`. Older rows of the KV memory hold zeros, which takes as long."""
    config = _model(case.shape).config
    shape = (config.kv_heads, config.dim // config.heads)
    zero = KVRow(*(np.zeros(shape, np.int8),) * 2, *(np.zeros(shape[0], np.float32),) * 2)
    artefact = _artefact(case.shape, case.machine)
    with Rtl(artefact, MEMORIES[case.memory], seed=case.tokens, executable=executable) as rtl:
        if not case.tile:
            rtl.restore(0, [[zero] * (case.tokens - 1)] * config.layers)
        for request in _requests(case):
            rtl.run(request)
        return rtl.counters()["cycles"]


def _simulators(cached: bool, names: Iterable[str]) -> dict[str, Path]:
    """By name, those of `names` in the cache, or all."""
    found = {}
    for name in names:
        machine = MACHINES[name]
        if not cached:
            found[name] = verilate.build_overlay(machine, note)
            continue
        try:
            found[name] = verilate.build_overlay(machine, _refuse)
        except LookupError:
            note(f"{name}: its simulator is not in the cache and is left out; without --cached it is built")
    return found


def _refuse(stage: str) -> None:
    """A progress callback that stops a build before it begins; generating Verilog is no build."""
    if "erilator" in stage or "C++" in stage:
        raise LookupError(stage)


def main() -> int:
    """Print the table; exit code 1 where an error is beyond the limits asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.estimate", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the drawn combinations (default: from the commit)")
    parser.add_argument("--cached", action="store_true", help="leave out machines without a simulator")
    parser.add_argument("--machines", nargs="+", choices=list(MACHINES), default=list(MACHINES))
    parser.add_argument("--median", type=float, default=2, help="per cent (default %(default)s)")
    parser.add_argument("--largest", type=float, default=5, help="per cent (default %(default)s)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed = commit_seed() if options.seed is None else options.seed
    cases = [case for case in (*CASES, *drawn(seed)) if case.machine in options.machines]
    simulators = _simulators(options.cached, sorted({case.machine for case in cases}))
    cases = [case for case in cases if case.machine in simulators]
    rows, errors = [], []
    for case in tqdm(cases, desc="estimate = rtl", unit="run", disable=None):
        guess, truth = estimated(case), simulated(case, simulators[case.machine])
        errors.append(guess / truth - 1)
        what = f"prompt of {case.tokens}, tile {case.tile}" if case.tile else f"decode at {case.tokens}"
        kind = "" if case in CASES else "drawn"
        rows.append(
            (case.shape, case.machine, case.memory, what, f"{guess:.0f}", truth, f"{errors[-1]:+.2%}", kind)
        )
    print(table(rows, ("shape", "machine", "memory", "run", "estimate", "RTL cycles", "error", "")))
    median, largest = statistics.median(map(abs, errors)), max(map(abs, errors))
    print(f"{len(rows)} combinations, seed {seed}: median error {median:.2%}, largest {largest:.2%}")
    write_json(options.json, {"seed": seed, "median": median, "largest": largest, "rows": [
        dict(zip(("shape", "machine", "memory", "run", "estimate", "rtl", "error", "kind"), row, strict=True))
        for row in rows]})  # fmt: skip
    return 0 if median <= options.median / 100 and largest <= options.largest / 100 else 1


if __name__ == "__main__":
    sys.exit(main())
