"""The tape: weights and constants, byte for byte, in the order in which the program takes them."""

import numpy as np
import torch

from hw.machine import MachineConfig
from models import numerics
from models.quantised import (
    IntegerLinear,
    Linear,
    QuantisedLayer,
    QuantisedModel,
    norm_constants,
    query_constant,
    site_width,
)

from .fit import Places
from .lower import Content
from .tape_integer import integer_bytes
from .tape_layout import Run


def content_bytes(
    model: QuantisedModel, machine: MachineConfig, places: Places, layer: int, content: Content
) -> np.ndarray:
    """The bytes (uint8 [n]) that the consumer of `content` takes in `layer`."""
    if content.kind in ("matrix", "head"):
        matrix = model.head if content.kind == "head" else getattr(model.layers[layer], content.name)
        if isinstance(matrix, IntegerLinear):
            return integer_bytes(matrix, machine)
        packed = numerics.pack_trits(matrix.codes)
        return chunked(packed.to(torch.uint8).numpy(), machine.tables)
    if content.kind == "gain":
        return _float_bytes(_gain(model, layer, content.name))
    names = places.layer_scalars
    values = _layer_scalars(model, layer)
    if content.name == "fixed":
        names, values = (*places.fixed_scalars, *names), {**_fixed_scalars(model), **_first_scalars(model, 0)}
    elif content.name == "again":
        names, values = places.again_scalars, _first_scalars(model, layer)
    return _float_bytes(torch.stack([values.get(name or "", torch.zeros(())) for name in names]))


def chunked(packed: np.ndarray, tables: int) -> np.ndarray:
    """Packed trits [rows, columns] in tape order: chunks of `tables` columns, in a chunk row by row."""
    return np.concatenate([packed[:, i : i + tables].reshape(-1) for i in range(0, packed.shape[1], tables)])


def segment(
    model: QuantisedModel, machine: MachineConfig, places: Places, layer: int, fetches: list[Run], size: int
) -> np.ndarray:
    """One block's part of the tape for one layer: uint8 [size], zero between runs."""
    out = np.zeros(size, np.uint8)
    for run in fetches:
        if run.side is None:
            made = np.concatenate([content_bytes(model, machine, places, layer, one) for one in run.contents])
            if len(made) != run.size:
                raise AssertionError(f"tape: {run.contents} made {len(made)} bytes, planned {run.size}")
            out[run.offset : run.offset + run.size] = made
    return out


# --- constants --------------------------------------------------------------------------------------------


def _float_bytes(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.to(torch.float32).numpy()).view(np.uint8).reshape(-1)


def _gain(model: QuantisedModel, layer: int, name: str) -> torch.Tensor:
    """A gain vector of the layer; "next" is the next layer's attention gain, or the final one."""
    if name == "next":
        name, layer = ("attention", layer + 1) if layer + 1 < len(model.layers) else ("final", layer)
    gain = model.final_gain if name == "final" else model.layers[layer].gain(name)
    assert gain is not None
    return gain


def _fixed_scalars(model: QuantisedModel) -> dict[str, torch.Tensor]:
    """Constants common to all layers."""
    c = model.config
    found = {"query": query_constant(c.head_size)}
    for site, grid in model.grids.items():
        final = site == "final"
        found[f"c_{site}"], eps = norm_constants(c, site_width(c, site), grid, final)
        found["eps_final" if final else "eps"] = eps
    return found


def _layer_scalars(model: QuantisedModel, layer: int) -> dict[str, torch.Tensor]:
    """k of the later matrices of a layer, and of the first ones of the next layer."""
    found = _constants(model.layers[layer], ("o", "up", "gate", "down"))
    return found | (_first_scalars(model, layer + 1) if layer + 1 < len(model.layers) else {})


def _first_scalars(model: QuantisedModel, layer: int) -> dict[str, torch.Tensor]:
    """k of the first matrices of a layer."""
    return _constants(model.layers[layer], ("q", "k", "v"))


def _constants(layer: QuantisedLayer, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """k of ternary matrices; the row scales of the others stand beside their codes."""
    found = {name: getattr(layer, name) for name in names}
    return {f"k_{name}": matrix.constant for name, matrix in found.items() if isinstance(matrix, Linear)}
