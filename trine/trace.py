"""Show a run on RTL in Perfetto: what fetch, bus, matmul, vector, attention and store did in each cycle.

The file is trace-event JSON; open it at ui.perfetto.dev. Every interval comes from the RTL. A cycle is shown
as a period of the machine's clock (10 ns at 100 MHz); the arguments of an event have the exact cycles.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from models.sampling import Sampler
from sim.rtl_backend import Rtl

from .errors import EXIT_OK, UsageError
from .generate import Plan, Text, generate
from .output import beside, note, write_file, write_json
from .perfetto import ROWS, trace_events
from .rtl_runs import CycleBar, decode_at, dram_json, file_digest, take
from .session import Job, add_artefact_arguments

#: Events beyond which viewers become slow.
MANY = 2_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT, --output, --prompt or --context, --tokens, memory."""
    add_artefact_arguments(parser, tokens=1)
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="instead of a prompt: decode, the first token seeing N tokens (itself included), the older ones "
        "random rows of KV memory",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the trace (default: ARTEFACT with .trace.json)"
    )


def main(args: argparse.Namespace) -> int:
    """Run and write."""
    target = beside(args.artefact, ".trace.json", args.output)
    if args.context is not None and args.prompt:
        raise UsageError("--context: wanted no --prompt beside it, found one; leave one of them out")
    job = Job.from_arguments(args)
    if args.context is not None:
        most = job.config.context - job.count + 1
        if not 1 <= args.context <= most:
            raise UsageError(
                f"--context: wanted 1 to {most} (the model's context of {job.config.context}, {job.count} "
                f"tokens to decode), found {args.context}"
            )
    content = traced(
        job, args.context, {"artefact": args.artefact.name, "sha256": file_digest(args.artefact)}
    )
    events = content["traceEvents"]
    write_file(target, (json.dumps(content, separators=(",", ":")) + "\n").encode())
    note(
        f"{target}: {len(events)} events of {content['otherData']['cycles']} cycles; open it at "
        "https://ui.perfetto.dev"
    )
    if len(events) > MANY:
        note(f"warning: more than {MANY} events are slow to look at; trace fewer tokens")
    rows = Counter(ROWS[event["tid"] - 1] for event in events if event["ph"] == "X")
    result = {**content["otherData"], "file": str(target), "events": len(events), "slices": dict(rows)}
    write_json(args.json, result)
    return EXIT_OK


def traced(job: Job, context: int | None = None, origin: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of a trace file: the job's prompts and tokens, or decoding at a context.

    origin: further members of ``otherData``.
    """
    machine = job.machine
    with CycleBar("trace on rtl") as bar, _opened(job, bar) as rtl:
        if context is not None:
            decode_at(rtl, job.config, context, job.count)
        else:
            texts = [Text(ids, base) for ids, base in zip(job.prompts, job.bases, strict=True)]
            generate(rtl, texts, Plan(job.count, job.chunk, job.tile, Sampler(temperature=0), most=job.most),
                     lambda _: bar.ended(rtl.counters()["cycles"]))  # fmt: skip
        counters = rtl.counters()
        activity = take(rtl)
    events = trace_events(
        activity, job.artefact.program, machine=machine.name, clock_mhz=machine.clock_mhz,
        bus_bytes=machine.bus_bytes,
    )  # fmt: skip
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            **(origin or {}), "model": job.config.name, "machine": machine.name,
            "clock_mhz": machine.clock_mhz, "dram": dram_json(job.dram), "memory_seed": job.seed,
            "prompts": None if context is not None else [len(ids) for ids in job.prompts],
            "context": context, "tokens": job.count, "cycles": counters["cycles"], "counters": counters,
        },
    }  # fmt: skip


def _opened(job: Job, bar: CycleBar) -> Rtl:
    backend = job.open("rtl", activity=True, cycles=bar.progress)
    assert isinstance(backend, Rtl)
    return backend
