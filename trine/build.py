"""Make a board's bitstream from the machine, or its project where the board needs a vendor's tools.

Open boards: Yosys and nextpnr, several seeds, the first that meets the clock (or the best); kept by the hash
of design, constraints and tool versions. An unmet clock is an error that names the slowest paths.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from amaranth.hdl import Fragment

from boards.board import OPEN_TOOLCHAINS, Board, BoardError, find_board
from boards.fit import check_fit, warning
from boards.flow.bitstream import TOP, Build, ClockError, Options, build_bitstream, report_of
from boards.flow.tools import flow_of
from hw.machine import MACHINES, MachineConfig
from hw.shared import SharedModules
from sim.emit import emit
from sim.verilate import cache_directory

from .errors import EXIT_DIFFERENT, EXIT_OK, UsageError
from .output import note, table, write_file, write_json

#: Seeds tried where the command line says nothing.
SEEDS = 4
_UNITS = {"lut": "LUT", "ff": "FF", "ram": "RAM LUT", "block": "block RAM", "ultra": "URAM", "dsp": "DSP"}
#: Levels of components in the printed table; --json has all.
_DEPTH = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--board, --machine, --clock, --seeds, --jobs, --all-seeds, -o."""
    parser.add_argument(
        "--board", required=True, metavar="NAME", help="the board (docs/boards.md lists them)"
    )
    parser.add_argument("--machine", choices=sorted(MACHINES), help="machine (default: the board's)")
    parser.add_argument("--clock", type=float, metavar="MHZ", help="clock wanted (default: the board's)")
    parser.add_argument(
        "--seeds", type=int, metavar="N", default=SEEDS, help="placements tried at most (default %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=2, help="placements at a time (default %(default)s)"
    )
    parser.add_argument(
        "--all-seeds",
        action="store_true",
        help="try all of them, not only up to the first that is fast enough",
    )
    parser.add_argument(
        "-o", dest="folder", type=Path, metavar="DIR", help="folder of the result (default: build/BOARD)"
    )


def main(args: argparse.Namespace) -> int:
    """Build, print, write."""
    begin = time.perf_counter()
    machine = None
    try:
        board = find_board(args.board)
        machine = _machine(board, args.machine)
        _check_options(board, args)
        _make_folder(_folder(args))
        if board.toolchain not in OPEN_TOOLCHAINS:
            assert machine is not None, f"{board.name}: a vendor's board has a machine"
            return _project(board, machine, args)
        try:
            result = _bitstream(board, machine, args, begin)
        except Exception:
            _discard(_folder(args), board)
            raise
    except ClockError as error:
        note(f"trine build: clock not met: {error}")
        write_json(args.json, _result(find_board(args.board), machine, error.build, None, begin))
        return EXIT_DIFFERENT
    except (BoardError, ValueError) as error:
        raise UsageError(str(error)) from error
    write_json(args.json, result)
    return EXIT_OK


def _check_options(board: Board, args: argparse.Namespace) -> None:
    """UsageError for numbers that make no sense, and for options that a vendor's project would not obey."""
    if args.seeds < 1 or args.jobs < 1:
        raise UsageError(f"--seeds, --jobs: wanted 1 or more, found {args.seeds}, {args.jobs}")
    if args.clock is not None and args.clock <= 0:
        raise UsageError(f"--clock: wanted more than 0 MHz, found {args.clock:g}")
    if args.clock is not None and board.toolchain not in OPEN_TOOLCHAINS:
        raise UsageError(
            f"--clock: wanted none for board {board.name}, whose project has {board.clock_mhz:g} MHz; change "
            "it in the project, or leave it out"
        )


def _make_folder(folder: Path) -> None:
    """Before the long work: UsageError where the result could not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o: wanted a folder, found {folder}: {error.strerror}") from error


def _machine(board: Board, name: str | None) -> MachineConfig | None:
    """The machine to build; BoardError where it does not fit, or where the board takes none."""
    if board.machine is None:
        if name is not None:
            raise UsageError(
                f"--machine: board {board.name} is too small for an overlay; it takes a design of its own "
                f"({board.page}); leave --machine out"
            )
        return None
    machine = MACHINES[name] if name else board.machine
    check_fit(board, machine)
    return machine


def _folder(args: argparse.Namespace) -> Path:
    return args.folder or Path("build") / args.board


#: Beside the bitstream.
_BESIDE = ("nextpnr.log", "report.json")


def _discard(folder: Path, board: Board) -> None:
    """No result of an earlier build is left where this one failed."""
    for name in (f"{board.name}.{flow_of(board).bitstream}", *_BESIDE):
        (folder / name).unlink(missing_ok=True)


def _bitstream(
    board: Board, machine: MachineConfig | None, args: argparse.Namespace, begin: float
) -> dict[str, Any]:
    """By open tools."""
    assert board.design is not None
    design = board.design(machine, board.clock_mhz if args.clock is None else args.clock)
    note(
        f"{board.title} ({board.device}), {machine.name if machine else 'own design'}, "
        f"{design.clock_mhz:g} MHz"
    )
    modules = SharedModules()
    verilog = emit(Fragment.get(design.top, modules), TOP, design.ports, modules)
    options = Options(
        clock_mhz=design.clock_mhz, seeds=tuple(range(1, args.seeds + 1)), all_seeds=args.all_seeds,
        jobs=args.jobs,
    )  # fmt: skip
    build = build_bitstream(
        board,
        design,
        verilog,
        machine.name if machine else board.name,
        options,
        cache_directory() / "boards",
        note,
    )
    folder = _folder(args)
    target = folder / f"{board.name}{build.bitstream.suffix}"
    write_file(target, build.bitstream.read_bytes())
    for name in _BESIDE:
        shutil.copyfile(build.bitstream.with_name(name), folder / name)
    result = _result(board, machine, build, target, begin)
    _print(board, build, target)
    return result


def _result(
    board: Board, machine: MachineConfig | None, build: Build, target: Path | None, begin: float
) -> dict[str, Any]:
    """The object that --json writes."""
    found = report_of(build)
    del found["components"]
    return found | {
        "board": board.name,
        "machine": machine.name if machine else None,
        "machine_digest": machine.digest() if machine else None,
        "bitstream": str(target) if target else None,
        "resources": {
            "device": board.capacity.values(),
            "whole": build.components[""],
            "components": {name: used for name, used in build.components.items() if name},
        },
        "wall_seconds": time.perf_counter() - begin,
    }


def _print(board: Board, build: Build, target: Path) -> None:
    """Tables of resources and of the slowest paths."""
    there = board.capacity.values()
    kinds = [kind for kind, count in there.items() if count]

    def row(name: str, used: dict[str, int]) -> tuple[str, ...]:
        return (name, *(f"{used.get(kind, 0):,}" for kind in kinds))

    whole = build.components[""]
    rows = [row("whole design", whole)]
    rows.append(("of the device, %", *(f"{100 * whole.get(k, 0) / there[k]:.1f}" for k in kinds)))
    for name, used in _ordered(build.components):
        rows.append(row(f"{'  ' * (name.count('.') + 1)}{name.rpartition('.')[2]}", used))
    rows.append(row(board.device, there))
    print(table(rows, ("component", *(_UNITS[kind] for kind in kinds))), end="\n\n")
    print(table(
        [(f"{path['nanoseconds']:.2f}", f"{path['routing']:.2f}", path["levels"],
          f"{path['start']} -> {path['end']}") for path in build.paths[:3]],
        ("slowest paths, ns", "routing", "levels", "from -> to"),
    ), end="\n\n")  # fmt: skip
    seeds = ", ".join(f"{seed} ({mhz:.1f})" for seed, mhz in build.seeds.items())
    print(
        f"clock: {build.fmax_mhz:.1f} MHz reached, {build.clock_mhz:g} MHz wanted, "
        f"margin {build.margin:.1%}; seed {build.seed} of {seeds}"
    )
    print(f"bitstream: {target} ({target.stat().st_size} bytes), build {build.identity}")
    if board.programmer:
        print(f"load it: {board.programmer.format(target)}")


def _ordered(components: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """Components to the depth printed, each before what is inside it, the largest first."""
    out: list[tuple[str, dict[str, int]]] = []

    def below(parent: str, level: int) -> None:
        children = [one for one in components if one and one.rpartition(".")[0] == parent]
        for name in sorted(children, key=lambda name: -components[name].get("lut", 0)):
            out.append((name, components[name]))
            if level < _DEPTH:
                below(name, level + 1)

    below("", 1)
    return out


def _project(board: Board, machine: MachineConfig, args: argparse.Namespace) -> int:
    """The project of a board whose tools are a vendor's."""
    from boards.vendor import PROJECTS

    folder = _folder(args)
    if complaint := warning(board, machine):
        note(f"warning: {complaint}; the project is written all the same")
    files = PROJECTS[board.toolchain](board, machine, folder)
    for path in files:
        print(path)
    note(
        f"{board.title}: {len(files)} files of a {board.toolchain} project; {board.page} says how to build it"
    )
    write_json(args.json, {
        "board": board.name, "machine": machine.name if machine else None, "project": str(folder),
        "files": [str(path) for path in files], "clock_mhz": board.clock_mhz, "toolchain": board.toolchain,
    })  # fmt: skip
    return EXIT_OK
