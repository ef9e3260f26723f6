"""Projects for tools of FPGA vendors and generators of others: scripts, constraints, tops.

`PROJECTS[toolchain](board, machine, folder)` writes a project and returns its files; it raises
`boards.board.BoardError` for a machine that the board can't take.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hw.machine import MachineConfig

    from ..board import Board

__all__ = ["PROJECTS"]


def _vivado(board: "Board", machine: "MachineConfig", folder: Path) -> list[Path]:
    from .vivado import project

    return project(board, machine, folder)


def _vitis(board: "Board", machine: "MachineConfig", folder: Path) -> list[Path]:
    from .vitis import project

    return project(board, machine, folder)


def _litex(board: "Board", machine: "MachineConfig", folder: Path) -> list[Path]:
    # Its pins and its memory are in the board's own file.
    return import_module(f"boards.{board.name}").project(board, machine, folder)


#: By toolchain; what a project needs is imported when it is written.
PROJECTS: dict[str, Callable[["Board", "MachineConfig", Path], list[Path]]] = {
    "vivado": _vivado,
    "vitis": _vitis,
    "litex": _litex,
}
