"""llama2.c's legacy float checkpoints.

File format (karpathy/llama2.c, export.py, version 0), little-endian: seven int32 (dim, hidden, layers,
heads, kv_heads, vocab, context; a negative vocab means a head of its own), then binary32: embedding,
attention gains, wq, wk, wv, wo, MLP gains, w1 (gate), w2 (down), w3 (up), each over all layers, final gain,
two RoPE tables (not read: they follow from the header), [head].
"""

import math
import struct
from pathlib import Path

import numpy as np
import torch

from .config import ModelConfig, matrix_shapes
from .errors import CheckpointError
from .float_model import FloatModel

__all__ = ["HEADER_BYTES", "load_llama2c", "plausible_header"]

HEADER_BYTES = 28
#: Largest dim, hidden, layers, heads, kv_heads, vocab and context: the format has no magic number, so a
#: header is known by its numbers.
LIMITS = (1 << 16, 1 << 18, 1 << 10, 1 << 10, 1 << 10, 1 << 22, 1 << 22)
_FETCH = "the file is damaged, cut short or of another format: fetch it again or convert it"
_ORDER = ("attention_gain", "q", "k", "v", "o", "mlp_gain", "gate", "down", "up")


def plausible_header(head: bytes) -> bool:
    """Whether the first `HEADER_BYTES` bytes of a file may be a header: sizes of a model, all in range."""
    if len(head) < HEADER_BYTES:
        return False
    values = struct.unpack_from("<7i", head)
    sizes = (*values[:5], abs(values[5]), values[6])
    return all(1 <= size <= limit for size, limit in zip(sizes, LIMITS, strict=True))


def load_llama2c(path: Path) -> FloatModel:
    """The float Llama of a legacy checkpoint.

    Raises CheckpointError where the header is no model's, where the file is not of the size that the header
    promises, or where a number is not finite.
    """
    data = path.read_bytes()
    if not plausible_header(data):
        raise CheckpointError(
            path,
            "a llama2.c checkpoint, which begins with the seven sizes of a model",
            f"{len(data)} bytes that begin with {data[:8]!r}",
            _FETCH,
        )
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<7i", data)
    try:
        config = ModelConfig(
            path.stem, dim, hidden, layers, heads, kv_heads, abs(vocab), context,
            block_gain=True, inner_norm=False, tied_head=vocab > 0,
        )  # fmt: skip
    except ValueError as error:
        raise CheckpointError(path, "the header of a model", error, _FETCH) from error
    shapes = {"attention_gain": (dim,), "mlp_gain": (dim,), **matrix_shapes(config)}
    tables = context * config.head_size
    head = 0 if config.tied_head else config.vocab * dim
    each = sum(math.prod(shapes[name]) for name in _ORDER)
    size = HEADER_BYTES + 4 * (config.vocab * dim + layers * each + dim + tables + head)
    if len(data) != size:
        promise = f"{layers} layers, dim {dim}, hidden {hidden}, vocab {vocab}, context {context}"
        raise CheckpointError(path, f"{size} bytes (what the header promises: {promise})", len(data), _FETCH)
    at = HEADER_BYTES

    def take(name: str, *shape: int) -> torch.Tensor:
        nonlocal at
        count = math.prod(shape)
        values = np.frombuffer(data, "<f4", count, at).astype(np.float32).reshape(shape)
        at += 4 * count
        if not np.isfinite(values).all():
            raise CheckpointError(f"{path}: {name}", "finite numbers", "infinities or NaN", _FETCH)
        return torch.from_numpy(values)

    model = FloatModel(config, "fixed", None)
    with torch.no_grad():
        model.embedding.copy_(take("embedding", config.vocab, dim))
        for name in _ORDER:
            for layer, values in zip(model.layers, take(name, layers, *shapes[name]), strict=True):
                getattr(layer, name).copy_(values)
        model.final_gain.copy_(take("final gain", dim))
        at += 4 * tables
        if not config.tied_head:
            model.head.copy_(take("head", config.vocab, dim))
    return model.eval()
