"""Lockstep: several backends, the same tokens, and the first element in which any two differ."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hw.isa import COUNTERS

from .backend import Backend, Outcome, Request
from .backends import Isa
from .entries import Entry
from .errors import SimulationError
from .requests import prompt_requests
from .rtl_backend import Rtl
from .trace_compare import Recorder, TraceCompare


@dataclass(frozen=True)
class Difference:
    """The first difference, in the order in which a token computes things: KV by layer, logits, token.

    `what` is k, v, k_scale, v_scale, logit, token, memory, a counter, or an instruction and the memory it
    writes; `layer` is None but for KV and instructions; `element` is the index in the flattened row, or in
    the memory; values are as each backend has them (floats with their bit patterns).
    """

    what: str
    position: int
    layer: int | None
    element: int | None
    backend_a: str
    value_a: str
    backend_b: str
    value_b: str

    def __str__(self) -> str:
        place = f"position {self.position}"
        if self.layer is not None:
            place = f"layer {self.layer}, {place}"
        if self.element is not None:
            place += f", element {self.element}"
        return f"{self.what} at {place}: {self.backend_a} {self.value_a}, {self.backend_b} {self.value_b}"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class LockstepResult:
    """Generated ids, cycles of each run of a backend that counts them, the first difference if any.

    The first `prefill` runs are those of the prompt's chunks; each of the others is `steps` tokens or fewer.
    """

    tokens: list[int]
    cycles: list[int]
    prefill: int
    difference: Difference | None


def run_lockstep(
    backends: Sequence[Backend],
    prompt: Sequence[int],
    count: int,
    layers: int,
    stop: int | None = None,
    on_step: Callable[[int, list[int]], None] = lambda processed, found: None,
    *,
    chunk: int = 1,
    tile: int = 1,
    steps: int = 1,
    deep: bool = False,
    most: Callable[[int], int] = lambda rows: 1 << 16,
) -> LockstepResult:
    """Feed `prompt` (ids, BOS first) in chunks, then each token's successor, to all backends: `count` ids.

    After every run KV rows of all layers, the logits of its last tile, the ranked tokens and the next ids are
    compared with the first backend's; at the end, all counters that do not depend on time, and every byte
    of memory, where two backends have them (memories must have begun with the same contents: the same seed).
    `stop` ends the text early. `steps` tokens are decoded by one doorbell. `on_step(processed, found)` is
    told how many tokens a run processed and which ids it found. `deep`: the interpreter's and the RTL's
    writes are compared at each instruction first (both must be there, the latter with `trace`). `most`: as of
    `prompt_requests`.
    """
    instructions = Instructions(backends) if deep else None
    stops = [] if stop is None else [stop]
    tokens: list[int] = []
    cycles: list[int] = []
    pending = list(prompt_requests(prompt, chunk=chunk, tile=tile, stops=stops, logits=True, most=most))
    prefill = len(pending)
    while pending:
        request = pending.pop(0)
        try:
            outcomes = [backend.run(request) for backend in backends]
        except SimulationError:
            if instructions and (wrong := instructions.compare(request)):
                return LockstepResult(tokens, cycles, prefill, wrong)
            raise
        cycles += [outcome.cycles for outcome in outcomes if outcome.cycles is not None]
        difference = instructions.compare(request) if instructions else None
        difference = difference or compare(backends, request, outcomes, layers)
        if difference is not None:
            return LockstepResult(tokens, cycles, prefill, difference)
        found = [row[-1] for row in outcomes[0].tokens if row]
        tokens += found
        on_step(len(request.entries) + max(0, len(found) - 1), found)
        if not pending and len(tokens) < count and (not tokens or tokens[-1] != stop):
            position = len(prompt) + len(tokens) - 1
            room = min(steps, count - len(tokens))
            pending = [Request([Entry(tokens[-1], position)], 1, room, stops, logits=True)]
    last = len(prompt) + len(tokens) - 2
    return LockstepResult(tokens, cycles, prefill, compare_ends(backends, last))


class Instructions:
    """Compares what every instruction of a run wrote, interpreter against RTL."""

    def __init__(self, backends: Sequence[Backend]):
        self._isa = next((one for one in backends if isinstance(one, Isa)), None)
        self._rtl = next((one for one in backends if isinstance(one, Rtl)), None)
        if self._isa is None or self._rtl is None or self._rtl.session.trace is None:
            raise ValueError("wanted backends isa and rtl, the latter with trace, to compare instructions")
        self._log = self._rtl.session.trace
        self._recorder = self._isa.machine.observer = Recorder()
        self._compare = TraceCompare(self._log.layout)

    def compare(self, request: Request) -> Difference | None:
        """The first difference of the run that has ended."""
        wrong = self._compare.run(self._log.take(), self._recorder.take())
        if wrong is None:
            return None
        token = (wrong.first or 0) + (wrong.token or 0)
        position = request.entries[min(token, len(request.entries) - 1)].position
        what = f"instruction {wrong.index} ({wrong.name}), {wrong.memory or wrong.what}"
        wanted, found = ("no write" if one is None else hex(one) for one in (wrong.wanted, wrong.found))
        return Difference(what, position, wrong.layer, wrong.element, "isa", wanted, "rtl", found)


def compare(
    backends: Sequence[Backend], request: Request, outcomes: Sequence[Outcome], layers: int
) -> Difference | None:
    """The first difference of what a request left behind, each backend against the first."""
    rows = _rows(request, len(outcomes[0].tokens))
    for backend, outcome in zip(backends[1:], outcomes[1:], strict=True):
        found = _first(backends[0], outcomes[0], backend, outcome, rows, layers, request)
        if found is not None:
            return found
    return None


def compare_ends(backends: Sequence[Backend], position: int) -> Difference | None:
    """The first difference in what all runs left: exact counters, all bytes of memory. ``position``: the last
    one processed, for the message."""
    return _counters(backends, position) or _memories(backends, position)


def _rows(request: Request, steps: int) -> list[tuple[int, int]]:
    """(position, KV row) of every token that was processed."""
    going = request.entries if request.batch else request.entries[-1:]
    later = [(e.position + i, e.base + e.position + i) for i in range(1, steps) for e in going]
    return [(e.position, e.base + e.position) for e in request.entries] + later


def _first(
    a: Backend,
    outcome_a: Outcome,
    b: Backend,
    outcome_b: Outcome,
    rows: list[tuple[int, int]],
    layers: int,
    request: Request,
) -> Difference | None:
    for layer in range(layers):
        for position, row in rows:
            kv_a, kv_b = a.kv(layer, row), b.kv(layer, row)
            for what, field in (("k_scale", "s_k"), ("k", "k"), ("v_scale", "s_v"), ("v", "v")):
                found = _element(getattr(kv_a, field), getattr(kv_b, field))
                if found is not None:
                    return Difference(what, position, layer, found[0], a.name, found[1], b.name, found[2])
    if not request.head:
        return None
    position = rows[-1][0]
    pairs = [("token", np.array(outcome_a.tokens), np.array(outcome_b.tokens))]
    if outcome_a.logits is not None and outcome_b.logits is not None:
        pairs.append(("logit", outcome_a.logits.numpy(), outcome_b.logits.numpy()))
    for token in range(request.last_tile(len(outcome_a.tokens))):
        (ids_a, values_a), (ids_b, values_b) = a.top(token), b.top(token)
        pairs.append((f"top token of tile token {token}", np.array(ids_a), np.array(ids_b)))
        pairs.append((f"top logit of tile token {token}", values_a.numpy(), values_b.numpy()))
    for what, value_a, value_b in pairs:
        found = _element(value_a, value_b)
        if found is not None:
            return Difference(what, position, None, found[0], a.name, found[1], b.name, found[2])
    return None


def _element(a: np.ndarray, b: np.ndarray) -> tuple[int, str, str] | None:
    """First flat index at which the bits of two arrays differ, and both values as text."""
    if a.shape != b.shape:
        return 0, f"shape {a.shape}", f"shape {b.shape}"
    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    bits = np.dtype(f"u{a.dtype.itemsize}")
    differ = np.flatnonzero(a.view(bits) != b.view(bits))
    if not len(differ):
        return None
    at = int(differ[0])
    return at, _text(a[at]), _text(b[at])


def _text(value: np.generic) -> str:
    if isinstance(value, np.floating):
        return f"{float(value)!r} (0x{int(value.view(np.uint32)):08x})"
    return str(int(value))


def _counters(backends: Sequence[Backend], position: int) -> Difference | None:
    """Exact counters of all backends that count."""
    counting = [(backend, backend.counters()) for backend in backends if backend.counters()]
    for name in (counter.name for counter in COUNTERS if counter.exact):
        for backend, values in counting[1:]:
            first, wanted = counting[0]
            if values[name] != wanted[name]:
                return Difference(f"counter {name}", position, None, None, first.name, str(wanted[name]),
                                  backend.name, str(values[name]))  # fmt: skip
    return None


def _memories(backends: Sequence[Backend], position: int) -> Difference | None:
    """All bytes of all memories: a stray write anywhere shows here."""
    having = [(backend, memory) for backend in backends if (memory := backend.dram()) is not None]
    for backend, memory in having[1:]:
        first, wanted = having[0]
        found = _element(np.asarray(wanted), np.asarray(memory))
        if found is not None:
            return Difference(
                "memory", position, None, found[0], first.name, found[1], backend.name, found[2]
            )
    return None
