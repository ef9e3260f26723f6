"""Print the program of an artefact, or a bare program, as text that trine asm takes back."""

import argparse
from pathlib import Path

from compiler.assembler import AssemblyError, disassemble

from .artefact import open_artefact
from .errors import EXIT_OK, UsageError
from .output import read_file, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="artefact or bare program (24 bytes an instruction)"
    )


def main(args: argparse.Namespace) -> int:
    """Print to standard output."""
    data = read_file(args.file, "artefact or program")
    program = open_artefact(args.file).artefact.program if data.startswith(b"PK") else data
    try:
        text = disassemble(program)
    except AssemblyError as error:
        raise UsageError(
            f"{args.file}: {error}; give an artefact, or a program that trine asm wrote"
        ) from error
    print(text, end="")
    write_json(args.json, {"file": str(args.file), "instructions": text.splitlines()})
    return EXIT_OK
