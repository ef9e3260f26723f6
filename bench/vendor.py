"""Boards with vendor tools: what their whole design takes, by Yosys: `python -m bench.vendor`.

The machine is synthesised module by module as by `bench.resources` (cached); the shell with its registers and
address banks beside it. Nothing is placed. What vendors' own IP takes (SmartConnect, HBM, PCIe) is not in it.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from boards.board import Board, boards, find_board
from boards.vendor import vitis, vivado
from boards.vendor.axi_top import OVERLAY, AxiTop
from hw.machine import MACHINES, MachineConfig
from sim.verilate import overlay_verilog
from trine.output import note, table, write_json

from .cells import Resources, by_instance
from .netlists import SCRIPTS
from .resources import HEAD, measure
from .synthesis import yosys
from .verilog_text import modules, stub

__all__ = ["shell_of", "shell_resources"]

VENDORS = ("vivado", "vitis")


def shell_of(board: Board, machine: MachineConfig) -> AxiTop:
    """The top of the board's project."""
    if board.toolchain == "vitis":
        return AxiTop(machine, vitis.NAMES, vitis.BANKS)
    return AxiTop(machine, vivado.NAMES)


def shell_resources(board: Board, machine: MachineConfig, overlay: str) -> Resources:
    """What the shell takes, the machine inside being a black box."""
    top = shell_of(board, machine)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shell.v").write_text(top.verilog() + stub(modules(overlay)[OVERLAY]))
        yosys(
            f"read_verilog {folder}/shell.v\nrename -hide w:*\n"
            f"{SCRIPTS[board.family].format(top=top.names.top)} -flatten\n"
            f"tee -q -o {folder}/stat.json stat -json\n",
            folder,
        )
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    cells.pop(OVERLAY)
    return by_instance({"shell": cells}, {"shell": []}, board.family, "shell")["shell"]


def main() -> int:
    """Synthesise and print; 1 where a design does not fit."""
    parser = argparse.ArgumentParser(prog="python -m bench.vendor", description=__doc__)
    names = [name for name, board in boards().items() if board.toolchain in VENDORS]
    parser.add_argument("--board", choices=names, action="append", help="this one (default: all)")
    parser.add_argument("--machine", choices=MACHINES, help="another machine than the board's")
    parser.add_argument("--json", metavar="FILE", help="the numbers")
    options = parser.parse_args()
    report, fits = {}, True
    for name in options.board or names:
        board = find_board(name)
        machine = MACHINES[options.machine] if options.machine else board.machine
        assert machine is not None
        core = measure(machine, workers=1)["overlay"]
        shell = shell_resources(board, machine, overlay_verilog(machine, note))
        limit = board.capacity.values()
        parts = {"machine": asdict(core), "shell": asdict(shell)}
        whole = {key: parts["machine"][key] + parts["shell"][key] for key in limit}
        over = [key for key, value in whole.items() if value > limit[key]]
        fits &= not over

        def row(title: str, values: dict[str, float]) -> tuple[object, ...]:
            return (title, *(f"{values[key]:,.0f}" for key in limit))  # noqa: B023

        shares = {key: 100 * whole[key] / limit[key] if limit[key] else 0 for key in limit}
        print(f"\n{board.title}, machine {machine.name}, by Yosys, not placed")
        rows = [row("machine", parts["machine"]), row("shell", parts["shell"]), row("whole", whole),
                row(f"device {board.device}", limit), row("per cent", shares)]  # fmt: skip
        print(table(rows, HEAD[: len(limit) + 1]))
        print(f"fits: {'no, more than there is of: ' + ', '.join(over) if over else 'yes'}")
        report[name] = {"machine": machine.name, **parts, "device": limit, "fits": not over}
    if options.json:
        write_json(options.json, report)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
