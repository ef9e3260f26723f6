"""Whether mutants are caught: the machine that holds them, the checks, the verdicts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import CI
from models.quantised import SITES, QuantisedModel
from sim.backend import Request
from sim.dram import IDEAL, DramParams
from sim.entries import Entry
from sim.requests import batch_step, one_token, prompt_requests
from sim.verilate import Progress, build, overlay_verilog
from tests.models.random_model import Form, integer_forms, random_model

from . import observe
from .corners import corner_program
from .observe import Caught, Check, Trace
from .plant import Mutant, plant
from .products import product_program
from .programs import FaultCheck, ProgramsCheck
from .registers import RegisterCheck
from .texts import ErrorCheck, TextCheck

#: Two of what a machine has several of, little of all else: quick to build, its FIFOs and queues run full.
MACHINE = dataclasses.replace(
    CI, name="mutated", bus_bytes=8, tables=3, head_lanes=32, attention_bytes=4, fifo_words=32, outstanding=4,
    burst_beats=16, activation_words=512, constant_words=256, accumulator_rows=256, quantised_words=128,
    score_words=256, max_heads=4, max_query=64, max_context=64, stage_bytes=128, program_words=128,
    queue_depth=16, tile=2, top_k=4, max_chunk=16,
)  # fmt: skip
#: Slow, stalling, often refreshing.
ROUGH = DramParams(latency=40, write_latency=30, turn=5, refresh_every=150, refresh_cycles=30,
                   stall_r=200, stall_ar=300, stall_aw=300, stall_w=300)  # fmt: skip
#: The draw that is built; a run of fewer mutants takes the first of them.
COUNT, SEED = 150, 1
#: Verilator 5.48's data-flow optimiser mistranslates the text with its choices (mutant 0 then differs from
#: the design); without it mutant 0 is the design, as every run checks first.
OPTIONS = ("-fno-dfg",)


@dataclass(frozen=True)
class Verdict:
    """A mutant and what caught it: a check's name, what kind of thing it found, and what; or None."""

    mutant: Mutant
    by: str | None
    how: str
    found: str


def build_mutants(
    count: int = COUNT, seed: int = SEED, progress: Progress = lambda _: None
) -> tuple[Path, list[Mutant], str]:
    """The simulator that holds `count` mutants of `MACHINE`, what they are, and the Verilog."""
    progress("Verilog to mutants")
    text, mutants = plant(overlay_verilog(MACHINE, progress, sources=True), count, seed)
    return build(text, MACHINE.bus_bytes, progress, OPTIONS), mutants, text


def checks(programs: int, corners: Sequence[int] = (1, 2)) -> dict[str, Check]:
    """The checks by name, that which catches most first; so many random programs in each of two memories.

    corners: seeds of programs of arithmetic corners.
    """
    rms = random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, tied=False)
    l2 = random_model(2, norm="l2", gains=False, dim=32, hidden=80, heads=2, kv_heads=2, vocab=33, tied=False)
    plain = random_model(3, inner_norm=False, tied=False, dim=64, hidden=32, heads=4, kv_heads=1, layers=2)
    large = dataclasses.replace(
        plain.with_grids(dict.fromkeys(SITES, -44)), embedding=plain.embedding * 2.0**12
    )
    forms = integer_forms(Form(4, 32, True)) | integer_forms(Form(8), "k", "o", "down")
    mixed = random_model(4, integer=forms, activations=dict.fromkeys(SITES, 12), inner_norm=False, hidden=44)
    chunked = list(prompt_requests((1, 7, 3, 29, 5, 5, 11), chunk=5, tile=2, steps=2, logits=True))
    loop = [Request([Entry(1, 0)], steps=8), Request([Entry(4, 8)], steps=3, stops=[31, 32], logits=True)]
    more = [make(MACHINE, seed) for seed in corners for make in (corner_program, product_program)]
    return {
        "tiles": TextCheck(_artefact(rms), ROUGH, chunked),
        "programs": ProgramsCheck(MACHINE, IDEAL, range(programs)),
        "steps": TextCheck(_artefact(l2), IDEAL, loop),
        "integers": TextCheck(_artefact(mixed), IDEAL, chunked[:1]),
        "corners": ProgramsCheck(MACHINE, IDEAL, [], more),
        "batch": TextCheck(_artefact(plain, 40), ROUGH, _batch()),
        "error": ErrorCheck(_artefact(large), IDEAL, one_token(1, 0)),
        "registers": RegisterCheck(MACHINE, IDEAL),
        "faults": FaultCheck(MACHINE, IDEAL, 1000),
        "slow programs": ProgramsCheck(MACHINE, ROUGH, range(programs, 2 * programs)),
    }


def _batch() -> list[Request]:
    """Two sequences, apart in the KV memory: side by side in tiles, then step by step."""
    first = [Entry(1, 0, 20), Entry(1, 0, 3), Entry(9, 1, 3, continues=True)]
    return [
        Request(first, 2, head=False),
        batch_step((7, 3), (1, 2), (20, 3), steps=4, stops=(2, 5), logits=True),
    ]


def _artefact(model: QuantisedModel, kv_rows: int | None = None) -> Artefact:
    return compile_model(model, b"", MACHINE, vectors=False, kv_rows=kv_rows)


def design_traces(executable: Path, checks: Mapping[str, Check]) -> dict[str, Trace]:
    """What mutant 0 does, which no check may catch."""
    found = {}
    for name, check in checks.items():
        try:
            found[name] = check.run(executable, 0, None)
        except Caught as caught:
            raise SystemExit(f"the design without a mutant fails check {name}: {caught.text}") from caught
    return found


def judge(
    executable: Path, mutant: Mutant, checks: Mapping[str, Check], design: Mapping[str, Trace], patient: bool
) -> Verdict:
    """The first check that catches a mutant; another number of cycles counts where nothing else is found.

    Without `patient` it counts at once.
    """
    late: Verdict | None = None
    for name, check in checks.items():
        try:
            trace = check.run(executable, mutant.number, design[name])
        except Caught as caught:
            return Verdict(mutant, name, caught.how, caught.text)
        text = observe.different(design[name], trace)
        if text is not None and late is None:
            late = Verdict(mutant, name, observe.TIMING, text)
            if not patient:
                return late
    return late or Verdict(mutant, None, "", "")


def run(
    executable: Path,
    mutants: Sequence[Mutant],
    checks: Mapping[str, Check],
    workers: int = 1,
    patient: bool = False,
    each: Callable[[Verdict], None] = lambda _: None,
) -> list[Verdict]:
    """All verdicts, in order, after the design itself has passed every check; a simulator process for each
    worker. `each` is told every verdict."""
    design = design_traces(executable, checks)
    found = []
    with ThreadPoolExecutor(workers) as pool:
        pending = pool.map(lambda mutant: judge(executable, mutant, checks, design, patient), mutants)
        for verdict in tqdm(pending, total=len(mutants), unit="mutant", disable=None):
            each(verdict)
            found.append(verdict)
    return found
