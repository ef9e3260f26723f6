"""What a quantised model consists of: matrices, ternary or of integers, layers of them, and their inputs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import numerics
from .config import MATRICES, SITE_MATRICES, SITES, site_width
from .integer import IntegerLinear
from .ternary_file import pack_codes

__all__ = ["MATRICES", "SITES", "SITE_MATRICES", "Linear", "Matrix", "QuantisedLayer", "site_width"]


@dataclass(frozen=True, eq=False)
class Linear:
    """A ternary matrix scale x codes.

    Parameters
    ----------
    codes: int8 [out, in] of -1, 0, 1.
    scale: a binary32 value.
    """

    codes: Tensor
    scale: float

    @property
    def constant(self) -> Tensor:
        """k = scale / 127 (0-d binary32), used as y = fl(fl(acc) * fl(s * k))."""
        return numerics.constant(self.scale / numerics.INT8_LEVELS)

    @property
    def form(self) -> None:
        """None: an `IntegerLinear` has one."""
        return None

    def dequantised(self, activation_bits: int = 8) -> Tensor:
        """The weights that it stands for, binary32 [out, in]; activations have 8 bits."""
        assert activation_bits == 8
        return self.codes * self.scale

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, for a file."""
        return {"codes": pack_codes(self.codes), "scale": torch.tensor([self.scale], dtype=torch.float32)}


#: A matrix of a layer.
Matrix = Linear | IntegerLinear


@dataclass(frozen=True, eq=False)
class QuantisedLayer:
    """One layer: gains binary32 of the norms of four sites (None where a norm has none) and seven matrices.

    Gains are as long as what is normalised (`site_width`).
    """

    attention_gain: Tensor | None
    mlp_gain: Tensor | None
    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    gate: Matrix
    up: Matrix
    down: Matrix
    # A default that is no attribute of the class, which would hide those of a layer that draws its gains.
    o_gain: Tensor | None = field(default_factory=lambda: None)
    down_gain: Tensor | None = field(default_factory=lambda: None)

    def gain(self, site: str) -> Tensor | None:
        """The gain of the norm at ``site`` of the first four."""
        return getattr(self, f"{site}_gain")

    def gains(self) -> Iterator[tuple[str, Tensor]]:
        """(site, gain) of those that there are, in the order of `SITES`."""
        found = ((site, self.gain(site)) for site in SITES[:-1])
        return ((site, gain) for site, gain in found if gain is not None)

    def matrices(self) -> Iterator[tuple[str, Matrix]]:
        """(name, matrix) in the order of `MATRICES`."""
        return ((name, getattr(self, name)) for name in MATRICES)
