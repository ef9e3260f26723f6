"""The `trine` command: one sub-command a file."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from . import VERSION
from .errors import EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, user_errors
from .output import note, require_folder

#: Verbs in the order of a first session, and what `trine --help` says of each. The module of a verb is loaded
#: when it is called; it has `add_arguments(parser)` and `main(args)`, its docstring is the description.
VERBS = {
    "doctor": "check this machine's tools",
    "inspect": "show a checkpoint or an artefact",
    "estimate": "estimate speed and memory of a checkpoint or an artefact",
    "compile": "compile a checkpoint, or a shape with random weights, for a machine",
    "run": "generate text on golden, isa or rtl",
    "check": "prove that golden, isa and rtl agree bit for bit",
    "trace": "write a Perfetto file of a run on RTL",
    "report": "write an HTML report of speed, bytes and stalls",
    "asm": "assemble a program",
    "disasm": "print a program as text",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of the command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            EXIT_BAD_INPUT, f"{self.prog}: error: {' '.join(message.split())}; {self.prog} --help lists all\n"
        )


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, from which docs/cli.md is generated too.

    only: a verb; the options of the others are left out, so that their modules are not loaded.
    """
    parser = _Parser(
        prog="trine",
        description="From a language-model checkpoint to an accelerator, proved bit for bit.",
        epilog="Exit codes: 0 done; 1 a check found a difference; 2 bad input or a missing tool; "
        "70 a defect of Trine itself (with a traceback: please report it); 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"trine {VERSION}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        if only not in (None, verb):
            verbs.add_parser(verb, help=text)
            continue
        module = import_module(f".{verb}", __package__)
        child = verbs.add_parser(verb, help=text, description=module.__doc__)
        module.add_arguments(child)
        child.add_argument("--json", metavar="FILE", help="write the result as a JSON object too")
        child.set_defaults(run=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    # Of the options in front of a verb, none takes a value: the first word is the verb, or no verb is called.
    args = build_parser(next((word for word in argv if not word.startswith("-")), "")).parse_args(argv)
    if torch := sys.modules.get("torch"):
        # The tensors are small: a second thread costs more than it computes.
        torch.set_num_threads(1)
    try:
        for path in (args.json, getattr(args, "output", None)):
            if path is not None:
                require_folder(Path(path))
        return args.run(args)
    except user_errors() as error:
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
