"""A compiled shape on RTL and interpreter side by side: one memory, the same requests, all bits compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import MachineConfig
from models.numerics import TRITS_PER_BYTE
from models.quantised import matrix_shapes
from models.seeded import SeededModel
from models.shapes import SHAPES, numbered_tokenizer
from sim.backend import KVRow, Outcome, Request
from sim.backends import Isa
from sim.dram import DramParams
from sim.errors import SimulationError
from sim.lockstep import compare, compare_ends
from sim.rtl_backend import Rtl
from trine.compile import calibrate_shape
from trine.output import note

__all__ = ["Paired", "Ran", "shape_artefact", "useful_bytes"]


def shape_artefact(
    name: str, machine: MachineConfig, layers: int | None = None, seed: int = 7, rows: int | None = None
) -> Artefact:
    """A shape of `models.shapes` (its first ``layers``) with weights of ``seed``, as `trine compile --shape`
    makes it but without test vectors. ``rows``: of KV memory."""
    model = SeededModel(SHAPES[name], seed, layers)
    return compile_model(
        calibrate_shape(model), numbered_tokenizer(model.config).to_bytes(), machine, False, kv_rows=rows
    )


def useful_bytes(artefact: Artefact, steps: Iterable[int]) -> int:
    """Bytes that decode cannot do without: ternary codes and head of each step, live K and V with their
    scales once, the rows of older tokens read and the token's own written.

    ``steps``: for each step its context, tokens that the decoded one sees, itself included.
    """
    c, strides = SeededModel.load(artefact.model).config, artefact.memory_map["rows"]
    codes = c.layers * sum(rows * -(-k // TRITS_PER_BYTE) for rows, k in matrix_shapes(c).values())
    head = c.vocab * (c.dim + 4)
    row = c.layers * (strides["key"] + strides["value"])
    return sum(codes + head + row * context for context in steps)


def random_rows(config: dict, count: int, seed: int) -> list[list[KVRow]]:
    """KV rows [layer][position] such as text leaves: codes of all sizes, scales around 1."""
    shape = (int(config["kv_heads"]), int(config["dim"]) // int(config["heads"]))
    rng = np.random.default_rng(seed)

    def row() -> KVRow:
        k, v = rng.integers(-127, 128, (2, *shape), np.int8)
        s_k, s_v = np.exp(0.3 * rng.standard_normal((2, shape[0]))).astype(np.float32)
        return KVRow(k, v, s_k, s_v)

    return [[row() for _ in range(count)] for _ in range(int(config["layers"]))]


@dataclass(frozen=True)
class Ran:
    """What a request did on both. cycles: of the RTL. counters: what it added. seconds: of simulation."""

    outcome: Outcome
    cycles: int
    counters: dict[str, int]
    seconds: float


class Paired:
    """RTL and interpreter of one artefact, with the same contents of memory to begin with.

    Parameters
    ----------
    artefact, dram, seed: as of `sim.rtl_backend.Rtl`.
    executable: its simulator, where it is not to be built or looked up.

    `run` and `end` raise SimulationError with the first difference.
    """

    def __init__(
        self, artefact: Artefact, dram: DramParams, seed: int = 1, executable: Path | None = None
    ) -> None:
        self.config, self.rows = artefact.config, artefact.memory_map["kv_rows"]
        self.rtl = Rtl(artefact, dram, progress=note, seed=seed, executable=executable)
        self.isa = Isa(artefact, seed)

    def restore(self, base: int, count: int, seed: int = 1) -> None:
        """Random K and V of ``count`` tokens of a sequence that begins at row ``base``."""
        rows = random_rows(self.config, count, seed)
        for backend in (self.rtl, self.isa):
            backend.restore(base, rows)

    def run(self, request: Request) -> Ran:
        """One request on both; ids, ranked tokens and the KV rows it wrote are compared."""
        before, seconds = self.rtl.counters(), self.rtl.seconds
        outcomes = [backend.run(request) for backend in (self.isa, self.rtl)]
        self._equal(compare((self.isa, self.rtl), request, outcomes, int(self.config["layers"])))
        after = self.rtl.counters()
        cycles = outcomes[1].cycles
        assert cycles is not None
        gained = {name: value - before[name] for name, value in after.items()}
        return Ran(outcomes[1], cycles, gained, self.rtl.seconds - seconds)

    def runs(self, requests: Sequence[Request]) -> list[Ran]:
        return [self.run(request) for request in requests]

    def end(self, position: int) -> None:
        """All exact counters, and every byte of memory."""
        self._equal(compare_ends((self.isa, self.rtl), position))

    @staticmethod
    def _equal(difference: object | None) -> None:
        if difference is not None:
            raise SimulationError(f"RTL and interpreter differ: {difference}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rtl.close()
