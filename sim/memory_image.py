"""A machine's memory seen through the memory map of its artefact: initial contents, KV rows, logits."""

from typing import Any

import numpy as np
import torch

from hw.artefact import Artefact


def initial_memory(artefact: Artefact, seed: int = 1) -> np.ndarray:
    """uint8 [total_bytes]: the image, and random bytes wherever the machine has to write before it reads."""
    total = int(artefact.memory_map["total_bytes"])
    memory = np.frombuffer(np.random.default_rng(seed).bytes(total), np.uint8).copy()
    image = np.frombuffer(artefact.image, np.uint8)
    memory[: len(image)] = image
    return memory


def check_step(token: int, position: int, vocab: int, context: int) -> None:
    """ValueError unless the token is of the vocabulary and the position within the context."""
    for what, found, limit in (("token", token, vocab), ("position", position, context)):
        if not 0 <= found < limit:
            raise ValueError(f"{what}: wanted 0 to {limit - 1}, found {found}; cut the text")


def check_mapped_step(token: int, position: int, map_: dict[str, Any]) -> None:
    """`check_step` with what the memory map holds rows for."""
    vocab, context = (map_["regions"][n]["size"] // map_["strides"][n] for n in ("embedding", "rope"))
    check_step(token, position, vocab, context)


def kv_row(
    memory: np.ndarray, map_: dict[str, Any], layer: int, position: int, kv_heads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """K and V int8 [kv_heads, head_size], s_k and s_v binary32 [kv_heads] of one (layer, position)."""
    rows = {}
    for half in ("key", "value"):
        start = map_["regions"][half]["start"] + layer * map_["strides"][f"{half}_layer"]
        start += position * map_["strides"][half]
        rows[half] = np.array(memory[start : start + map_["rows"][half]])
    scales = rows["key"][: 8 * kv_heads].view("<f4").reshape(kv_heads, 2)
    k = rows["key"][8 * kv_heads :].view(np.int8).reshape(kv_heads, -1)
    return k, rows["value"].view(np.int8).reshape(kv_heads, -1), scales[:, 0].copy(), scales[:, 1].copy()


def logits_of(memory: np.ndarray, map_: dict[str, Any]) -> torch.Tensor:
    """binary32 [vocab] of the last token that was run with EMIT_LOGITS."""
    region = map_["regions"]["logits"]
    return torch.from_numpy(np.array(memory[region["start"] : region["start"] + region["size"]]).view("<f4"))
