"""The `trine` command: one sub-command a file."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from . import VERSION
from .errors import EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, USER_ERRORS
from .output import note, require_folder

#: Verbs in the order of a first session; each module has `HELP`, `add_arguments(parser)` and `main(args)`.
VERBS = (
    "doctor",
    "inspect",
    "estimate",
    "compile",
    "run",
    "check",
    "selftest",
    "trace",
    "report",
    "build",
    "asm",
    "disasm",
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of the command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            EXIT_BAD_INPUT, f"{self.prog}: error: {' '.join(message.split())}; {self.prog} --help lists all\n"
        )


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; also what docs/cli.md is generated from."""
    from importlib import import_module

    parser = _Parser(
        prog="trine",
        description="From a language-model checkpoint to an accelerator, proved bit for bit.",
        epilog="Exit codes: 0 done; 1 a check found a difference, or a clock was not met; 2 bad input or a "
        "missing tool; 70 a defect of Trine itself (with a traceback: please report it); 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"trine {VERSION}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        module = import_module(f".{verb}", __package__)
        child = verbs.add_parser(verb, help=module.HELP, description=module.__doc__)
        module.add_arguments(child)
        child.add_argument("--json", metavar="FILE", help="write the result as a JSON object too")
        child.set_defaults(run=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = build_parser().parse_args(argv)
    # The tensors are small: a second thread costs more than it computes.
    torch.set_num_threads(1)
    try:
        for path in (args.json, getattr(args, "output", None)):
            if path is not None:
                require_folder(Path(path))
        return args.run(args)
    except USER_ERRORS as error:
        note(f"trine {args.verb}: error: {error}")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        note(f"trine {args.verb}: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except Exception:
        traceback.print_exc()
        note(f"trine {args.verb}: internal error: please report it with this traceback and the command line")
        return EXIT_INTERNAL


if __name__ == "__main__":
    sys.exit(main())
