"""Sites of an ECP5's multipliers and block RAMs, chosen as a whole for a placement's other cells.

nextpnr's placers legalise these blocks one after another, at random places within a radius: on an LFE5U-85F,
whose blocks lie in a few rows, wires are half as long again after it (docs/boards/ulx3s.md). So a design is
placed twice: for where its logic comes to lie, and with its blocks at the sites that make the wires to that
shortest, which is an assignment problem (Jonker and Volgenant, Computing 38, 1987; `scipy`).
"""

import re
from collections import defaultdict
from typing import Any

import numpy as np

__all__ = ["DEVICES", "KINDS", "LEAST", "choose_sites"]

#: A place in the fabric: column and row.
Place = tuple[int, int]

#: Cells that are such blocks.
KINDS = ("MULT18X18D", "DP16KD")
#: Fewer blocks are left to the placer.
LEAST = 16
#: Nets with more ends say nothing about a place.
_MOST_ENDS = 400
_ROUNDS = 2


def _lfe5u_85f() -> dict[str, dict[str, Place]]:
    """Thirteen groups of columns; in each row of blocks four multipliers, or four block RAMs, a group."""
    groups = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    multipliers = {
        f"X{x + n}/Y{y}/MULT18_{n}": (x + n, y) for y in (10, 34, 58) for x in groups for n in (0, 1, 4, 5)
    }
    memories = {
        f"X{x + 2 * n}/Y{y}/EBR{n}": (x + 2 * n, y)
        for y in (22, 46, 70, 82)
        for x in groups
        for n in range(4)
    }
    return dict(zip(KINDS, (multipliers, memories), strict=True))


#: By device: sites (BELs of nextpnr) of each kind of block.
DEVICES = {"LFE5U-85F": _lfe5u_85f}


def _place(cell: dict[str, Any]) -> Place | None:
    found = re.match(r"X(\d+)/Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", ""))
    return (int(found[1]), int(found[2])) if found else None


def _nets(cells: dict[str, Any]) -> list[set[str]]:
    """Cells at the ends of each net that says something about a place."""
    ends: dict[int, set[str]] = defaultdict(set)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            if not pin.startswith("CLK"):
                for bit in bits:
                    if isinstance(bit, int):
                        ends[bit].add(name)
    return [names for names in ends.values() if 1 < len(names) < _MOST_ENDS]


def _span(places: list[Place]) -> tuple[int, int, int, int]:
    columns, rows = [x for x, _ in places], [y for _, y in places]
    return min(columns), max(columns), min(rows), max(rows)


def choose_sites(placed: dict[str, Any], device: str) -> tuple[dict[str, str], int, int]:
    """The site of each multiplier and block RAM of a flat module as nextpnr wrote it after placing.

    What is made least is the sum over nets of half their bounding boxes' circumference, all other cells where
    they are. Blocks of one kind are assigned together, the kinds in turn.

    Returns
    -------
    (sites, before, after) : dict of cell to BEL, and that sum in columns and rows. No sites for a device that
    is not in `DEVICES`, for fewer than `LEAST` blocks, or where nothing is gained. ``placed`` is kept.
    """
    from scipy.optimize import linear_sum_assignment  # of the extra `boards`, like the tools

    cells = placed["cells"]
    kinds = DEVICES[device]() if device in DEVICES else {}
    blocks = {kind: [name for name, cell in cells.items() if cell["type"] == kind] for kind in kinds}
    place = {name: where for name, cell in cells.items() if (where := _place(cell)) is not None}
    nets = [[name for name in names if name in place] for names in _nets(cells)]
    of_block: dict[str, list[list[str]]] = {name: [] for names in blocks.values() for name in names}
    for names in nets:
        for name in names:
            if name in of_block:
                of_block[name].append(names)

    def length() -> int:
        spans = [_span([place[name] for name in names]) for names in nets if names]
        return sum(right - left + bottom - top for left, right, top, bottom in spans)

    before = length() if sum(map(len, blocks.values())) >= LEAST else 0
    chosen: dict[str, str] = {}
    for _ in range(_ROUNDS if before else 0):
        for kind, sites in kinds.items():
            names, bels = blocks[kind], list(sites)
            columns, rows = np.array([sites[bel] for bel in bels]).T
            cost = np.zeros((len(names), len(bels)))
            for at, name in enumerate(names):
                for ends in of_block[name]:
                    others = [place[one] for one in ends if one != name]
                    if others:
                        left, right, top, bottom = _span(others)
                        cost[at] += np.maximum(columns, right) - np.minimum(columns, left)
                        cost[at] += np.maximum(rows, bottom) - np.minimum(rows, top)
            for at, site in zip(*linear_sum_assignment(cost), strict=True):
                chosen[names[at]], place[names[at]] = bels[site], sites[bels[site]]
    after = length() if chosen else before
    return (chosen if after < before else {}), before, after
