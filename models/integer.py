"""Matrices of 8-bit and 4-bit integers, for LINEAR and HEAD (`models.numerics.grouped_linear`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import numerics

__all__ = [
    "CODE_RANGE",
    "SCALE_LIMIT",
    "IntegerLinear",
    "activation_levels",
    "activation_one",
    "padded_groups",
]

#: Least and largest code by width. -128 is left out, so that a row and its negative quantise alike.
CODE_RANGE = {8: (-numerics.INT8_LEVELS, numerics.INT8_LEVELS), 4: (-8, 7)}
#: Largest scale of a group: 12 bits.
SCALE_LIMIT = 4095
#: Rows whose weights are worked out at once: bounds memory.
_ROWS = 1024


def activation_levels(bits: int) -> int:
    """The largest activation of 8 or 12 bits: 127 or 2047."""
    return {8: numerics.INT8_LEVELS, 12: numerics.MANTISSA_LEVELS}[bits]


def activation_one(bits: int) -> int:
    """What an activation equal to its token's scale would be: 127 (absmax) or 2048 (shared exponent)."""
    return {8: numerics.INT8_LEVELS, 12: numerics.MANTISSA_ONE}[bits]


def padded_groups(columns: int, group: int) -> int:
    """Groups of a row; the last one is what remains."""
    return -(-columns // group)


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """A matrix of integers: w[r, i] = row_scale[r] * one * (scales[r, g] * codes[r, i] + minima[r, g]).

    g = i // group; ``one`` is `activation_one` of the activations that it multiplies; scales are 1, minima 0
    where absent.

    Parameters
    ----------
    codes: int8 [out, in], within `CODE_RANGE`.
    bits: of a code, 8 or 4.
    row_scale: binary32 [out]; 1/127 (8-bit activations) or 1/2048 (12-bit ones) is folded in.
    group: weights that share a scale; 0: no group scales.
    scales: int16 [out, ceil(in / group)], 0 to `SCALE_LIMIT`; only and always with ``group``.
    minima: int16 [out, ceil(in / group)], within +-`numerics.GROUP_LIMIT`; only with ``group``.
    """

    codes: Tensor
    bits: int
    row_scale: Tensor
    group: int = 0
    scales: Tensor | None = None
    minima: Tensor | None = None

    @property
    def form(self) -> dict[str, Any]:
        """Width, group and whether there are minima: what all layers of a matrix have in common."""
        return {"bits": self.bits, "group": self.group, "minima": self.minima is not None}

    @property
    def kind(self) -> str:
        """Its form in a word or two, as tables say it: "int8", "int4 g32"."""
        return f"int{self.bits}" + (f" g{self.group}" if self.group else "")

    def integers(self) -> Tensor:
        """scales * codes + minima, int64 [out, in]: the weights in units of a row's scale."""
        weight = self.codes.to(torch.int64)
        if self.group:
            assert self.scales is not None
            weight = weight * self._spread(self.scales)
            if self.minima is not None:
                weight = weight + self._spread(self.minima)
        return weight

    def dequantised(self, activation_bits: int = 8) -> Tensor:
        """The weights that it stands for, binary32 [out, in]."""
        unit = self.row_scale.double() * activation_one(activation_bits)
        return (self.integers() * unit[:, None]).float()

    def largest_sum(self, activation_bits: int = 8) -> int:
        """The largest |acc| that activations of that width can give in any row, exact."""
        largest = 0
        for first in range(0, len(self.codes), _ROWS):
            some = slice(first, first + _ROWS)
            tables = (table if table is None else table[some] for table in (self.scales, self.minima))
            part = replace(self, codes=self.codes[some], scales=next(tables), minima=next(tables))
            largest = max(largest, int(part.integers().abs().sum(-1).max()))
        return largest * activation_levels(activation_bits)

    def _spread(self, values: Tensor) -> Tensor:
        """Values of groups [out, groups] for each column, int64 [out, in]."""
        return values.to(torch.int64).repeat_interleave(self.group, -1)[:, : self.codes.shape[1]]

    # --- in a file ----------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name; 4-bit codes two a byte, the first one low."""
        found = {"codes": self.codes if self.bits == 8 else _pack(self.codes), "row_scale": self.row_scale}
        for name, values in (("scales", self.scales), ("minima", self.minima)):
            if values is not None:
                found[name] = values
        return found

    @classmethod
    def load(cls, take: Callable[[str], Tensor], form: Mapping[str, Any], columns: int) -> "IntegerLinear":
        """Inverse of `tensors` and `form`; ``take`` gives a tensor by name. ValueError where damaged."""
        bits, group, minima = form["bits"], form["group"], form["minima"]
        if bits not in CODE_RANGE or not isinstance(group, int) or group < 0 or (minima and not group):
            raise ValueError(
                f"integer matrix: wanted 4 or 8 bits, a group of 0 or more and minima only with one, "
                f"found {dict(form)}; the file is damaged"
            )
        codes = take("codes")
        return cls(
            codes if bits == 8 else _unpack(codes, columns),
            bits,
            take("row_scale"),
            group,
            take("scales") if group else None,
            take("minima") if minima else None,
        )


def _pack(codes: Tensor) -> Tensor:
    """4-bit codes [out, in] as uint8 [out, ceil(in / 2)]."""
    halves = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2)).to(torch.int16) & 15
    return (halves[:, 0::2] | halves[:, 1::2] << 4).to(torch.uint8)


def _unpack(packed: Tensor, columns: int) -> Tensor:
    """Inverse of `_pack`; ValueError on another size, or where the filler is not 0."""
    wanted = -(-columns // 2)
    if packed.dtype != torch.uint8 or packed.dim() != 2 or packed.shape[1] != wanted:
        raise ValueError(
            f"4-bit codes: wanted uint8 [out, {wanted}], found {packed.dtype} {list(packed.shape)}; "
            f"the file does not fit its configuration"
        )
    both = torch.stack((packed & 15, packed >> 4), -1).reshape(len(packed), -1).to(torch.int16)
    codes = ((both ^ 8) - 8).to(torch.int8)
    if bool(codes[:, columns:].any()):
        raise ValueError("4-bit codes: wanted 0 behind a row's last code, found more; the file is damaged")
    return codes[:, :columns]
