"""The shape of an integer matrix on the tape, as LINEAR and HEAD take it: pairs of rows, units, groups."""

from collections.abc import Mapping
from dataclasses import dataclass

from .isa import Width
from .machine import MachineConfig

__all__ = ["IntegerShape"]

#: Bytes of a pair's two row scales.
_ROW_SCALES = 8


@dataclass(frozen=True)
class IntegerShape:
    """Rows, activations, bits of a code, group (0: none) and whether groups have minima.

    unit_codes, unit_bytes: codes of one row in a unit, and bytes of a unit, those of two rows.
    """

    rows: int
    k: int
    bits: int
    group: int
    minima: bool
    unit_codes: int
    unit_bytes: int

    @classmethod
    def of(cls, machine: MachineConfig, fields: Mapping[str, int]) -> "IntegerShape":
        """That of a LINEAR or HEAD; fields left out are 0. ValueError where the fields are not legal."""
        rows, k, width, group, minima = (
            fields.get(name, 0) for name in ("rows", "k", "width", "group", "minima")
        )
        bits = 8 if width == Width.INT8 else 4
        unit = machine.unit_codes(bits)
        for name, value in (("rows", rows), ("k", k)):
            if not value:
                raise ValueError(f"{name}: wanted 1 or more, found 0")
        if group % unit:
            raise ValueError(f"group: wanted a multiple of {unit}, found {group}")
        if minima and not group:
            raise ValueError("minima: wanted a group that they belong to, found group 0")
        return cls(rows, k, bits, group, bool(minima), unit, machine.head_lanes)

    @property
    def pairs(self) -> int:
        """Pairs of rows, the last one filled up."""
        return -(-self.rows // 2)

    @property
    def units(self) -> int:
        """Units of a pair, the last one filled up."""
        return -(-self.k // self.unit_codes)

    @property
    def groups(self) -> int:
        """Groups of a pair that have a tail: 0 without group scales."""
        return -(-self.k // self.group) if self.group else 0

    @property
    def group_bytes(self) -> int:
        """Bytes of the codes of a group that is not the last; of all where there are no group scales."""
        return (self.group // self.unit_codes if self.group else self.units) * self.unit_bytes

    @property
    def tail_bytes(self) -> int:
        """Bytes behind the codes of a group: two scales, and two minima."""
        return (8 if self.minima else 4) if self.group else 0

    @property
    def pair_bytes(self) -> int:
        """Bytes of a pair."""
        return self.units * self.unit_bytes + self.groups * self.tail_bytes + _ROW_SCALES

    @property
    def bytes(self) -> int:
        """Bytes of the matrix."""
        return self.pairs * self.pair_bytes

    @property
    def products(self) -> int:
        """Products for one token: of whole pairs and units."""
        return 2 * self.pairs * self.units * self.unit_codes

    def cycles(self, tokens: int) -> int:
        """Cycles for so many tokens: a unit, a tail or the row scales in each; results leave one by one."""
        return self.pairs * max(self.units + self.groups + 1, 2 * tokens)
