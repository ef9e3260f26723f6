"""What the cells of an FPGA family take, summed over a hierarchy of modules."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from hw.shared import PREFIX


@dataclass(frozen=True)
class Resources:
    """What a design takes, in the units of its family's data sheet.

    lut: ecp5 LUT4 (carry chains take 2, 16 x 4 distributed RAM 4 of them, with 2 more for its write side in
        placement, not counted); xcup LUT6, those used as RAM or shift registers included.
    ff: flip-flops. ram: LUTs of `lut` that are distributed RAM or shift registers.
    block: block RAMs (ecp5 EBR of 18 Kb; xcup RAMB36, a RAMB18 counts half). ultra: URAM288. dsp: multipliers
        (ecp5 MULT18X18D, xcup DSP48E2).
    """

    lut: float = 0
    ff: float = 0
    ram: float = 0
    block: float = 0
    ultra: float = 0
    dsp: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        """The numbers in order."""
        return (self.lut, self.ff, self.ram, self.block, self.ultra, self.dsp)


#: What a cell takes: names begin so; the longest match counts.
CELLS: dict[str, dict[str, Resources]] = {
    "ecp5": {
        "LUT4": Resources(lut=1),
        "CCU2C": Resources(lut=2),
        "TRELLIS_DPR16X4": Resources(lut=4, ram=4),
        "TRELLIS_FF": Resources(ff=1),
        "DP16KD": Resources(block=1),
        "PDPW16KD": Resources(block=1),
        "MULT18X18D": Resources(dsp=1),
    },
    "xcup": {
        **{f"LUT{n}": Resources(lut=1) for n in range(1, 7)},
        "FD": Resources(ff=1),
        "SRL16E": Resources(lut=1, ram=1),
        "SRLC32E": Resources(lut=1, ram=1),
        "RAM32X1": Resources(lut=1, ram=1),
        "RAM32X1D": Resources(lut=2, ram=2),
        "RAM64X1D": Resources(lut=2, ram=2),
        "RAM64X1S": Resources(lut=1, ram=1),
        "RAM128X1D": Resources(lut=4, ram=4),
        "RAM128X1S": Resources(lut=2, ram=2),
        "RAM256X1S": Resources(lut=4, ram=4),
        "RAM256X1D": Resources(lut=8, ram=8),
        "RAM512X1S": Resources(lut=8, ram=8),
        "RAM32M16": Resources(lut=8, ram=8),
        "RAM32M": Resources(lut=4, ram=4),
        "RAM64M8": Resources(lut=8, ram=8),
        "RAM64M": Resources(lut=4, ram=4),
        "RAMB18": Resources(block=0.5),
        "RAMB36": Resources(block=1),
        "URAM288": Resources(ultra=1),
        "DSP48E2": Resources(dsp=1),
    },
}
#: Cells that take nothing of the above: carry chains beside their LUTs, multiplexers, inverters, buffers.
FREE = {"ecp5": ("PFUMX", "L6MUX21", "$scopeinfo"), "xcup": ("CARRY", "MUXF", "INV", "$scopeinfo", "BUF")}


def resources(cells: dict[str, int], family: str) -> Resources:
    """What primitive cells take. Raises ValueError for a cell that no table knows."""
    known, total = CELLS[family], Resources()
    for cell, count in cells.items():
        match = max((name for name in known if cell.startswith(name)), key=len, default=None)
        if match is None:
            if not cell.startswith(FREE[family]):
                raise ValueError(f"resources: wanted a cell of {family}, found {cell!r}; add it to CELLS")
            continue
        total += Resources(*(count * value for value in known[match].values()))
    return total


def by_instance(
    modules: dict[str, dict[str, int]], inside: dict[str, list[tuple[str, str]]], family: str, top: str
) -> dict[str, Resources]:
    """Resources of each instance with all inside it, by its path, which begins with ``top``.

    Instances of one module side by side are one entry, as ``overlay.vector.4 x VectorLane``; where modules of
    one class differ there, ``4 x VectorLane, lane_0`` with the first instance of each. modules: primitive
    cells of each module; inside: (instance, module) in each.
    """

    @cache
    def below(name: str) -> dict[str, Resources]:
        total, found = resources(modules[name], family), {}
        copies = Counter(module for _, module in inside[name])
        first = {module: instance for instance, module in reversed(inside[name])}
        labels = {
            module: first[module] if count == 1 else f"{count} x {_class(module)}"
            for module, count in copies.items()
        }
        taken = Counter(labels.values())
        for module, count in copies.items():
            parts = {
                path: Resources(*(count * value for value in one.values()))
                for path, one in below(module).items()
            }
            label = labels[module] if taken[labels[module]] == 1 else f"{labels[module]}, {first[module]}"
            total += parts[""]
            found |= {f".{label}{path}": one for path, one in parts.items()}
        return {"": total, **found}

    return {top + path: one for path, one in below(top).items()}


def _class(module: str) -> str:
    """The class of a shared module, its name without prefix and hash; of another one its place."""
    return re.sub("_[0-9a-f]{8}$", "", module.removeprefix(PREFIX)).rpartition(".")[2]
