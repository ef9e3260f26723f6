"""Run an artefact: the prompt goes in, the text streams out, from golden model, interpreter or RTL."""

import argparse
import time
from typing import Any

from tqdm import tqdm

from sim.backends import Rtl

from .errors import EXIT_OK
from .output import TextStream, note, write_json
from .session import Job, add_artefact_arguments, figures, note_saturations

HELP = "generate text on golden, isa or rtl"
BACKENDS = ("golden", "isa", "rtl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT, prompt and backend."""
    add_artefact_arguments(parser, tokens=64)
    parser.add_argument("--on", choices=BACKENDS, default="golden", help="backend (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Stream the text to standard output, progress and a summary to standard error."""
    job = Job.from_arguments(args)
    result = generate(job, args.on)
    summary(result)
    note_saturations(result["counters"])
    write_json(args.json, result)
    return EXIT_OK


def generate(job: Job, on: str) -> dict[str, Any]:
    """Run one backend and return the JSON object of the verb."""
    backend = job.open(on)
    try:
        begin, tokens, cycles = time.perf_counter(), [], []
        stream = TextStream(job.tokenizer)
        for token in job.prompt:
            stream.add(token)
        total = len(job.prompt) + job.count - 1
        with tqdm(total=len(job.prompt), desc=f"prompt on {on}", unit="token", leave=False,
                  disable=None) as progress:  # fmt: skip
            for position in range(total):
                token = job.prompt[position] if position < len(job.prompt) else tokens[-1]
                step = backend.step(token, position, logits=False)
                if step.cycles is not None:
                    cycles.append(step.cycles)
                if position < len(job.prompt):
                    progress.update()
                if position >= len(job.prompt) - 1:
                    progress.close()
                    tokens.append(step.token)
                    if step.token == job.config.eos:
                        break
                    stream.add(step.token)
        stream.end()
        wall = time.perf_counter() - begin
        numbers = figures(job, backend, cycles, len(tokens))
        return {
            "backend": on, "machine": job.machine.name, "prompt_tokens": job.prompt, "tokens": tokens,
            "text": job.tokenizer.decode(tokens), **numbers, "counters": backend.counters(),
            "wall_seconds": wall,
            "simulated_cycles_per_second":
                sum(cycles) / backend.seconds if isinstance(backend, Rtl) else None,
        }  # fmt: skip
    finally:
        backend.close()


def summary(result: dict[str, Any]) -> None:
    """One line of figures on standard error."""
    text = f"{result['backend']}: {len(result['tokens'])} tokens in {result['wall_seconds']:.1f} s"
    cycles, bus = result["cycles"], result["bus"]
    if cycles["per_token"] is not None:
        text += (
            f"; {cycles['per_token']:.0f} cycles per token, bus utilisation {bus['utilisation']:.3f} "
            f"of a ceiling of {bus['ceiling']:.3f}, "
            f"{result['simulated_cycles_per_second']:.0f} cycles/s simulated"
        )
    note(text)
