"""The tape: weights and constants, byte for byte, in the order in which the program takes them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hw.integer_shape import IntegerShape
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

from .fit import Places, align
from .lower import SIDE, Content, Step
from .memory_map import REGION_ALIGN
from .tape_integer import integer_bytes

#: Longest FETCH, a multiple of every bus width.
MAX_FETCH = 2**26 - REGION_ALIGN


@dataclass(frozen=True)
class Run:
    """Neighbouring contents that one fetch brings: a side fetch, or bytes of the block's segment.

    offset: first byte in the block's part of the tape, a multiple of 64; size: bytes. Side fetches: 0.
    predicate: of all instructions that take from it.
    """

    contents: tuple[Content, ...]
    offset: int = 0
    size: int = 0
    predicate: int = 0

    @property
    def side(self) -> str | None:
        """Which side fetch, if it is one."""
        return self.contents[0].kind if self.contents[0].kind in SIDE else None


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


def content_size(machine: MachineConfig, step: Step) -> int:
    """Bytes that a step takes, without making them; 0 for side fetches."""
    f, content = step.fields, step.content
    if content is None or content.kind in SIDE:
        return 0
    if step.name == "MATMUL":
        return f["rows"] * -(-f["k"] // numerics.TRITS_PER_BYTE)
    return 4 * f["n"] if step.name == "MAP" else IntegerShape.of(machine, f).bytes


def runs(machine: MachineConfig, steps: Iterable[Step], start: int = 0) -> tuple[list[Run], int]:
    """The fetches of one part in tape order from byte `start` of its block's tape, and the byte behind them.

    Both bytes are multiples of 64.
    """
    found: list[Run] = []
    offset, size, open_, predicate = start, 0, [], 0
    for step in (*steps, None):
        if step is not None and step.content is None:
            continue
        side = step is not None and step.content is not None and step.content.kind in SIDE
        other = step is None or step.fields.get("predicate", 0) != predicate
        if open_ and (side or other):
            found.append(Run(tuple(open_), offset, size, predicate))
            offset, size, open_ = offset + align(size, REGION_ALIGN), 0, []
        if step is None or step.content is None:
            break
        predicate = step.fields.get("predicate", 0)
        if side:
            found.append(Run((step.content,), predicate=predicate))
        else:
            open_.append(step.content)
            size += content_size(machine, step)
    return found, offset


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
