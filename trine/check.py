"""Run golden model, interpreter and RTL in lockstep and compare tokens, logits, KV memory and counters."""

import argparse
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from sim.backend import Backend
from sim.lockstep import run_lockstep
from sim.rtl_backend import Rtl

from .errors import EXIT_DIFFERENT, EXIT_OK, UsageError
from .generate import Timing
from .output import note, write_json
from .run import BACKENDS
from .session import Job, add_artefact_arguments, figures, note_saturations
from .vectors import check_vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT, prompt, and which backends."""
    add_artefact_arguments(parser, tokens=32)
    parser.add_argument(
        "--on", default="golden,isa,rtl", metavar="LIST", help="backends to compare (default %(default)s)"
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="compare what every instruction writes too, isa against rtl: a wrong bit is named at the "
        "instruction that made it (done anyway, from the start, where a difference was found)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1,
        metavar="N",
        help="tokens to decode between two comparisons, on the machine's own token loop; of these "
        "the logits of the last are compared (default %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Exit code 0 where everything is equal, 1 where something differs: the first difference is named."""
    job = Job.from_arguments(args)
    names = args.on.split(",")
    if len(names) < 2 or len(set(names)) < len(names) or not set(names) <= set(BACKENDS):
        raise UsageError(
            f"--on: wanted two backends or more of {', '.join(BACKENDS)}, each once, found {args.on!r}"
        )
    if len(job.prompts) > 1:
        raise UsageError(f"--prompt: wanted one text, found {len(job.prompts)}; check them one by one")
    if args.steps < 1:
        raise UsageError(f"--steps: wanted 1 or more, found {args.steps}")
    if args.deep and not {"isa", "rtl"} <= set(names):
        raise UsageError(f"--deep: wanted isa and rtl among --on, found {args.on!r}; name both")
    total = len(job.prompts[0]) + job.count - 1
    with tqdm(total=total, desc=f"lockstep {' '.join(names)}", unit="token", disable=None) as progress:
        result = check(job, names, lambda done, _: (progress.update(done), None)[1], args.steps, args.deep)
        if not result["exact"] and not args.deep and {"isa", "rtl"} <= set(names):
            note("a difference: once more, instruction by instruction")
            again = check(job, names, lambda *_: None, args.steps, deep=True)
            result["first_difference"] = again["first_difference"] or result["first_difference"]
    note(f"text: {result['text']!r}")
    if result["exact"]:
        logits = "their logits" if args.steps == 1 else "the logits of each doorbell's last"
        more = " and all exact counters" if {"isa", "rtl"} <= set(names) else " (golden has no counters)"
        print(
            f"exact: {', '.join(result['backends'])} agree on {len(result['tokens'])} tokens, "
            f"{logits}, the KV memory{more}"
        )
    else:
        print(f"DIFFERENT: {result['first_difference']['text']}")
    write_json(args.json, result)
    return EXIT_OK if result["exact"] else EXIT_DIFFERENT


def check(
    job: Job, names: list[str], on_step: Callable[[int, list[int]], None], steps: int = 1, deep: bool = False
) -> dict[str, Any]:
    """Compare the named backends and return the JSON object of the verb; arguments as of `run_lockstep`."""
    begin = time.perf_counter()
    backends: list[Backend] = []
    try:
        for name in names:
            backends.append(job.open(name, trace=deep))
        prompt = job.prompts[0]
        outcome = run_lockstep(
            backends, prompt, job.count, job.config.layers, job.config.eos, on_step,
            chunk=job.chunk, tile=job.tile, steps=steps, deep=deep, most=job.most,
        )  # fmt: skip
        difference = outcome.difference
        vectors = check_vectors(job.artefact)
        first = None if difference is None else {**difference.to_json(), "text": str(difference)}
        if first is None and vectors is not None and vectors["first_difference"] is not None:
            first = {"what": "test vectors", "text": vectors["first_difference"]}
        wall = time.perf_counter() - begin
        note_saturations(*(backend.counters() for backend in backends))
        timed = next((b for b in backends if b.name == "rtl"), backends[-1])
        cycles, at = outcome.cycles, outcome.prefill
        timing = Timing(cycles[:at], cycles[at:])
        if difference is None:
            timing.decoded = [[len(prompt) + i] for i in range(len(outcome.tokens) - 1)]
        numbers = figures(job, timed, timing)
        return {
            "backend": ",".join(names), "backends": names, "machine": job.machine.name,
            "prompt_tokens": prompt, "tokens": outcome.tokens,
            "text": job.tokenizer.decode(outcome.tokens),
            "exact": first is None, "first_difference": first, "vectors": vectors, **numbers,
            "counters": timed.counters(), "wall_seconds": wall,
            "simulated_cycles_per_second":
                sum(outcome.cycles) / timed.seconds if isinstance(timed, Rtl) else None,
        }  # fmt: skip
    finally:
        for backend in backends:
            backend.close()
