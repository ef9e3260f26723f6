"""What a placed design takes and where its slow paths lie, by component.

Names are hierarchical: ``overlay.vector.lane_0``. Synthesis is flat; Yosys names a cell without a name of its
own after a neighbour, so one between two components may be counted with either.
"""

import re
from collections import defaultdict
from typing import Any

__all__ = ["Scopes", "by_component", "worst_paths"]

#: What a cell takes, by its type's beginning (the longest counts): the fields of `boards.board.Capacity`.
CELLS: dict[str, dict[str, dict[str, int]]] = {
    "nextpnr-ecp5": {
        "LUT4": {"lut": 1},
        "CCU2C": {"lut": 2},
        # 16 x 4 bits: 4 LUTs, and 2 more that a slice in memory mode takes for writing.
        "TRELLIS_DPR16X4": {"lut": 4, "ram": 4},
        "TRELLIS_FF": {"ff": 1},
        "DP16KD": {"block": 1},
        "PDPW16KD": {"block": 1},
        "MULT18X18D": {"dsp": 1},
    },
    "nextpnr-gowin": {
        **{f"LUT{n}": {"lut": 1} for n in range(1, 5)},
        "ALU": {"lut": 1},
        "RAM16SDP4": {"lut": 4, "ram": 4},
        "DFF": {"ff": 1},
        "SDPB": {"block": 1},
        "SDPX9B": {"block": 1},
        "DPB": {"block": 1},
        "DPX9B": {"block": 1},
        "SP": {"block": 1},
        "SPX9": {"block": 1},
        "pROM": {"block": 1},
        "MULT": {"dsp": 1},
    },
}  # fmt: skip

#: Yosys writes the kind of a scope as text, or as that text's bits.
_MODULE = "".join(f"{byte:08b}" for byte in b"module")


class Scopes:
    """The components of a flat netlist, as Yosys' ``$scopeinfo`` cells have them."""

    def __init__(self, cells: dict[str, Any], top: str = "top") -> None:
        self.names = {
            name
            for name, cell in cells.items()
            if cell["type"] == "$scopeinfo" and cell["parameters"].get("TYPE") in ("module", _MODULE)
        }
        self.top = top

    def of(self, name: str, depth: int | None = None) -> str:
        """The component that a cell's or net's name lies in, cut to so many levels; "" is the top."""
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            found = ".".join(parts[:count])
            if found in self.names:
                return found if depth is None else ".".join(parts[: min(count, depth)])
        return ""


def by_component(cells: dict[str, Any], toolchain: str, scopes: Scopes) -> dict[str, dict[str, int]]:
    """What each component takes with all inside it; "" is the whole design."""
    known = CELLS[toolchain]
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, cell in cells.items():
        match = max((one for one in known if cell["type"].startswith(one)), key=len, default=None)
        if match is None:
            continue
        path = scopes.of(name)
        while True:
            for kind, count in known[match].items():
                found[path][kind] += count
            if not path:
                break
            path = path.rpartition(".")[0]
            while path and path not in scopes.names:
                path = path.rpartition(".")[0]
    return {name: dict(found[name]) for name in sorted(found)}


def worst_paths(report: dict[str, Any], scopes: Scopes) -> list[dict[str, Any]]:
    """Critical paths of nextpnr's report from clock edge to clock edge, the slowest first (one a clock).

    Each: nanoseconds, of them routing, levels of logic, start and end (cells), and nanoseconds by component.
    """
    found = []
    for path in report["critical_paths"]:
        if "<async>" in (path["from"], path["to"]) or not path["path"]:
            continue
        steps, spent = path["path"], defaultdict(float)
        for step in steps:
            spent[scopes.of(step["to"].get("cell", "")) or scopes.top] += step["delay"]
        found.append(
            {
                "nanoseconds": round(sum(step["delay"] for step in steps), 3),
                "routing": round(sum(step["delay"] for step in steps if step["type"] == "routing"), 3),
                "levels": sum(step["type"] == "logic" for step in steps),
                "start": _plain(steps[0]["from"]["cell"]),
                "end": _plain(steps[-1]["to"]["cell"]),
                "components": {name: round(ns, 3) for name, ns in sorted(spent.items(), key=lambda x: -x[1])},
            }
        )
    return sorted(found, key=lambda path: -path["nanoseconds"])


def _plain(name: str) -> str:
    """A cell's name without what the tools put behind it."""
    return re.split(r"_(?:TRELLIS|LUT\d|CCU2C|MULT18|DP16|PFUMX|L6MUX|DFF|ALU|RAM16)", name)[0].split("$")[0]
