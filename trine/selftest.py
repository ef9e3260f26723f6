"""Run an artefact's test vectors on a board, or on another backend: tokens, logits and KV memory."""

import argparse
import time
from pathlib import Path

from tqdm import tqdm

from sim.backend import Backend
from sim.backends import Golden, Isa
from sim.rtl_backend import Rtl
from sim.selftest import self_test

from .artefact import open_artefact
from .errors import EXIT_DIFFERENT, EXIT_OK, UsageError
from .output import note, write_json
from .run import BACKENDS
from .session import add_board_arguments, open_board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT, backend, port."""
    parser.add_argument("artefact", metavar="ARTEFACT", type=Path, help="a .trine file with test vectors")
    parser.add_argument("--on", choices=BACKENDS, default="board", help="backend (default %(default)s)")
    add_board_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 where everything is as the vectors say, 1 at the first difference."""
    artefact = open_artefact(args.artefact, None).artefact
    if artefact.vectors is None:
        raise UsageError(f"{args.artefact}: wanted test vectors, found none; compile the model again")
    begin = time.perf_counter()
    backend: Backend
    match args.on:
        case "golden":
            backend = Golden(artefact)
        case "isa":
            backend = Isa(artefact)
        case "rtl":
            backend = Rtl(artefact, progress=note)
        case _:
            backend = open_board(artefact, args.port, args.baud)
    try:
        with tqdm(
            total=len(artefact.vectors["tokens"]), desc="self-test", unit="token", leave=False, disable=None
        ) as bar:
            found = self_test(artefact, backend, lambda _: (bar.update(1), None)[1])
    finally:
        backend.close()
    if found.difference is None:
        print(f"self-test passed: {found.tokens} tokens, their logits, {found.rows} rows of the KV memory")
    else:
        print(f"self-test FAILED: {found.difference}")
    result = {
        "backend": args.on, "machine": artefact.machine.name, "passed": found.difference is None,
        "tokens": found.tokens, "logits": found.logits, "kv_rows": found.rows,
        "first_difference": found.difference, "counters": backend.counters(),
        "wall_seconds": time.perf_counter() - begin,
    }  # fmt: skip
    write_json(args.json, result)
    return EXIT_OK if found.difference is None else EXIT_DIFFERENT
