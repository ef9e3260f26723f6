"""What `run` and `check` share: the artefact, its tokenizer, the prompt, the backends, the figures."""

import argparse
import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.artefact import Artefact
from hw.machine import MACHINES, MachineConfig
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from sim.backends import Backend, Golden, Isa, Rtl
from sim.dram import DDR3, DramParams, dram_ceiling

from .artefact import open_artefact
from .errors import UsageError
from .output import note


def add_artefact_arguments(parser: argparse.ArgumentParser, tokens: int) -> None:
    """ARTEFACT, --prompt, --tokens, --machine, --dram."""
    parser.add_argument("artefact", metavar="ARTEFACT", type=Path, help="a .trine file made by trine compile")
    parser.add_argument(
        "--prompt", default="", metavar="TEXT", help="text to continue (default: none, BOS alone)"
    )
    parser.add_argument(
        "--tokens", type=int, default=tokens, metavar="N", help="tokens to generate (default %(default)s)"
    )
    parser.add_argument(
        "--machine", choices=sorted(MACHINES), help="refuse an artefact made for another machine"
    )
    parser.add_argument("--dram", metavar="NAME=VALUE,...", default="",
                        help="timing of the simulated memory, in cycles and per 1024: "
                        + ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(DDR3).items()))  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=1, help="of the memory's random stalls and initial contents"
    )


def parse_dram(text: str) -> DramParams:
    """`latency=40,stall_r=100` over the default timing."""
    known = {field.name for field in dataclasses.fields(DramParams)}
    changes: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known or name in changes or not re.fullmatch(r"-?[0-9]{1,9}", value, re.ASCII):
            raise UsageError(
                f"--dram: wanted NAME=NUMBER with NAME one of {', '.join(sorted(known))}, each once, and "
                f"NUMBER of at most 9 digits, found {part[:80]!r}"
            )
        changes[name] = int(value)
    try:
        return dataclasses.replace(DDR3, **changes)
    except ValueError as error:
        raise UsageError(f"--dram: {error}") from error


def encode(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of `--prompt`."""
    try:
        prompt.encode()  # bytes that the terminal's encoding does not know arrive as lone surrogates
    except UnicodeEncodeError as error:
        raise UsageError(
            f"--prompt: wanted UTF-8 text, found other bytes at character {error.start}; convert the text"
        ) from error
    try:
        return tokenizer.encode(prompt)
    except ValueError as error:
        raise UsageError(f"--prompt: {error}") from error


@dataclass(frozen=True)
class Job:
    """A checked request: everything is known to fit before any backend starts."""

    artefact: Artefact
    config: ModelConfig
    tokenizer: Tokenizer
    prompt: list[int]
    count: int
    dram: DramParams
    seed: int

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Job":
        """Read, verify and tokenise; UsageError or ArtefactError where something does not fit."""
        dram = parse_dram(args.dram)
        machine = MACHINES[args.machine] if args.machine else None
        if not 0 <= args.seed < 2**63:
            raise UsageError(f"--seed: wanted 0 to {2**63 - 1}, found {args.seed}")
        if args.tokens < 1:
            raise UsageError(f"--tokens: wanted 1 or more, found {args.tokens}")
        opened = open_artefact(args.artefact, machine)
        artefact, config, tokenizer = opened.artefact, opened.config, opened.tokenizer
        prompt = [config.bos, *encode(tokenizer, args.prompt)]
        if len(prompt) + args.tokens - 1 > config.context:
            raise UsageError(
                f"the prompt has {len(prompt)} tokens (BOS included) and {args.tokens} more were asked for; "
                f"the model's context holds {config.context}: shorten the prompt or ask for at most "
                f"{max(0, config.context - len(prompt) + 1)} tokens"
            )
        return cls(artefact, config, tokenizer, prompt, args.tokens, dram, args.seed)

    @property
    def machine(self) -> MachineConfig:
        """The machine the artefact was made for."""
        return self.artefact.machine

    def open(self, name: str) -> Backend:
        """Start a backend by name; building the RTL simulator says its stages on standard error."""
        match name:
            case "golden":
                return Golden(self.artefact)
            case "isa":
                return Isa(self.artefact, self.seed)
            case "rtl":
                return Rtl(self.artefact, self.dram, note, seed=self.seed)
        raise UsageError(f"no backend {name!r}; there are golden, isa, rtl")


def useful_bytes(config: ModelConfig, positions: range) -> int:
    """Bytes that decoding at `positions` must read, each once: weights as packed, live KV with its scales.

    Ternary weights count 5 to a byte by row, head weights one byte and 4 for each row's constant.
    """
    kv_width = config.kv_heads * config.head_size
    shapes = (
        *((config.dim, config.dim), (config.dim, kv_width), (config.dim, kv_width), (config.dim, config.dim)),
        *((config.dim, config.hidden), (config.dim, config.hidden), (config.hidden, config.dim)),
    )
    layer = sum(rows * -(-k // 5) for k, rows in shapes)
    weights = config.layers * layer + config.vocab * (config.dim + 4)
    kv = config.layers * (2 * kv_width + 8 * config.kv_heads)
    return sum(weights + position * kv for position in positions)


def note_saturations(*counters: dict[str, int]) -> None:
    """Say how many attention scores saturated, where a backend counted some."""
    count = max((one.get("score_saturations", 0) for one in counters), default=0)
    if count:
        note(
            f"warning: {count} attention scores saturated: all backends compute the same, "
            "but attention may be off for this model; see docs/numerics.md"
        )


def figures(job: Job, backend: Backend, cycles: list[int], generated: int) -> dict[str, Any]:
    """The `cycles`, `bytes` and `bus` objects of run's and check's JSON; None where a backend has none."""
    counters = backend.counters()
    first = len(job.prompt)
    decode = cycles[first:]
    result: dict[str, Any] = {
        "cycles": {"prefill": sum(cycles[:first]) if cycles else None,
                   "decode": sum(decode) if cycles else None,
                   "per_token": sum(decode) / len(decode) if decode else None, "each": cycles},
        "bytes": {"weights": counters.get("weight_bytes"), "kv_read": counters.get("kv_read_bytes"),
                  "kv_write": counters.get("kv_write_bytes"), "other": counters.get("other_bytes")},
        "bus": {"bytes_per_cycle": job.machine.bus_bytes, "utilisation": None, "ceiling": None},
    }  # fmt: skip
    if decode:
        wanted = useful_bytes(job.config, range(first, first + len(decode)))
        result["bus"]["utilisation"] = wanted / (sum(decode) * job.machine.bus_bytes)
    if cycles:
        result["bus"]["ceiling"] = dram_ceiling(job.dram, job.machine.bus_bytes, job.seed)
    assert generated == 0 or not cycles or len(decode) == generated - 1
    return result
