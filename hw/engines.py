"""The cheapest ternary engine of each FPGA family, as measured by `python -m bench.engines`."""

from dataclasses import dataclass

from .trits import WALK

__all__ = ["CHEAPEST", "TernaryForm", "table_form"]


@dataclass(frozen=True)
class TernaryForm:
    """A form of the engine, and what it costs.

    Members
    -------
    table_form: as in `MachineConfig`.
    variant: its name in ``python -m bench.engines --only VARIANT``, which measured the figures.
    lut_per_mac: look-up tables per ternary MAC a cycle: tables, adders, the addition to the partial sum.
    blocks_per_mac: 18 Kbit block RAMs, with tokens side by side.
    """

    table_form: str
    variant: str
    lut_per_mac: float
    blocks_per_mac: float


#: By family; "byte-3" has three tokens side by side in the 36 bits of a block RAM's word.
CHEAPEST = {
    "ecp5": TernaryForm("byte", "byte-3", 2.64, 1 / 15),
    "xcup": TernaryForm("byte", "byte-3", 1.44, 1 / 15),
}
#: Where tables must be built fast, in distributed memory: `hw.split_tables`.
SPLIT = {
    "ecp5": TernaryForm("split", "split", 36.58, 0.0),
    "xcup": TernaryForm("split", "split", 14.38, 0.0),
}


def table_form(family: str, rows: int) -> str:
    """The form for matrices of ``rows`` rows: the cheapest, unless building its tables takes longer than the
    rows that stream past them.

    Raises
    ------
    KeyError
        If there is no such family.
    """
    return CHEAPEST[family].table_form if rows >= WALK else SPLIT[family].table_form
