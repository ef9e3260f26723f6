"""What `run` and `check` share: the artefact, its tokenizer, the prompt, the backends, the figures."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.artefact import Artefact
from hw.machine import MACHINES, MachineConfig
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from sim.backend import Backend
from sim.backends import Golden, Isa
from sim.dram import DDR3, DramParams, dram_ceiling
from sim.rtl_backend import Rtl

from .artefact import open_artefact
from .dram_option import parse_dram
from .errors import UsageError
from .generate import Text, Timing
from .output import note


def add_artefact_arguments(parser: argparse.ArgumentParser, tokens: int) -> None:
    """ARTEFACT, --prompt, --tokens, --chunk, --tile, --machine, --dram."""
    parser.add_argument("artefact", metavar="ARTEFACT", type=Path, help="a .trine file made by trine compile")
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="text to continue (default: none, BOS alone); if given several times, run continues them "
        "side by side",
    )
    parser.add_argument(
        "--tokens", type=int, default=tokens, metavar="N", help="tokens to generate (default %(default)s)"
    )
    parser.add_argument(
        "--chunk",
        type=int,
        metavar="N",
        help="tokens of the prompt that go through the layers together (default: the most the machine holds)",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="of these, tokens that share each weight that is read (default: the machine's tile)",
    )
    parser.add_argument(
        "--machine", choices=sorted(MACHINES), help="refuse an artefact made for another machine"
    )
    add_memory_arguments(parser)


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """--dram, --memory-seed."""
    parser.add_argument(
        "--dram",
        metavar="NAME=VALUE,...",
        default="",
        help="timing of the simulated memory, in cycles and per 1024: "
        + ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(DDR3).items())
        + "; or ddr4-2400, with or without changes of its own (docs/memory.md)",
    )
    parser.add_argument(
        "--memory-seed",
        type=int,
        default=1,
        metavar="N",
        help="of the memory's random stalls and initial contents (default %(default)s)",
    )


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
    """A checked request: everything is known to fit before any backend starts.

    prompts: ids of each text, BOS first; bases: where its rows of the KV memory begin; count: tokens to add.
    """

    artefact: Artefact
    config: ModelConfig
    tokenizer: Tokenizer
    prompts: list[list[int]]
    bases: list[int]
    count: int
    chunk: int
    tile: int
    dram: DramParams
    seed: int

    @classmethod
    def from_arguments(
        cls,
        args: argparse.Namespace,
        ids: Callable[[Tokenizer, ModelConfig, str], list[int]] | None = None,
    ) -> "Job":
        """Read, verify and tokenise; UsageError or ArtefactError where something does not fit.

        ids: makes the ids of a prompt, if not BOS and the text's.
        """
        dram = parse_dram(args.dram)
        machine = MACHINES[args.machine] if args.machine else None
        if not 0 <= args.memory_seed < 2**63:
            raise UsageError(f"--memory-seed: wanted 0 to {2**63 - 1}, found {args.memory_seed}")
        if args.tokens < 1:
            raise UsageError(f"--tokens: wanted 1 or more, found {args.tokens}")
        opened = open_artefact(args.artefact, machine)
        artefact, config, tokenizer = opened.artefact, opened.config, opened.tokenizer
        make = ids or (lambda tokenizer, config, text: [config.bos, *encode(tokenizer, text)])
        prompts = [make(tokenizer, config, text) for text in args.prompt or [""]]
        found = artefact.machine
        for name, value, most in (("chunk", args.chunk, found.max_chunk), ("tile", args.tile, found.tile)):
            if value is not None and not 1 <= value <= most:
                raise UsageError(
                    f"--{name}: wanted 1 to {most} (machine {found.name!r}), found {value}; "
                    f"leave it out for the largest"
                )
        room = _room(artefact, config, list(map(len, prompts)), args.tokens)
        bases = [room * number for number in range(len(prompts))]
        return cls(artefact, config, tokenizer, prompts, bases, args.tokens, args.chunk or found.max_chunk,
                   args.tile or found.tile, dram.at(found), args.memory_seed)  # fmt: skip

    def resumed(self, texts: Sequence[Text]) -> "Job":
        """The same with saved texts in place of prompts; their rows may begin elsewhere than when saved."""
        prompts = [text.ids for text in texts]
        room = _room(self.artefact, self.config, list(map(len, prompts)), self.count)
        return dataclasses.replace(
            self, prompts=prompts, bases=[room * number for number in range(len(texts))]
        )

    @property
    def machine(self) -> MachineConfig:
        """The machine the artefact was made for."""
        return self.artefact.machine

    def most(self, rows: int) -> int:
        """Tokens of a tile at most where the last of them sees so many rows."""
        return self.machine.tile_at(self.config.heads, rows)

    def open(self, name: str, **more: Any) -> Backend:
        """Start a backend by name; building the RTL simulator says its stages on standard error.

        more: arguments of `sim.rtl_backend.Rtl`.
        """
        match name:
            case "golden":
                return Golden(self.artefact)
            case "isa":
                return Isa(self.artefact, self.seed)
            case "rtl":
                return Rtl(self.artefact, self.dram, note, seed=self.seed, **more)
        raise UsageError(f"no backend {name!r}; there are golden, isa, rtl")


def _room(artefact: Artefact, config: ModelConfig, lengths: list[int], count: int) -> int:
    """Rows of KV memory for each text; UsageError unless all texts with `count` more tokens fit."""
    machine, texts = artefact.machine, len(lengths)
    if texts > machine.tile:
        raise UsageError(
            f"--prompt: wanted at most {machine.tile} texts (the tile of machine {machine.name!r}), found "
            f"{texts}; run the others on their own"
        )
    room, length = int(artefact.memory_map["kv_rows"]) // texts, max(lengths)
    for limit, what, remedy in (
        (config.context, "the model's context holds", ""),
        (room, f"the KV memory holds, for each of {texts} texts,", ", or compile with more --kv-rows"),
    ):
        if length + count - 1 > limit:
            raise UsageError(
                f"the prompt has {length} tokens (BOS included) and {count} more were asked for; "
                f"{what} {limit}: shorten the prompt or ask for at most "
                f"{max(0, limit - length + 1)} tokens{remedy}"
            )
    return room


def useful_bytes(config: ModelConfig, steps: Iterable[Sequence[int]]) -> int:
    """Bytes that decode steps must read, each once: weights as packed, live KV of each token with scales.

    steps: the positions of the tokens of each step. Ternary weights count 5 to a byte by row, head weights
    one byte and 4 for each row's constant.
    """
    kv_width = config.kv_heads * config.head_size
    shapes = (
        *((config.dim, config.dim), (config.dim, kv_width), (config.dim, kv_width), (config.dim, config.dim)),
        *((config.dim, config.hidden), (config.dim, config.hidden), (config.hidden, config.dim)),
    )
    layer = sum(rows * -(-k // 5) for k, rows in shapes)
    weights = config.layers * layer + config.vocab * (config.dim + 4)
    kv = config.layers * (2 * kv_width + 8 * config.kv_heads)
    return sum(weights + sum(step) * kv for step in steps)


def note_saturations(*counters: dict[str, int]) -> None:
    """Say how many attention scores saturated, where a backend counted some."""
    count = max((one.get("score_saturations", 0) for one in counters), default=0)
    if count:
        note(
            f"warning: {count} attention scores saturated: all backends compute the same, "
            "but attention may be off for this model; see docs/numerics.md"
        )


def figures(job: Job, backend: Backend, timing: Timing) -> dict[str, Any]:
    """The `cycles`, `bytes` and `bus` objects of run's and check's JSON; None where a backend has none."""
    counters = backend.counters()
    decode, counted = sum(timing.decode), bool(timing.prefill or timing.decode)
    tokens = sum(len(step) for step in timing.decoded)
    result: dict[str, Any] = {
        "cycles": {"prefill": sum(timing.prefill) if counted else None,
                   "decode": decode if counted else None,
                   "per_token": decode / tokens if decode and tokens else None,
                   "each": timing.prefill + timing.decode},
        "bytes": {"weights": counters.get("weight_bytes"), "kv_read": counters.get("kv_read_bytes"),
                  "kv_write": counters.get("kv_write_bytes"), "other": counters.get("other_bytes")},
        "bus": {"bytes_per_cycle": job.machine.bus_bytes, "utilisation": None, "ceiling": None},
    }  # fmt: skip
    if decode and tokens:
        wanted = useful_bytes(job.config, timing.decoded)
        result["bus"]["utilisation"] = wanted / (decode * job.machine.bus_bytes)
    if counted:
        result["bus"]["ceiling"] = dram_ceiling(job.dram, job.machine.bus_bytes, job.seed)
    return result
