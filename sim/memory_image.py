"""A machine's memory seen through the memory map of its artefact: initial contents, KV rows, logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hw.artefact import Artefact
from hw.isa import STOP_TOKENS
from hw.machine import MachineConfig

from .backend import KVRow, Request


def initial_memory(artefact: Artefact, seed: int = 1) -> np.ndarray:
    """uint8 [total_bytes]: the image, and random bytes wherever the machine has to write before it reads."""
    total = int(artefact.memory_map["total_bytes"])
    memory = np.frombuffer(np.random.default_rng(seed).bytes(total), np.uint8).copy()
    image = np.frombuffer(artefact.image, np.uint8)
    memory[: len(image)] = image
    return memory


def check_run(request: Request, machine: MachineConfig, map_: dict[str, Any], heads: int) -> None:
    """ValueError unless a machine with this memory can run the request for a model of so many heads."""
    vocab, context = (map_["regions"][n]["size"] // map_["strides"][n] for n in ("embedding", "rope"))
    rows, entries = int(map_["kv_rows"]), request.entries

    def need(what: str, found: int, low: int, high: int, remedy: str) -> None:
        if not low <= found <= high:
            raise ValueError(f"{what}: wanted {low} to {high}, found {found}; {remedy}")

    need("tokens of a chunk", len(entries), 1, machine.max_chunk, "cut the prompt into chunks")
    need("tile", request.tile, 1, machine.tile, "a machine with a larger tile would take it")
    need("stop tokens", len(request.stops), 0, STOP_TOKENS, "stop at the others on the host")
    most = context if request.head else 1
    need("steps", request.steps, 1, most, "without the head, or beyond the context, there is no next token")
    if request.batch:
        need("sequences of a batch", len(entries), 1, request.tile, "run the others in another batch")
        most = machine.max_context
        need("output log", request.steps * len(entries), 1, most, "let several doorbells do the steps")
    for i, entry in enumerate(entries):
        need("token", entry.token, 0, vocab - 1, "is the tokenizer of another model?")
        last = entry.position + (request.steps - 1 if request.batch or i == len(entries) - 1 else 0)
        need("position", last, 0, context - 1, "cut the text")
        need("row of the KV memory", entry.base + last, 0, rows - 1, "fewer sequences, or more --kv-rows")
        before = entries[i - 1] if i else None
        follows = before and (before.position + 1, before.base) == (entry.position, entry.base)
        if entry.continues and not follows:
            raise ValueError(f"entry {i}: wanted it to continue {before}, found {entry}")
    for first in range(0, len(entries), request.tile):
        tile = entries[first : first + request.tile]
        rows = max(entry.position for entry in tile) + (request.steps if request.batch else 1)
        most = machine.tile_at(heads, rows)
        need(
            f"tokens of a tile that see {rows} rows", len(tile), 1, most, "a smaller tile holds their scores"
        )


def _row_spans(map_: dict[str, Any], layer: int, row: int) -> tuple[slice, slice]:
    """Bytes of the K row (scales and codes) and of the V row."""
    spans = []
    for half in ("key", "value"):
        start = map_["regions"][half]["start"] + layer * map_["strides"][f"{half}_layer"]
        start += row * map_["strides"][half]
        spans.append(slice(start, start + map_["rows"][half]))
    return spans[0], spans[1]


def kv_row(memory: np.ndarray, map_: dict[str, Any], layer: int, row: int, kv_heads: int) -> KVRow:
    """What one (layer, row) of the KV memory holds."""
    key, value = (np.array(memory[span]) for span in _row_spans(map_, layer, row))
    scales = key[: 8 * kv_heads].view("<f4").reshape(kv_heads, 2)
    k, v = (codes.view(np.int8).reshape(kv_heads, -1) for codes in (key[8 * kv_heads :], value))
    return KVRow(k, v, scales[:, 0].copy(), scales[:, 1].copy())


def restore_rows(
    memory: np.ndarray, map_: dict[str, Any], base: int, rows: Sequence[Sequence[KVRow]]
) -> None:
    """Write rows [layer][position] of a sequence that begins at row `base`."""
    for layer, held in enumerate(rows):
        for position, row in enumerate(held):
            key, value = _row_spans(map_, layer, base + position)
            scales = np.stack((row.s_k, row.s_v), axis=1).astype("<f4")
            memory[key] = np.concatenate(
                (scales.reshape(-1).view(np.uint8), row.k.reshape(-1).view(np.uint8))
            )
            memory[value] = row.v.reshape(-1).view(np.uint8)


def logits_of(memory: np.ndarray, map_: dict[str, Any], tokens: int) -> torch.Tensor:
    """binary32 [tokens, vocab] of the last tile that was run with EMIT_LOGITS."""
    start = map_["regions"]["logits"]["start"]
    vocab = map_["regions"]["embedding"]["size"] // map_["strides"]["embedding"]
    rows = np.array(memory[start : start + 4 * vocab * tokens]).view("<f4").reshape(vocab, tokens)
    return torch.from_numpy(np.ascontiguousarray(rows.T))
