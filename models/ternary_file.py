"""The shipped form of a ternary model: one safetensors file.

Metadata: ``format`` = "trine-ternary-1", ``config`` = ModelConfig as JSON. Tensors: ``embedding`` float16
[vocab, dim]; ``final_gain`` float32 [dim]; per layer i ``layers.i.attention_gain`` and ``layers.i.mlp_gain``
float32 [dim], where ``inner_gain`` also ``layers.i.o_gain`` [dim] and ``layers.i.down_gain`` [hidden], and
per matrix m of q, k, v, o, gate, up, down ``layers.i.m.codes`` uint8 [out, ceil(in / 4)], two bits a weight,
least significant pair first (0 = 0, 1 = +1, 2 = -1), and ``layers.i.m.scale`` float32 [1]; the weight is
scale x code.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import MATRICES, ModelConfig, matrix_shapes
from .float_model import GAINS, FloatModel, Layer, ternary_codes, ternary_scale

FORMAT = "trine-ternary-1"


def pack_codes(codes: Tensor) -> Tensor:
    """Codes -1, 0, +1 [out, in] -> uint8 [out, ceil(in / 4)]."""
    pairs = torch.where(codes < 0, 2, codes).to(torch.uint8)
    pairs = torch.nn.functional.pad(pairs, (0, -pairs.shape[1] % 4)).view(len(pairs), -1, 4)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8)
    return (pairs << shifts).sum(-1, dtype=torch.uint8)


def unpack_codes(packed: Tensor, columns: int) -> Tensor:
    """uint8 [out, ceil(columns / 4)] -> int8 codes [out, columns]; ValueError on a pair 3 or wrong sizes."""
    if packed.dtype != torch.uint8 or packed.shape[1] != -(-columns // 4):
        raise ValueError(
            f"codes: wanted uint8 [out, {-(-columns // 4)}], found {packed.dtype} "
            f"{list(packed.shape)}; the file does not fit its configuration"
        )
    pairs = (packed[..., None] >> torch.tensor([0, 2, 4, 6], dtype=torch.uint8)) & 3
    if bool((pairs == 3).any()):
        raise ValueError("codes: wanted pairs 0, 1 or 2, found 3; the file is damaged or packed otherwise")
    codes = pairs.view(len(packed), -1)[:, :columns].to(torch.int8)
    return torch.where(codes == 2, -1, codes)


def save_ternary(model: FloatModel, path: Path) -> None:
    """Write the latent model's ternary form (temporary name, then rename)."""
    tensors = {"embedding": model.embedding.detach().half(), "final_gain": model.final_gain.detach().clone()}
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        gains = {name: getattr(layer, name) for name in GAINS}
        tensors |= {f"layers.{index}.{n}": g.detach().clone() for n, g in gains.items() if g is not None}
        for name in MATRICES:
            weight = getattr(layer, name).detach()
            scale = ternary_scale(weight)
            tensors[f"layers.{index}.{name}.codes"] = pack_codes(ternary_codes(weight, scale))
            tensors[f"layers.{index}.{name}.scale"] = scale.reshape(1).float()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    save_file(tensors, draft, {"format": FORMAT, "config": json.dumps(model.config.to_json())})
    draft.replace(path)


def load_ternary(path: Path) -> FloatModel:
    """The float reference of a shipped file: effective weights, int8 activations."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: wanted a safetensors file, found {error}; fetch or export it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: wanted the format {FORMAT!r} in its metadata, found "
            f"{metadata.get('format')!r}; export it with models.train"
        )
    config = ModelConfig.from_json(json.loads(metadata["config"]))
    model = FloatModel(config, "fixed", 8)

    def fill(target: Tensor, name: str, factor: Tensor | None = None) -> None:
        if name not in tensors:
            raise ValueError(f"{path}: wanted a tensor {name!r}, found none; export it again")
        source = tensors[name] if factor is None else unpack_codes(tensors[name], target.shape[1]) * factor
        if source.shape != target.shape:
            raise ValueError(
                f"{path}: {name}: wanted shape {list(target.shape)}, found {list(source.shape)}; "
                f"the file does not fit its configuration"
            )
        target.copy_(source)

    with torch.no_grad():
        fill(model.embedding, "embedding")
        fill(model.final_gain, "final_gain")
        for index, layer in enumerate(model.layers):
            assert isinstance(layer, Layer)
            for name in GAINS:
                if (gain := getattr(layer, name)) is not None:
                    fill(gain, f"layers.{index}.{name}")
            for name in matrix_shapes(config):
                fill(
                    getattr(layer, name),
                    f"layers.{index}.{name}.codes",
                    tensors[f"layers.{index}.{name}.scale"],
                )
    return model.eval()
