"""Runs on RTL for figures and pictures: a decode token at any context, without the tokens before it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from models.config import ModelConfig
from sim.activity_log import Activity, ActivityLog
from sim.backend import KVRow, Request
from sim.dram import DramParams
from sim.entries import Entry
from sim.rtl_backend import Rtl

__all__ = ["CycleBar", "decode_at", "dram_json", "file_digest", "random_rows", "take"]


def random_rows(config: ModelConfig, count: int, seed: int = 1) -> list[list[KVRow]]:
    """`count` rows of every layer [layer][position]; what they hold changes results, but no cycle."""
    rng = np.random.default_rng(seed)
    shape = (config.kv_heads, config.head_size)

    def row() -> KVRow:
        k, v = (rng.integers(-127, 128, shape).astype(np.int8) for _ in range(2))
        s_k, s_v = (rng.uniform(0.5, 2, shape[0]).astype(np.float32) for _ in range(2))
        return KVRow(k, v, s_k, s_v)

    return [[row() for _ in range(count)] for _ in range(config.layers)]


def decode_at(rtl: Rtl, config: ModelConfig, context: int, tokens: int = 1) -> None:
    """Decode `tokens` tokens by one doorbell; the first sees `context` tokens, itself included, of which the
    older ones are random rows put into the KV memory through the back door."""
    rtl.restore(0, random_rows(config, context - 1))
    rtl.run(Request([Entry(config.bos or 0, context - 1)], steps=tokens))


def take(rtl: Rtl) -> Activity:
    """What the runs since the last call did; `rtl` was opened with `activity`."""
    log = rtl.session.activity
    assert isinstance(log, ActivityLog)
    return Activity.of(log.take())


class CycleBar:
    """A progress bar over simulated cycles; `progress` is for `Rtl(cycles=..)`.

    total: cycles that are expected in all, or None.
    """

    def __init__(self, description: str, total: float | None = None):
        self._bar: Any = tqdm(
            desc=description, total=None if total is None else round(total), unit="cycle", unit_scale=True,
            leave=False, disable=None,
        )  # fmt: skip
        self._before = 0
        self.progress: Callable[[int], None] = self._progress

    def _progress(self, cycles: int) -> None:
        self._show(self._before + cycles)

    def ended(self, cycles: int) -> None:
        """A run is over, after so many cycles in all."""
        self._before = cycles
        self._show(cycles)

    def _show(self, cycles: int) -> None:
        if self._bar.total is not None:
            cycles = min(cycles, self._bar.total)  # it was an estimate
        self._bar.update(max(0, cycles - self._bar.n))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def file_digest(path: Path) -> str:
    """SHA-256 of a file that was read before."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dram_json(dram: DramParams) -> dict[str, Any]:
    """The memory's parameters, and the name of its model."""
    return {"model": type(dram).__name__, **vars(dram)}
