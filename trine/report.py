"""Report how a model runs on a machine: roofline, cycles by layer and unit, bytes, stalls, published systems.

One HTML file without scripts or other files, and the same as JSON. By default the figures are the estimate's
(docs/estimate.md); with --on rtl they are the counters and the activity log of runs on RTL: a decode token at
each context, its older tokens random rows of KV memory, and a prompt.
"""

import argparse
from pathlib import Path
from typing import Any

from compiler.timeline import decoded
from hw.artefact import Artefact
from hw.isa import Width
from hw.machine import MACHINES, MachineConfig
from sim.dram import DramParams, dram_ceiling
from sim.rtl_backend import Rtl

from . import VERSION
from .artefact import open_artefact
from .errors import EXIT_OK, UsageError
from .output import beside, note, write_file, write_json
from .phases import Subject, estimated, simulated
from .published import PUBLISHED
from .report_html import page
from .rtl_runs import CycleBar, dram_json, file_digest
from .session import add_memory_arguments, parse_dram
from .subject import CompiledProgram, add_shape_arguments, of_shape

SOURCES = ("estimate", "rtl")
#: Contexts and prompt where the command line says nothing and the model allows it.
CONTEXTS, PROMPT = (64, 512), 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT or --shape, --machine, --output, --on, --context, --prompt-length, --tile, --chunk, memory."""
    parser.add_argument(
        "artefact", metavar="ARTEFACT", type=Path, nargs="?", help="a .trine file made by trine compile"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the report (default: ARTEFACT or the shape's name, with .html)",
    )
    parser.add_argument(
        "--machine",
        choices=sorted(MACHINES),
        help="of a shape (default: ci); an artefact for another one is refused",
    )
    parser.add_argument(
        "--on",
        choices=SOURCES,
        default="estimate",
        help="where the figures come from: the estimate, or runs on RTL (default %(default)s)",
    )
    parser.add_argument(
        "--context",
        type=int,
        nargs="+",
        metavar="N",
        help="contexts of decode tokens, each token itself included (default "
        f"{' '.join(map(str, CONTEXTS))}, as far as the model allows)",
    )
    parser.add_argument(
        "--prompt-length",
        type=int,
        metavar="P",
        help=f"tokens of the prompt (default {PROMPT}, or the model's context)",
    )
    parser.add_argument("--tile", type=int, metavar="T", help="of the prompt (default: the machine's most)")
    parser.add_argument("--chunk", type=int, metavar="C", help="of the prompt (default: the machine's most)")
    add_memory_arguments(parser)
    add_shape_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Measure or estimate, and write."""
    dram = parse_dram(args.dram)
    made, artefact = _subject(args)
    target = beside(args.artefact or Path(f"{args.shape}.html"), ".html", args.output)
    config, machine = made.config, made.machine
    contexts = args.context or sorted({min(n, config.context) for n in CONTEXTS})
    for context in contexts:
        _need("context", context, config.context, "the model's context")
    prompt = min(PROMPT, config.context) if args.prompt_length is None else args.prompt_length
    _need("prompt-length", prompt, config.context, "the model's context")
    tile = machine.tile if args.tile is None else args.tile
    chunk = machine.max_chunk if args.chunk is None else args.chunk
    _need("tile", tile, machine.tile, f"machine {machine.name!r}")
    _need("chunk", chunk, machine.max_chunk, f"machine {machine.name!r}")
    if not 0 <= args.memory_seed < 2**63:
        raise UsageError(f"--memory-seed: wanted 0 to {2**63 - 1}, found {args.memory_seed}")
    subject = Subject(config, machine, dram, made.program, sorted(set(contexts)), prompt, tile, chunk)
    phases = estimated(subject)
    if artefact is not None and args.on == "rtl":
        with CycleBar("report on rtl", sum(phase["cycles"] for phase in phases)) as bar:
            rtl = Rtl(artefact, dram, note, bar.progress, args.memory_seed, activity=True)
            with rtl:
                phases = simulated(subject, rtl, bar, phases)
    result = {
        "schema": 1,
        "trine": VERSION,
        "source": args.on,
        "model": config.name,
        "artefact": args.artefact and {"file": args.artefact.name, "sha256": file_digest(args.artefact)},
        "machine": _machine(machine, subject),
        "dram": dram_json(dram),
        "ceiling": _ceiling(args.on, dram, machine, args.memory_seed),
        "phases": phases,
        "published": [system.to_json() for system in PUBLISHED],
    }
    write_file(target, page(result).encode())
    write_json(args.json, result)
    note(f"{target}: {config.name} on {machine.name}, figures by {args.on}")
    return EXIT_OK


def _subject(args: argparse.Namespace) -> tuple[CompiledProgram, Artefact | None]:
    """What is reported on, and the artefact; there is none of a shape, which has no weights to run."""
    if args.shape is not None and args.on == "rtl":
        raise UsageError(
            "--on rtl: wanted an artefact, found --shape, which has no weights; make one with trine compile"
        )
    if (shape := of_shape(args, args.artefact, "ARTEFACT")) is None:
        opened = open_artefact(args.artefact, MACHINES[args.machine] if args.machine else None)
        found = opened.artefact
        return CompiledProgram(opened.config, found.machine, found.program, opened.memory), found
    return shape, None


def _need(name: str, value: int, most: int, whose: str) -> None:
    if not 1 <= value <= most:
        raise UsageError(
            f"--{name}: wanted 1 to {most} ({whose}), found {value}; leave it out for the default"
        )


def _machine(machine: MachineConfig, subject: Subject) -> dict[str, Any]:
    """Sizes, and peaks by engine that the program uses, in products a cycle for one token of a tile."""
    names = decoded(subject.program)
    peaks = {}
    if any(name == "MATMUL" for name, _ in names):
        peaks["ternary"] = 5 * machine.tables
    codes = [8 if f["width"] == Width.INT8 else 4 for name, f in names if name in ("LINEAR", "HEAD")]
    if codes:
        peaks["integer"] = 2 * machine.unit_codes(min(codes))
    return {
        "name": machine.name, "digest": machine.digest(), "named": machine.name in MACHINES,
        "clock_mhz": machine.clock_mhz, "bus_bytes": machine.bus_bytes,
        "bytes_per_second": machine.bus_bytes * machine.clock_mhz * 1e6, "tile": machine.tile,
        "peak_macs_per_cycle": peaks, "family": machine.family,
    }  # fmt: skip


def _ceiling(source: str, dram: DramParams, machine: MachineConfig, seed: int) -> dict[str, Any]:
    """Beats a cycle that an ideal sequential reader gets: measured on RTL, else computed."""
    if source == "rtl":
        return {"value": dram_ceiling(dram.at(machine), machine.bus_bytes, seed), "how": "measured"}
    plain = dram.plain(machine)
    kept = 1 - (plain.refresh_cycles / plain.refresh_every if plain.refresh_every else 0)
    return {"value": (1 - plain.stall_r / 1024) * kept, "how": "computed"}
