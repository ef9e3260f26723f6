"""Assemble program text into a program, or put it in place of an artefact's program."""

import argparse
import dataclasses
from pathlib import Path

from compiler.assembler import INSTRUCTION_BYTES, AssemblyError, assemble

from .artefact import open_artefact, program_complaint
from .errors import EXIT_OK, UsageError
from .output import note, read_file, write_artefact, write_file, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, -o, --into."""
    parser.add_argument("text", type=Path, metavar="TEXT", help="program text, as trine disasm prints it")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="program (24 bytes an instruction), or artefact with --into",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="ARTEFACT",
        help="write a copy of this artefact with the new program (test vectors are left out)",
    )


def main(args: argparse.Namespace) -> int:
    """Assemble and write."""
    try:
        program = assemble(read_file(args.text, "program text").decode("utf-8", errors="replace"))
    except AssemblyError as error:
        raise UsageError(
            f"{args.text}: {error}; trine disasm prints legal text, docs/isa.md lists the fields"
        ) from error
    artefact = None if args.into is None else open_artefact(args.into).artefact
    if complaint := program_complaint(program, artefact and artefact.machine.program_words):
        raise UsageError(f"{args.text}: {complaint}; trine disasm shows a whole program")
    if artefact is None:
        write_file(args.output, program)
    else:
        write_artefact(args.output, dataclasses.replace(artefact, program=program, vectors=None))
    note(f"{args.output}: {len(program) // INSTRUCTION_BYTES} instructions")
    write_json(args.json, {"output": str(args.output), "instructions": len(program) // INSTRUCTION_BYTES})
    return EXIT_OK
