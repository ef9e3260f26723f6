"""What every way of running an artefact offers: a chunk in, what follows it out, the KV memory to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from hw.isa import EMIT_LOGITS, WANT_HEAD

from .entries import Entry


@dataclass(frozen=True)
class Request:
    """One doorbell: a chunk of tokens, and the steps that follow it (CSRs TOKENS to PREDICATES of `hw.isa`).

    entries: the chunk. tile: tokens that share each weight. steps: runs of the program, the chunk's included.
    stops: tokens that end their sequence. batch: the entries are sequences of their own and all go on.
    head: the next token is wanted; without it steps is 1. logits: so are the logits of the last tile.
    """

    entries: Sequence[Entry]
    tile: int = 1
    steps: int = 1
    stops: Sequence[int] = ()
    batch: bool = False
    head: bool = True
    logits: bool = False

    @property
    def predicates(self) -> int:
        """Predicate bits."""
        return 1 | self.head << WANT_HEAD | (self.head and self.logits) << EMIT_LOGITS

    def last_tile(self, steps: int) -> int:
        """Tokens of the last tile after so many steps."""
        return (len(self.entries) - 1) % self.tile + 1 if self.batch or steps == 1 else 1


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    tokens: by step, what follows: one id, or in a batch one a sequence; [] where no head was asked for.
    logits: binary32 [tokens of the last tile, vocab] of the last step, or None.
    cycles: of the whole run (RTL only).
    """

    tokens: list[list[int]]
    logits: torch.Tensor | None
    cycles: int | None


@dataclass(frozen=True)
class KVRow:
    """K and V of one (layer, row): int8 [kv_heads, head_size] and binary32 scales [kv_heads]."""

    k: np.ndarray
    v: np.ndarray
    s_k: np.ndarray
    s_v: np.ndarray


class Backend(Protocol):
    """One machine, or what stands for it."""

    name: str

    def run(self, request: Request) -> Outcome:
        """Process a chunk and the steps that follow. ValueError for what machine or model can't do."""
        ...

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        """Ids and logits (binary32) of the largest, in order, for a token of the last head's tile."""
        ...

    def kv(self, layer: int, row: int) -> KVRow:
        """What the KV memory holds for a processed token; its row is its sequence's base + its position."""
        ...

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        """Put rows [layer][position] of a sequence that begins at `base` into the KV memory, before the first
        run: the state of a sequence of so many tokens."""
        ...

    def counters(self) -> dict[str, int]:
        """`hw.isa.COUNTERS` so far, those that the backend knows."""
        ...

    def dram(self) -> np.ndarray | None:
        """All of memory (uint8), where the backend has one."""
        ...

    def close(self) -> None:
        """Free what the backend holds."""
        ...


@runtime_checkable
class OnBoard(Protocol):
    """What a backend says beside that where its machine is on a board and runs in real time."""

    @property
    def pace(self) -> float:
        """Seconds of a step, as last measured; 0 before."""
        ...

    @property
    def clock_mhz(self) -> float:
        """The machine's clock."""
        ...
