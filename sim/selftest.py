"""An artefact's test vectors on a backend: does it still compute what the golden model computed then?"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.artefact import Artefact

from .backend import Backend, KVRow, Request
from .entries import Entry
from .requests import prompt_requests

__all__ = ["SelfTest", "self_test"]


@dataclass(frozen=True)
class SelfTest:
    """tokens, logits: how many were compared; rows: of the KV memory. difference: None, or a sentence."""

    tokens: int
    logits: int
    rows: int
    difference: str | None


def self_test(
    artefact: Artefact, backend: Backend, on_token: Callable[[int], None] = lambda token: None
) -> SelfTest:
    """Run the vectors' prompt in chunks, then step by step; compare tokens, logits and all KV rows.

    ValueError where the artefact has no vectors.
    """
    vectors = artefact.vectors
    if vectors is None:
        raise ValueError("wanted test vectors in the artefact, found none; compile the model again")
    prompt, wanted, hashes = vectors["prompt"], vectors["tokens"], vectors["logits_sha256"]
    machine, heads = artefact.machine, int(artefact.config["heads"])
    found: list[int] = []
    pending = list(
        prompt_requests(
            prompt, chunk=machine.max_chunk, tile=machine.tile, logits=True,
            most=lambda rows: machine.tile_at(heads, rows),
        )
    )  # fmt: skip
    while pending:
        request = pending.pop(0)
        outcome = backend.run(request)
        if not request.head:
            continue
        number = len(found)
        found.append(outcome.tokens[0][-1])
        on_token(found[-1])
        logits = outcome.logits
        if found[-1] != wanted[number]:
            return SelfTest(number, number, 0, f"token {number}: wanted {wanted[number]}, found {found[-1]}")
        if logits is None or hashlib.sha256(logits[-1].numpy().tobytes()).hexdigest() != hashes[number]:
            return SelfTest(number + 1, number, 0, f"logits of token {number}: another SHA-256 than wanted")
        if len(found) < len(wanted):
            pending = [Request([Entry(found[-1], len(prompt) + number)], logits=True)]
    layers, rows = int(artefact.config["layers"]), int(vectors["kv_tokens"])
    held = [[backend.kv(layer, row) for row in range(rows)] for layer in range(layers)]
    if _digest(held) != vectors["kv_sha256"]:
        return SelfTest(len(found), len(found), 0, f"KV memory of {rows} tokens: another SHA-256 than wanted")
    return SelfTest(len(found), len(found), layers * rows, None)


def _digest(held: list[list[KVRow]]) -> str:
    """SHA-256 of all K rows (scales, codes), then of all V rows."""
    total = hashlib.sha256()
    for layer in held:
        for row in layer:
            total.update(np.stack((row.s_k, row.s_v), axis=1).astype("<f4").tobytes())
            total.update(np.ascontiguousarray(row.k).tobytes())
    for layer in held:
        for row in layer:
            total.update(np.ascontiguousarray(row.v).tobytes())
    return total.hexdigest()
