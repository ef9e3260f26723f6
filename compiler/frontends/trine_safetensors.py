"""The front end for Trine's own ternary models: the safetensors files that `models.ternary_file` writes.

Metadata: ``format`` = "trine-ternary-1", ``config`` = ModelConfig as JSON. Tensors: ``embedding`` (and
``head`` where the head is not the embedding) float16 or float32 [vocab, dim]; ``final_gain`` and
``layers.i.attention_gain``, ``layers.i.mlp_gain`` float32 [dim], where the configuration has ``inner_gain``
``layers.i.o_gain`` [dim] and ``layers.i.down_gain`` [hidden] too; for each matrix m of a layer
``layers.i.m.codes`` uint8 [out, ceil(in / 4)], least significant pair first (0 = 0, 1 = +1, 2 = -1), and
``layers.i.m.scale`` float32 [1].
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.config import ModelConfig
from models.integer_quantise import Recipe
from models.quantised import Linear, QuantisedLayer, QuantisedModel, matrix_shapes
from models.ternary_file import FORMAT, pack_codes, unpack_codes

from .errors import CheckpointError, refuse_weights

DESCRIPTION = f"safetensors of format {FORMAT!r}"

_EXPORT = "export the model again (models.train)"


def recognises(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is of this format: a header's length, then a JSON object."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def load(path: Path, recipe: Recipe) -> QuantisedModel:
    """The model in ``path``; CheckpointError where the file is not of this format or damaged."""
    refuse_weights(path, recipe)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(path, DESCRIPTION, f"format {metadata.get('format')!r}", _EXPORT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, MemoryError) as error:
        raise CheckpointError(path, "a whole safetensors file", error, "fetch the file again") from error
    try:
        config = ModelConfig.from_json(json.loads(metadata["config"]))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            path, "a ModelConfig as JSON under the metadata key 'config'", error, _EXPORT
        ) from error
    reader = _Reader(path, tensors)
    shapes = matrix_shapes(config)
    table = (config.vocab, config.dim)
    embedding = reader.floats("embedding", table)
    head = embedding if config.tied_head else reader.floats("head", table)
    final_gain = reader.floats("final_gain", (config.dim,))
    layers = tuple(
        QuantisedLayer(
            reader.gain(f"layers.{index}.attention_gain", config),
            reader.gain(f"layers.{index}.mlp_gain", config),
            **{name: reader.linear(f"layers.{index}.{name}", *shape) for name, shape in shapes.items()},
            o_gain=reader.inner_gain(f"layers.{index}.o_gain", config.dim, config),
            down_gain=reader.inner_gain(f"layers.{index}.down_gain", config.hidden, config),
        )
        for index in range(config.layers)
    )
    reader.finish()
    return QuantisedModel(
        config,
        embedding,
        layers,
        final_gain,
        recipe.quantise_head(head),
        activations=recipe.sites(ternary=True),
    ).check()


class _Reader:
    """Takes tensors by name, checked; every tensor of the file must be taken."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self._path, self._tensors = path, tensors

    def _take(self, name: str, dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...]) -> Tensor:
        wanted = f"{' or '.join(map(str, dtypes))} {list(shape)}"
        tensor = self._tensors.pop(name, None)
        if tensor is None or tensor.dtype not in dtypes or tuple(tensor.shape) != shape:
            found = "none" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
            raise CheckpointError(f"{self._path}: {name}", wanted, found, _EXPORT)
        return tensor

    def floats(
        self,
        name: str,
        shape: tuple[int, ...],
        dtypes: tuple[torch.dtype, ...] = (torch.float16, torch.float32),
    ) -> Tensor:
        """A tensor of finite numbers as binary32."""
        tensor = self._take(name, dtypes, shape).float()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self._path}: {name}", "finite numbers", "infinities or NaN", _EXPORT)
        return tensor

    def gain(self, name: str, config: ModelConfig) -> Tensor | None:
        """A block norm's gain; where the model has none, an absent tensor or one of ones gives None."""
        if not config.block_gain and name not in self._tensors:
            return None
        gain = self.floats(name, (config.dim,), (torch.float32,))
        if not config.block_gain and not bool((gain == 1).all()):
            raise CheckpointError(f"{self._path}: {name}", "no gain (block_gain is false)", "one", _EXPORT)
        return gain if config.block_gain else None

    def inner_gain(self, name: str, n: int, config: ModelConfig) -> Tensor | None:
        """The gain of the norm before o or down, of n elements; None where the model has none."""
        return self.floats(name, (n,), (torch.float32,)) if config.inner_gain else None

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        """A ternary matrix [rows, columns]."""
        packed = self._take(f"{name}.codes", (torch.uint8,), (rows, -(-columns // 4)))
        try:
            codes = unpack_codes(packed, columns)
        except ValueError as error:
            raise CheckpointError(f"{self._path}: {name}", "pairs 0, 1 or 2", error, _EXPORT) from error
        if not torch.equal(pack_codes(codes), packed):
            raise CheckpointError(f"{self._path}: {name}", "zeros in the padding of a row", "others", _EXPORT)
        return Linear(codes, float(self.floats(f"{name}.scale", (1,), (torch.float32,))))

    def finish(self) -> None:
        """Refuse tensors that nothing here understands."""
        if self._tensors:
            raise CheckpointError(self._path, "only the tensors of its format", min(self._tensors), _EXPORT)
