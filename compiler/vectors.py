"""Test vectors: what the golden model makes of a short prompt, so that an artefact can prove itself later."""

import hashlib
from typing import Any

import numpy as np
import torch

from models.golden import GoldenModel, KVCache
from models.quantised import QuantisedModel

from .memory_map import MemoryMap

#: Tokens generated after the prompt.
GENERATED = 8


def kv_memory(cache: KVCache, memory: MemoryMap) -> tuple[np.ndarray, np.ndarray]:
    """K and V rows as they lie in memory: uint8 [layers, length, row], padding left out.

    A K row is (s_k, s_v) binary32 for each K/V head, then the codes; a V row is codes.
    """
    layers, length = cache.k.shape[0], cache.length
    scales = torch.stack((cache.s_k, cache.s_v), dim=-1)[:, :length].contiguous().numpy()
    scales = scales.reshape(layers, length, -1).view(np.uint8)
    k, v = (
        half[:, :length].reshape(layers, length, -1).numpy().view(np.uint8) for half in (cache.k, cache.v)
    )
    k = np.concatenate((scales, k), axis=-1)
    if (k.shape[-1], v.shape[-1]) != (memory.rows["key"], memory.rows["value"]):
        raise AssertionError(f"KV rows of {k.shape[-1]} and {v.shape[-1]} bytes, the map says {memory.rows}")
    return k, v


def kv_rows(
    image: np.ndarray, memory: MemoryMap, layers: int, length: int, base: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The same rows of a sequence that begins at row `base`, cut out of a machine's memory (uint8 [n])."""
    halves = []
    for half in ("key", "value"):
        stride, row = memory.strides[half], memory.rows[half]
        start = memory.regions[half].start + base * stride
        at = [start + layer * memory.strides[f"{half}_layer"] for layer in range(layers)]
        halves.append(np.stack([image[a : a + length * stride].reshape(length, stride)[:, :row] for a in at]))
    return halves[0], halves[1]


def kv_digest(k: np.ndarray, v: np.ndarray) -> str:
    """SHA-256 of K rows, then V rows."""
    return hashlib.sha256(np.ascontiguousarray(k).tobytes() + np.ascontiguousarray(v).tobytes()).hexdigest()


def make_vectors(
    model: QuantisedModel, memory: MemoryMap, prompt: list[int], count: int = GENERATED
) -> dict[str, Any]:
    """Greedy tokens after `prompt`, and hashes of the logits (one a token) and of all KV rows.

    The last token is not fed back, so the KV memory holds len(prompt) + count - 1 tokens.
    """
    cache, tokens, logits = KVCache.empty(model.config), [], []
    for token, row in GoldenModel(model).generate(prompt, count, cache):
        tokens.append(token)
        logits.append(hashlib.sha256(row.numpy().tobytes()).hexdigest())
    return {
        "prompt": prompt,
        "tokens": tokens,
        "logits_sha256": logits,
        "kv_tokens": cache.length,
        "kv_sha256": kv_digest(*kv_memory(cache, memory)),
    }
