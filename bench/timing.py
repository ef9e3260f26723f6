"""Longest paths from register to register in a netlist of UltraScale+ or ECP5 cells, across its modules.

Nothing is placed, so delays are a rule, not a sign-off. On UltraScale+ a level is a LUT with the wire behind
it, 0.40 ns: the cell is 0.05 to 0.15 ns of it at speed grade -2, the rest routing, for which no data sheet
has a figure. On ECP5 the cells are those of nextpnr's database at speed grade 6 and a wire is 1.2 ns, about
what `docs/boards/ulx3s.md` has seen of placed ones. The other figures are estimates in the same spirit. All
of them are in `DELAYS` and `DELAYS_ECP5`.
"""

import re
from dataclasses import dataclass
from typing import Any

from .netlists import Design

__all__ = ["DELAYS", "DELAYS_ECP5", "Path", "longest_paths"]

#: Nanoseconds: from the clock to what leaves a cell with its wire, and through a cell with its wire.
DELAYS = {
    "register": 0.40, "block RAM": 1.30, "URAM": 1.60, "DSP, P register": 0.60, "DSP, M register": 1.30,
    "DSP, A/B registers": 2.30, "shift register": 0.90, "port": 0.40,
    "LUT": 0.40, "LUT RAM": 0.55, "DSP": 2.50, "into carry": 0.20, "along carry": 0.03, "MUXF": 0.12,
    "setup": 0.05,
}  # fmt: skip
DELAYS_ECP5 = {
    "register": 1.70, "block RAM": 6.80, "port": 1.70, "LUT": 1.45, "LUT RAM": 1.45, "DSP": 5.10,
    "into carry": 1.65, "along carry": 0.07, "sum": 0.45, "MUXF": 0.20, "MUXF select": 1.40, "setup": 0.10,
}  # fmt: skip
_SEQUENTIAL = re.compile(r"FD[RSCP]E|RAMB|URAM|SRL|TRELLIS_FF|DP16KD|PDPW16KD")
_CLOCKS = {"C", "CLK", "CLKARDCLK", "CLKBWRCLK", "WCLK", "CLKA", "CLKB", "WCK", "LSR"}

Net = int


@dataclass(frozen=True)
class Path:
    """A longest path: where it begins and ends, what is on it, and its length by the rule.

    nanoseconds: from the clock edge to the next one, setup included. start, end: component and kind.
    """

    nanoseconds: float
    luts: int
    carries: int
    others: tuple[str, ...]
    start: tuple[str, str]
    end: tuple[str, str]
    #: Every place passed: nanoseconds from the clock edge, kind of cell, ports of modules that the net is on.
    route: tuple[tuple[float, str, str], ...] = ()


class _Graph:
    """The netlist without its hierarchy: what drives each net, and which nets end in a register."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.count = 0
        #: Combinational: groups (kind, nets that it depends on).
        self.logic: dict[Net, list[tuple[str, list[Net]]]] = {}
        #: Begins at a clock edge: kind, component.
        self.starts: dict[Net, tuple[str, str]] = {}
        self.ends: list[tuple[Net, str, str]] = []
        #: Ports that a net is on, for reading a path.
        self.names: dict[Net, list[str]] = {}
        top = design.netlists[design.top]
        bound: dict[int, Net] = {}
        for port in top["ports"].values():
            for bit in port["bits"]:
                if isinstance(bit, int):
                    net = bound.setdefault(bit, self._new())
                    if port["direction"] == "input":
                        self.starts[net] = ("port", design.top)
                    else:
                        self.ends.append((net, "port", design.top))
        self._add(design.top, design.top, bound)

    def _new(self) -> Net:
        self.count += 1
        return self.count

    def _add(self, module: str, path: str, bound: dict[int, Net]) -> None:
        netlists = self.design.netlists
        for name, cell in netlists[module]["cells"].items():
            pins: dict[str, list[Net | None]] = {}
            for pin, bits in cell["connections"].items():
                pins[pin] = [
                    (bound[bit] if bit in bound else bound.setdefault(bit, self._new()))
                    if isinstance(bit, int)
                    else None
                    for bit in bits
                ]
            if cell["type"] in netlists:
                inner: dict[int, Net] = {}
                for port, found in netlists[cell["type"]]["ports"].items():
                    for bit, net in zip(found["bits"], pins.get(port, ()), strict=False):
                        if isinstance(bit, int) and net is not None:
                            if bit in inner and found["direction"] == "output":
                                # One net on two ports: the second one follows the first.
                                self.logic[net] = [("wire", [inner[bit]])]
                            else:
                                inner[bit] = net
                                self.names.setdefault(net, []).append(f"{path}.{name}:{port}")
                self._add(cell["type"], f"{path}.{name}", inner)
            else:
                self._cell(cell, pins, path)

    def _cell(self, cell: dict[str, Any], pins: dict[str, list[Net | None]], path: str) -> None:
        kind = cell["type"]
        outputs = {pin for pin, way in cell["port_directions"].items() if way == "output"}
        inputs = [n for p, nets in pins.items() if p not in outputs and p not in _CLOCKS for n in nets if n]
        out = [net for pin in outputs for net in pins.get(pin, ()) if net]
        if kind in ("CARRY4", "CARRY8"):
            self._carry(pins, int(kind[-1]))
        elif kind == "CCU2C":
            self._two_sums(pins)
        elif kind in ("PFUMX", "L6MUX21"):
            select = [net for pin in ("C0", "SD") for net in pins.get(pin, ()) if net]
            for net in out:
                self.logic[net] = [
                    ("MUXF", [i for i in inputs if i not in select]), ("MUXF select", select),
                ]  # fmt: skip
        elif kind == "TRELLIS_DPR16X4":
            address = [net for net in pins.get("RAD", ()) if net]
            for net in out:
                self.logic[net] = [("LUT RAM", address)]
            self.ends += [(net, "LUT RAM", path) for net in inputs if net not in address]
        elif kind == "MULT18X18D" or kind == "ALU54B":
            for net in out:
                self.logic[net] = [("DSP", inputs)]
        elif kind == "LUT6_2":
            self._two_outputs(cell["parameters"]["INIT"], pins)
        elif _SEQUENTIAL.match(kind):
            block = kind.startswith("RAMB") or "16KD" in kind
            starts = "URAM" if kind.startswith("URAM") else "block RAM" if block else None
            starts = starts or ("shift register" if kind.startswith("SRL") else "register")
            self.starts |= dict.fromkeys(out, (starts, path))
            self.ends += [(net, starts, path) for net in inputs]
        elif kind.startswith("DSP48"):
            self._dsp(cell["parameters"], inputs, out, path)
        elif re.match(r"RAM\d", kind):
            for pin in outputs:
                # DOB follows from ADDRB, SPO from A, DPO from DPRA.
                own = rf"ADDR{pin[2]}$" if pin.startswith("DO") else r"DPRA\d?$" if pin == "DPO" else r"A\d?$"
                address = [n for p, nets in pins.items() if re.match(own, p) for n in nets if n]
                self.logic |= {net: [("LUT RAM", address)] for net in pins.get(pin, ()) if net}
            self.ends += [(net, "LUT RAM", path) for net in inputs]
        else:
            through = "LUT" if kind.startswith("LUT") else "MUXF" if kind.startswith("MUXF") else "wire"
            for net in out:
                self.logic[net] = [(through, inputs)]

    def _two_outputs(self, table: str, pins: dict[str, list[Net | None]]) -> None:
        """LUT6_2: O5 is the lower half of the table; of the inputs those count on which an output depends."""
        bits = int(table, 2)
        for output, width in (("O5", 32), ("O6", 64)):
            after: list[Net] = []
            for i in range(width.bit_length() - 1):
                differs = any(bits >> at & 1 != bits >> (at ^ 1 << i) & 1 for at in range(width))
                after += [net for net in pins.get(f"I{i}", ()) if net and differs]
            for net in pins.get(output, ()):
                if net:
                    self.logic[net] = [("LUT", after)]

    def _carry(self, pins: dict[str, list[Net | None]], places: int) -> None:
        """A carry chain's block: place i depends on the places up to it."""
        into: list[Net] = []
        chain = [net for pin in ("CI", "CYINIT") for net in pins.get(pin, ()) if net]
        for i in range(places):
            select = [net for net in pins["S"][i : i + 1] if net]
            along = [("along carry", list(chain)), ("into carry", into + select)]
            if (net := pins["O"][i] if "O" in pins and i < len(pins["O"]) else None) is not None:
                self.logic[net] = along
            into = into + select + [net for net in pins.get("DI", [])[i : i + 1] if net]
            if (net := pins["CO"][i] if "CO" in pins and i < len(pins["CO"]) else None) is not None:
                self.logic[net] = [("along carry", list(chain)), ("into carry", list(into))]

    def _two_sums(self, pins: dict[str, list[Net | None]]) -> None:
        """CCU2C: two bits of a carry chain."""
        low, high = ([net for p in "ABCD" for net in pins.get(f"{p}{i}", ()) if net] for i in (0, 1))
        chain = [net for net in pins.get("CIN", ()) if net]
        for pin, into in (("COUT", low + high), ("S0", low), ("S1", low + high)):
            for net in pins.get(pin, ()):
                if net:
                    along = "along carry" if pin == "COUT" else "sum"
                    self.logic[net] = [(along, chain), ("into carry", into)]

    def _dsp(self, parameters: dict[str, Any], inputs: list[Net], out: list[Net], path: str) -> None:
        def has(name: str) -> bool:
            value = parameters.get(name, 0)
            return bool(int(value, 2) if isinstance(value, str) else value)

        registers = [name for name in ("PREG", "MREG", "AREG") if has(name)]
        if not registers:
            for net in out:
                self.logic[net] = [("DSP", inputs)]
            return
        kind = {"PREG": "DSP, P register", "MREG": "DSP, M register", "AREG": "DSP, A/B registers"}
        self.starts |= dict.fromkeys(out, (kind[registers[0]], path))
        first = registers[-1]
        end = {"AREG": "DSP, A/B registers", "MREG": "DSP to M", "PREG": "DSP to P"}[first]
        self.ends += [(net, end, path) for net in inputs]


#: What the way from the pins of a DSP block to its first register adds.
_INSIDE = {"DSP to M": 1.30, "DSP to P": 1.90}


def longest_paths(design: Design, family: str = "xcup") -> tuple[dict[str, Path], int]:
    """The longest path that ends in each component, by its path; and how many nets lie on loops."""
    graph = _Graph(design)
    delays = DELAYS_ECP5 if family == "ecp5" else DELAYS
    arrival: dict[Net, float] = {net: delays[kind] for net, (kind, _) in graph.starts.items()}
    before: dict[Net, tuple[Net, str]] = {}
    loops = 0
    open_nets: set[Net] = set()
    for root, _, _ in graph.ends:
        stack = [root]
        while stack:
            net = stack[-1]
            if net in arrival:
                stack.pop()
                continue
            groups = graph.logic.get(net, [])
            if net not in open_nets:
                open_nets.add(net)
                stack += [n for _, nets in groups for n in nets if n not in arrival and n not in open_nets]
                continue
            best, source = 0.0, None
            for kind, nets in groups:
                for n in nets:
                    if n not in arrival:
                        loops += 1
                        continue
                    found = arrival[n] + delays.get(kind, 0.0)
                    if found > best:
                        best, source = found, (n, kind)
            arrival[net] = best
            if source:
                before[net] = source
            stack.pop()
    worst: dict[str, tuple[float, Net, str]] = {}
    for net, kind, path in graph.ends:
        total = arrival[net] + delays["setup"] + _INSIDE.get(kind, 0.0)
        if total > worst.get(path, (0.0, 0, ""))[0]:
            worst[path] = (total, net, kind)
    return {path: _trace(graph, arrival, before, path, *found) for path, found in worst.items()}, loops


def _trace(
    graph: _Graph, arrival: dict[Net, float], before: dict[Net, tuple[Net, str]], path: str, total: float,
    net: Net, end: str,
) -> Path:  # fmt: skip
    kinds, route = [], []
    while net in before:
        at = net
        net, kind = before[at]
        kinds.append(kind)
        route.append((round(arrival[at], 2), kind, " ".join(graph.names.get(at, ()))))
    route.append((round(arrival[net], 2), "start", " ".join(graph.names.get(net, ()))))
    start = graph.starts.get(net, ("constant", ""))
    others = sorted({kind for kind in kinds if kind in ("LUT RAM", "DSP", "MUXF")})
    return Path(
        nanoseconds=total,
        luts=kinds.count("LUT"),
        carries=kinds.count("into carry") + kinds.count("along carry"),
        others=tuple(f"{kinds.count(kind)} {kind}" for kind in others),
        start=(start[1], start[0]),
        end=(path, end),
        route=tuple(reversed(route)),
    )
