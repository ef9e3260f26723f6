"""Logic between registers, component by component, and the clock it suggests: `python -m bench.depth`.

Yosys maps the machine for its family, module by module; the paths run through the whole machine, or with
`--board` through all that is on the board. NOT placed: delays are the rule that `bench.timing` states, not a
timing report.
"""

import argparse
import dataclasses
import sys

from amaranth.hdl import Fragment

from boards.board import BoardError, find_board
from boards.flow.bitstream import TOP
from hw.machine import MACHINES, MachineConfig
from hw.shared import SharedModules
from sim.emit import emit
from trine.output import table, write_json

from .netlists import machine_verilog, synthesise
from .timing import Path, longest_paths

HEAD = ("component", "LUT", "carry", "other", "ns", "MHz", "from", "kind", "to")


def by_component(paths: dict[str, Path], depth: int) -> dict[str, Path]:
    """The longest path that ends in each component, those inside it included, to this depth below the top."""
    out: dict[str, Path] = {}
    for place, path in paths.items():
        name = ".".join(place.split(".")[: depth + 1])
        if name not in out or path.nanoseconds > out[name].nanoseconds:
            out[name] = path
    return out


def _short(place: str) -> str:
    """A component's path without the top's name."""
    for top in ("top.board.", "top.", "overlay."):
        if place.startswith(top):
            return place.removeprefix(top)
    return "" if place in (TOP, "overlay") else place


def row(name: str, path: Path) -> tuple[object, ...]:
    """A line of the table."""
    places = (path.start[0], path.end[0])
    start, end = (_short(place) or "top" for place in places)
    return (
        _short(name) or name, path.luts, path.carries, ", ".join(path.others) or "-",
        f"{path.nanoseconds:.2f}", f"{1000 / path.nanoseconds:.0f}", start, path.start[1],
        f"{end}, {path.end[1]}",
    )  # fmt: skip


def board_verilog(name: str, machine: MachineConfig, clock_mhz: float) -> str:
    """Verilog of a board's whole design as module `TOP`; BoardError where it has no open tools."""
    board = find_board(name)
    if board.design is None or board.machine is None or board.machine.family != machine.family:
        raise BoardError(
            f"--board: wanted a board whose design takes machine {machine.name!r}, found {name}; take ulx3s"
        )
    design, shared = board.design(machine, clock_mhz), SharedModules()
    return emit(Fragment.get(design.top, shared), TOP, design.ports, shared)


def main() -> int:
    """Synthesise, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.depth", description=__doc__)
    parser.add_argument("--machine", choices=MACHINES, help="(default: the board's, kv260 without a board)")
    parser.add_argument("--board", help="all that is on this board, memory controller and link included")
    parser.add_argument("--tile", type=int, help="tokens in a tile (default: the machine's)")
    parser.add_argument("--depth", type=int, default=1, help="levels of components (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument(
        "--routes", type=int, default=0, metavar="N", help="print N longest paths cell by cell"
    )
    parser.add_argument("--json", metavar="FILE", help="all components, as numbers")
    options = parser.parse_args()
    try:
        usual = find_board(options.board).machine if options.board else None
        machine = MACHINES[options.machine] if options.machine else usual or MACHINES["kv260"]
        machine = dataclasses.replace(machine, tile=options.tile or machine.tile)
        if options.board:
            top, text = TOP, board_verilog(options.board, machine, machine.clock_mhz)
        else:
            top, text = "overlay", machine_verilog(machine)
    except ValueError as error:
        parser.error(str(error))
    design = synthesise(text, top, machine.family, options.workers)
    paths, loops = longest_paths(design, machine.family)
    found = by_component(paths, options.depth)
    order = sorted(found, key=lambda name: -found[name].nanoseconds)
    period = 1000 / machine.clock_mhz
    on = f", board {options.board}" if options.board else ""
    name = f"machine {machine.name}, tile {machine.tile}{on}"
    print(f"{name}: longest path that ends in each component, by Yosys, NOT placed")
    print(table([row(name, found[name]) for name in order], HEAD))
    for place in sorted(paths, key=lambda place: -paths[place].nanoseconds)[: options.routes]:
        print(f"into {place}:")
        for at, kind, names in paths[place].route:
            print(f"  {at:6.2f} {kind:12} {names}")
    if loops:
        print(f"{loops} nets on combinational loops were cut")
    late = [name for name in order if found[name].nanoseconds > period]
    print(f"beyond {period:.2f} ns ({machine.clock_mhz:.0f} MHz): {', '.join(map(_short, late)) or 'none'}")
    longest = found[order[0]].nanoseconds
    print(f"the rule supports {1000 / longest:.0f} MHz")
    components = {name: dataclasses.asdict(one) for name, one in sorted(paths.items())}
    write_json(options.json, {"depth": {"machine": machine.name, "components": components}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
