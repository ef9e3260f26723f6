"""The "ak42" front end: ternary BitNet b1.58 checkpoints of bitllama2.c.

Layout, little-endian: a header of 256 bytes (magic 0x616B3432, version, dim, hidden, layers, heads,
kv_heads, vocab, context as int32, one byte that says whether the head is the embedding); float32 final gain
and embedding; then for wq, wk, wv, wo, w1 (gate), w2 (down), w3 (up), each over all layers: a float32 scale
and two-bit codes, most significant pair first, rows one after another (0 = 0, 1 = +1, 3 = -1); the weight is
scale x code.

Every linear but the head normalises its own input, without gain: x / max(||x||, 1e-12) / sqrt(n).
(https://github.com/HKUSTGZ-MICS-LYU/bitllama2.c)
"""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.config import ModelConfig
from models.integer_quantise import Recipe
from models.quantised import Linear, QuantisedLayer, QuantisedModel, matrix_shapes

from .errors import CheckpointError, refuse_weights

DESCRIPTION = "an ak42 checkpoint (begins with b'24ka')"
MAGIC = b"24ka"
HEADER_BYTES = 256
#: The one version there is.
VERSION = 1

_ORDER = ("q", "k", "v", "o", "gate", "down", "up")
_FETCH = "the file is damaged or cut short: fetch it again"


def recognises(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is of this format."""
    return head.startswith(MAGIC)


def load(path: Path, recipe: Recipe) -> QuantisedModel:
    """The model in ``path``; CheckpointError where the file is not what its header promises."""
    refuse_weights(path, recipe)
    data = path.read_bytes()
    config = _configuration(path, data)
    reader = _Reader(path, data)
    final_gain = reader.floats("final gain", config.dim)
    embedding = reader.floats("embedding", config.vocab, config.dim)
    shapes = matrix_shapes(config)
    linears = {
        name: [reader.linear(f"layer {index}, {name}", *shapes[name]) for index in range(config.layers)]
        for name in _ORDER
    }
    layers = tuple(
        QuantisedLayer(
            None, None, **{name: linears[name][index] for name in _ORDER}, o_gain=None, down_gain=None
        )
        for index in range(config.layers)
    )
    return QuantisedModel(
        config,
        embedding,
        layers,
        final_gain,
        recipe.quantise_head(embedding),
        activations=recipe.sites(ternary=True),
    ).check()


def _configuration(path: Path, data: bytes) -> ModelConfig:
    """The configuration that the header describes; the file's size is compared with it first."""
    if len(data) < HEADER_BYTES or not recognises(data):
        raise CheckpointError(
            path,
            f"{MAGIC!r} and a header of {HEADER_BYTES} bytes",
            f"{data[:4]!r} and {len(data)} bytes",
            _FETCH,
        )
    version, dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<8i", data, 4)
    if version != VERSION:
        raise CheckpointError(path, f"version {VERSION}", version, "export the checkpoint in version 1")
    if data[36] != 1:
        raise CheckpointError(
            path,
            "a head that is the embedding (byte 36 = 1)",
            data[36],
            "export the checkpoint with a shared classifier",
        )
    try:
        config = ModelConfig(
            path.stem,
            dim,
            hidden,
            layers,
            heads,
            kv_heads,
            vocab,
            context,
            norm="l2",
            block_gain=False,
            inner_norm=True,
            final_eps=1e-5,
        )
    except ValueError as error:
        raise CheckpointError(path, "the header of a model", error, _FETCH) from error
    matrices = sum(4 + -(-rows * columns // 4) for rows, columns in matrix_shapes(config).values())
    size = HEADER_BYTES + 4 * (dim + vocab * dim) + layers * matrices
    if len(data) != size:
        raise CheckpointError(path, f"{size} bytes (what the header promises)", len(data), _FETCH)
    return config


class _Reader:
    """Reads the tensors one after another; the size of the file was checked before."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self._at = path, data, HEADER_BYTES

    def floats(self, name: str, *shape: int) -> Tensor:
        """The next binary32 numbers, all finite."""
        count = int(np.prod(shape))
        values = np.frombuffer(self._data, "<f4", count, self._at).astype(np.float32)
        self._at += 4 * count
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self._path}: {name}", "finite numbers", "infinities or NaN", _FETCH)
        return torch.from_numpy(values.reshape(shape))

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        """The next scale and codes [rows, columns]."""
        scale = float(self.floats(f"{name}, scale", 1))
        packed = np.frombuffer(self._data, np.uint8, -(-rows * columns // 4), self._at)
        self._at += packed.size
        pairs = (packed[:, None] >> np.array([6, 4, 2, 0], np.uint8) & 3).reshape(-1)[: rows * columns]
        if (pairs == 2).any():
            raise CheckpointError(f"{self._path}: {name}", "two-bit codes 0, 1 or 3", "2", _FETCH)
        codes = np.where(pairs == 3, -1, pairs.astype(np.int8)).astype(np.int8)
        return Linear(torch.from_numpy(codes.reshape(rows, columns)), scale)
