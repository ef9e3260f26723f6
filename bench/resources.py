"""What each machine and each of its components takes of an FPGA: `python -m bench.resources`.

Yosys synthesises the whole overlay for the machine's family with its hierarchy kept; nothing is placed, so
the numbers lack what packing adds and what optimisation across components saves. Modules are kept by the hash
of their Verilog, so that a second run is quick.
"""

import argparse
import dataclasses
import sys

from hw.machine import MACHINES, MachineConfig
from trine.output import table, write_json

from .cells import Resources, by_instance
from .netlists import machine_verilog, synthesise

#: What a device has (data sheets: Lattice FPGA-DS-02012, AMD DS987 and DS963).
DEVICES = {
    "ecp5": ("LFE5U-85F", Resources(83_640, 83_640, 83_640 / 2, 208, 0, 156)),
    "xcup": ("XCK26 (KV260)", Resources(117_120, 234_240, 57_600, 144, 64, 1_248)),
}
#: What published accelerators take, as their papers state (whole designs, placed).
PUBLISHED = {
    "xcup": (
        ("TeLLMe v2 on KV260 (its paper)", Resources(98_303, 136_721, 0, 98.5, 60, 610)),
    ),
    "ecp5": (),
}  # fmt: skip
HEAD = ("component", "LUT", "FF", "RAM LUT", "block RAM", "URAM", "DSP", "LUT %")
#: What a machine may take of each resource, so that placing and routing have room.
MARGIN = 0.85
#: Components below the top that are listed one by one, to this depth.
DEPTH = 2


def measure(machine: MachineConfig, workers: int) -> dict[str, Resources]:
    """Resources by component path (`overlay`, `overlay.matmul`, ...), equal ones side by side together."""
    design = synthesise(machine_verilog(machine), "overlay", machine.family, workers)
    return by_instance(design.cells(), design.inside, machine.family, "overlay")


def listing(found: dict[str, Resources], family: str, depth: int) -> list[tuple[object, ...]]:
    """Rows of the table: the whole, then the components of each level, largest first, then the device."""
    device, limit = DEVICES[family]

    def cells(name: str, one: Resources) -> tuple[object, ...]:
        numbers = (f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" for value in one.values())
        return (name, *numbers, f"{100 * one.lut / limit.lut:.1f}")

    def below(path: str, level: int) -> list[tuple[object, ...]]:
        children = [
            name for name in found if name.startswith(f"{path}.") and "." not in name[len(path) + 1 :]
        ]
        out = []
        for name in sorted(children, key=lambda name: -found[name].lut):
            if found[name].values() == Resources().values():
                continue
            out.append(cells(f"{'  ' * level}{name.removeprefix('overlay.')}", found[name]))
            if level < depth:
                out += below(name, level + 1)
        return out

    shares = (
        f"{100 * value / most:.1f}" if most else "-"
        for value, most in zip(found["overlay"].values(), limit.values(), strict=True)
    )
    whole = cells("whole machine", found["overlay"])
    rows = [whole, ("per cent of the device", *shares, whole[-1]), *below("overlay", 1)]
    rows.append(cells(f"device {device}", limit))
    return rows + [cells(name, one) for name, one in PUBLISHED[family]]


def main() -> int:
    """Synthesise and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.resources", description=__doc__)
    parser.add_argument("--machine", choices=MACHINES, action="append", help="this one (default: all)")
    parser.add_argument("--tile", type=int, help="tokens in a tile (default: the machine's)")
    parser.add_argument("--depth", type=int, default=DEPTH, help="levels of components (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="all components, as numbers")
    options = parser.parse_args()
    machines = [MACHINES[name] for name in options.machine or MACHINES]
    try:
        machines = [dataclasses.replace(one, tile=options.tile or one.tile) for one in machines]
    except ValueError as error:
        parser.error(str(error))
    report: dict[str, object] = {}
    for machine in machines:
        found = measure(machine, options.workers)
        device, limit = DEVICES[machine.family]
        print(
            f"\nmachine {machine.name}, tile {machine.tile}, family {machine.family}, device {device}, by "
            "Yosys, not placed"
        )
        print(table(listing(found, machine.family, options.depth), HEAD))
        whole = found["overlay"].values()
        for share in (1.0, MARGIN):
            over = [
                name
                for name, value, most in zip(HEAD[1:], whole, limit.values(), strict=False)
                if value > share * most
            ]
            answer = f"no, more than that of: {', '.join(over)}" if over else "yes"
            print(f"takes at most {100 * share:.0f} % of {device}: {answer}")
        report[machine.name] = {
            "tile": machine.tile,
            "family": machine.family,
            "device": device,
            "components": {name: dataclasses.asdict(one) for name, one in sorted(found.items())},
        }
    write_json(options.json, {"resources": report})
    return 0


if __name__ == "__main__":
    sys.exit(main())
