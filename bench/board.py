"""The shipped model on the simulated ULX3S, by the real host program through a pseudo-terminal.

Load, self-test and 16 tokens: on a good cable, with one byte in 10,000 changed, and with the cable cut for a
while in mid-load. Cycles are those of the tokens that the machine decodes by itself after the prompt, with
the board's memory controller and a model of its chip.

`python -m bench.board [--machine ulx3s] [--only NAME]`.
"""

import argparse
import sys
import time
from typing import Any

from boards.errors import LinkError
from hw.artefact import Artefact
from hw.machine import MACHINES
from models.tokenizer import Tokenizer
from sim.backend import Request
from sim.backends import Golden
from sim.board import Faults, SimulatedBoard, build_board
from sim.board_backend import Board
from sim.entries import Entry
from sim.requests import prompt_requests
from sim.selftest import self_test

from .shipped import PROMPT, shipped_artefact

TOKENS = 16
FAULTS = {
    "good cable": Faults(),
    "1 byte in 10,000": Faults(corrupt=10_000),
    "cut for 20 s": Faults(cut_after=200_000, cut_for=20),
}


def tokens(artefact: Artefact, backend: Any) -> tuple[list[int], float]:
    """`TOKENS` ids after the prompt, and the cycles of each but the first, which one doorbell decodes."""
    machine, prompt = artefact.machine, [1, *Tokenizer.from_bytes(artefact.tokenizer).encode(PROMPT)]
    found: list[int] = []
    for request in prompt_requests(prompt, chunk=machine.max_chunk, tile=machine.tile):
        found += [token for row in backend.run(request).tokens for token in row]
    before = backend.counters().get("cycles", 0)
    rest = backend.run(Request([Entry(found[-1], len(prompt))], 1, TOKENS - 1)).tokens
    cycles = backend.counters().get("cycles", 0) - before
    return found + [token for row in rest for token in row], cycles / (TOKENS - 1)


def main() -> int:
    """Print a line for each cable; 1 where anything differs from golden."""
    parser = argparse.ArgumentParser(prog="python -m bench.board", description=__doc__)
    parser.add_argument("--machine", choices=sorted(MACHINES), default="ulx3s")
    parser.add_argument("--only", choices=FAULTS)
    args = parser.parse_args()
    artefact = Artefact.read(shipped_artefact(args.machine))
    program = build_board(artefact.machine, clock_mhz=artefact.machine.clock_mhz,
                          progress=lambda text: print(text, file=sys.stderr))  # fmt: skip
    (wanted, _), wrong = tokens(artefact, Golden(artefact)), 0
    print(f"{'cable':<18}{'load B':>10}{'load s':>8}{'resent':>8}{'changed':>9}{'self-test':>11}{'tokens':>8}"
          f"{'cycles a token':>16}")  # fmt: skip
    for name, faults in FAULTS.items():
        if args.only in (None, name):
            with SimulatedBoard(program, clock_mhz=artefact.machine.clock_mhz, faults=faults) as simulated:
                begin = time.perf_counter()
                try:
                    board = Board(artefact, simulated.port, patience=120)
                except LinkError as error:
                    simulated.check()
                    raise error
                with board:
                    took, resent = time.perf_counter() - begin, board.board.link.resent
                    difference = self_test(artefact, board).difference
                    found, cycles = tokens(artefact, board)
                    same = found == wanted
                changed = simulated.close().split()[-1]
            wrong += difference is not None or not same
            print(f"{name:<18}{board.loaded.written:>10}{took:>8.0f}{resent:>8}{changed:>9}"
                  f"{'passed' if difference is None else 'FAILED':>11}{'equal' if same else 'DIFFER':>8}"
                  f"{cycles:>16.0f}", flush=True)  # fmt: skip
            if difference is not None:
                print(difference)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
