"""The two software backends: the golden model and the instruction-set interpreter."""

from collections.abc import Sequence

import numpy as np
import torch

from hw.artefact import Artefact
from models import numerics
from models.golden import GoldenModel, KVCache
from models.quantised import QuantisedModel

from .backend import KVRow, Outcome, Request
from .entries import Entry
from .interpreter import Interpreter
from .memory_image import check_run, initial_memory, kv_row, logits_of, restore_rows

__all__ = ["Golden", "Isa"]


class Golden:
    """The golden model on the quantised model inside the artefact; a cache for each sequence."""

    name = "golden"

    def __init__(self, artefact: Artefact):
        self.machine, self.map = artefact.machine, artefact.memory_map
        self.heads = int(artefact.config["heads"])
        self.model = GoldenModel(QuantisedModel.load(artefact.model))
        self._caches: dict[int, KVCache] = {}
        self._rows: dict[int, tuple[KVCache, int]] = {}
        self._logits = torch.zeros(0)

    def run(self, request: Request) -> Outcome:
        check_run(request, self.machine, self.map, self.heads)
        found: list[list[int]] = []
        stopped: set[int] = set()
        chunk, batch = list(request.entries), request.batch
        for _ in range(request.steps):
            everything = self._forward(chunk)
            if not request.head:
                return Outcome([[]], None, None)
            self._logits = everything[-request.last_tile(len(found) + 1) :]
            ahead = [numerics.argmax(row) for row in (self._logits if batch else self._logits[-1:])]
            going = chunk if batch else chunk[-1:]
            chunk = [Entry(t, e.position + 1, e.base) for t, e in zip(ahead, going, strict=True)]
            found.append(ahead)
            stopped |= {i for i, token in enumerate(ahead) if token in request.stops}
            if len(stopped) == len(ahead):
                break
        return Outcome(found, self._logits if request.logits else None, None)

    def _forward(self, chunk: Sequence[Entry]) -> torch.Tensor:
        """Logits [tokens, vocab], one sequence after another."""
        found, at = [], 0
        while at < len(chunk):
            end = at + 1
            while end < len(chunk) and chunk[end].continues:
                end += 1
            first = chunk[at]
            if first.position == 0:
                self._caches[first.base] = KVCache.empty(self.model.config)
            cache = self._caches[first.base]
            cache.length = first.position
            found.append(self.model.forward([entry.token for entry in chunk[at:end]], cache))
            self._rows |= {e.base + e.position: (cache, e.position) for e in chunk[at:end]}
            at = end
        return torch.cat(found)

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        ids, values = numerics.top_k(self._logits[token], min(self.machine.top_k, self._logits.shape[-1]))
        return [int(i) for i in ids], values

    def kv(self, layer: int, row: int) -> KVRow:
        c, position = self._rows[row]
        at = (layer, position)
        return KVRow(c.k[at].numpy(), c.v[at].numpy(), c.s_k[at].numpy(), c.s_v[at].numpy())

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        cache = self._caches[base] = KVCache.empty(self.model.config)
        cache.length = len(rows[0])
        for layer, held in enumerate(rows):
            for position, row in enumerate(held):
                at = (layer, position)
                cache.k[at], cache.v[at] = torch.from_numpy(row.k), torch.from_numpy(row.v)
                cache.s_k[at], cache.s_v[at] = torch.from_numpy(row.s_k), torch.from_numpy(row.s_v)
                self._rows[base + position] = (cache, position)

    def counters(self) -> dict[str, int]:
        return {}

    def dram(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        pass


class Isa:
    """The interpreter: program and memory image only."""

    name = "isa"

    def __init__(self, artefact: Artefact, seed: int = 1):
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.heads = int(artefact.config["heads"])
        self.memory = initial_memory(artefact, seed)
        self.machine = Interpreter(artefact.machine, artefact.program, self.memory)

    def run(self, request: Request) -> Outcome:
        check_run(request, self.machine.machine, self.map, self.heads)
        r = request
        found = self.machine.run(
            r.entries, tile=r.tile, steps=r.steps, stops=r.stops, batch=r.batch, predicates=r.predicates
        )
        live = r.last_tile(len(found))
        return Outcome(found, logits_of(self.memory, self.map, live) if r.logits else None, None)

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        ids, values = self.machine.top(token)
        return ids, torch.tensor(values, dtype=torch.float32)

    def kv(self, layer: int, row: int) -> KVRow:
        return kv_row(self.memory, self.map, layer, row, self.kv_heads)

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        restore_rows(self.memory, self.map, base, rows)

    def counters(self) -> dict[str, int]:
        return dict(self.machine.counters)

    def dram(self) -> np.ndarray | None:
        return self.memory

    def close(self) -> None:
        pass
