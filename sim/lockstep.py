"""Lockstep: several backends, the same tokens, and the first element in which any two differ."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hw.isa import COUNTERS

from .backends import Backend, KVRow, Step


@dataclass(frozen=True)
class Difference:
    """The first difference, in the order in which a token computes things: KV by layer, logits, token.

    `what` is k, v, k_scale, v_scale, logit, token, memory or a counter; `layer` is None but for KV; `element`
    is the index in the flattened row; values are as each backend has them (floats with their bit patterns).
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
    """Generated ids, cycles of each step of a backend that counts them, the first difference if any."""

    tokens: list[int]
    cycles: list[int]
    difference: Difference | None


def run_lockstep(
    backends: Sequence[Backend],
    prompt: Sequence[int],
    count: int,
    layers: int,
    stop: int | None = None,
    on_step: Callable[[int, int], None] = lambda position, token: None,
) -> LockstepResult:
    """Feed `prompt` (ids, BOS first) and then each token's successor to all backends, `count` new tokens.

    After every token KV rows of all layers, logits and the next id are compared with the first backend's; at
    the end, all counters that do not depend on time, and every byte of memory, where two backends have them
    (memories must have begun with the same contents: the same seed). `stop` ends the text
    early. `on_step(position, next token)` is told of progress.
    """
    reference, tokens, cycles = backends[0], [], []
    for position in range(len(prompt) + count - 1):
        token = prompt[position] if position < len(prompt) else tokens[-1]
        steps = [backend.step(token, position, logits=True) for backend in backends]
        cycles += [step.cycles for step in steps if step.cycles is not None]
        rows = [[backend.kv(layer, position) for layer in range(layers)] for backend in backends]
        for backend, step, kv in zip(backends[1:], steps[1:], rows[1:], strict=True):
            difference = _first(reference, steps[0], rows[0], backend, step, kv, position)
            if difference is not None:
                return LockstepResult(tokens, cycles, difference)
        if position >= len(prompt) - 1:
            tokens.append(steps[0].token)
        on_step(position, steps[0].token)
        if tokens and tokens[-1] == stop:
            break
    last = len(prompt) + len(tokens) - 2
    return LockstepResult(tokens, cycles, _counters(backends, last) or _memories(backends, last))


def _first(
    a: Backend,
    step_a: Step,
    rows_a: list[KVRow],
    b: Backend,
    step_b: Step,
    rows_b: list[KVRow],
    position: int,
) -> Difference | None:
    for layer, (row_a, row_b) in enumerate(zip(rows_a, rows_b, strict=True)):
        for what, field in (("k_scale", "s_k"), ("k", "k"), ("v_scale", "s_v"), ("v", "v")):
            found = _element(getattr(row_a, field), getattr(row_b, field))
            if found is not None:
                element, value_a, value_b = found
                return Difference(what, position, layer, element, a.name, value_a, b.name, value_b)
    assert step_a.logits is not None and step_b.logits is not None
    found = _element(step_a.logits.numpy(), step_b.logits.numpy())
    if found is not None:
        return Difference("logit", position, None, found[0], a.name, found[1], b.name, found[2])
    if step_a.token != step_b.token:
        return Difference("token", position, None, None, a.name, str(step_a.token), b.name, str(step_b.token))
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
