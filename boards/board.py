"""What a board is, as data, and which ones there are.

A board is one file of this folder that defines ``BOARD`` (a `Board`) and one page of documentation: `boards`
finds it by that line, so nothing else lists boards. Tools are chosen by `Board.toolchain`: an open one takes
`Board.design` to a bitstream (`boards.flow`); for the others `boards.vendor.PROJECTS[toolchain]`, called with
board, machine and folder, writes a project and returns its files.
"""

import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from hw.machine import MachineConfig

__all__ = ["OPEN_TOOLCHAINS", "TOOLCHAINS", "Board", "BoardError", "Capacity", "Memory", "Pin",
           "PinnedDesign", "boards", "find_board"]  # fmt: skip

#: Toolchains that end in a bitstream with nothing but packages of the Python index.
OPEN_TOOLCHAINS = ("nextpnr-ecp5", "nextpnr-gowin", "nextpnr-nexus", "nextpnr-ice40", "nextpnr-gatemate")
#: All of them; the others get a scripted project. "litex": an open flow around a generated memory core.
TOOLCHAINS = (*OPEN_TOOLCHAINS, "litex", "vivado", "vitis")


class BoardError(ValueError):
    """A board, a design or a tool that is not as it must be; the text says what to do."""


@dataclass(frozen=True)
class Capacity:
    """What a device has, in its family's units: the fields of `bench.cells.Resources`.

    lut: look-up tables (4 inputs; UltraScale+ 6). ff: flip-flops. ram: those of `lut` that can be memory.
    block: block RAMs. ultra: URAM288. dsp: multipliers.
    """

    lut: int
    ff: int
    ram: int
    block: int
    ultra: int = 0
    dsp: int = 0

    def values(self) -> dict[str, int]:
        """By name, in order."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Memory:
    """The memory that holds tape and KV rows.

    kind: "sdr", "ddr3", "ddr4", "hbm2" or "on-chip". size: bytes. peak: bytes a second at `Board.clock_mhz`.
    dram: timing for estimates, as ``trine run --dram`` takes it (NAME=NUMBER,...; times are cycles).
    """

    kind: str
    size: int
    peak: float
    dram: str = ""


@dataclass(frozen=True)
class Pin:
    """Where a bit of a port goes: the package's name of the pin, and attributes as in the constraints."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PinnedDesign:
    """A design for an open flow.

    top: makes its own clock domain `sync`. ports: of the module that is made of it, by name (for
    `sim.emit.emit`). pins: for each port (a bit of a bus as ``name[3]``) its pin. clocks: MHz of each port or
    net that a clock enters by. clock_mhz: what the clock generator makes of the wish. facts: more, by name.
    """

    top: Elaboratable
    ports: dict[str, tuple[Any, Any]]
    pins: dict[str, Pin]
    clocks: dict[str, float]
    clock_mhz: float
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """One board.

    name: as on the command line, and the module's. title: as people call it. family: key of
    `hw.packing.FAMILIES`, or the synthesis family of a board that takes no overlay. device, package, speed:
    as its toolchain wants them. machine: the overlay built by default; None where a small design of ours is.
    clock_mhz: of the overlay. link: how the host speaks to it ("uart", "axi-lite", "pcie"). page: its
    documentation, from the project's folder. programmer: the command that loads a bitstream, ``{}`` its file.
    design: an open toolchain's design from a machine, and a clock in MHz.
    """

    name: str
    title: str
    family: str
    device: str
    package: str
    speed: str
    toolchain: str
    machine: MachineConfig | None
    clock_mhz: float
    memory: Memory
    link: str
    capacity: Capacity
    page: str
    programmer: str = ""
    design: Callable[[MachineConfig | None, float], PinnedDesign] | None = None

    def __post_init__(self) -> None:
        if self.toolchain not in TOOLCHAINS:
            raise BoardError(
                f"board {self.name}: toolchain must be {', '.join(TOOLCHAINS)}; found {self.toolchain!r}"
            )
        if (self.toolchain in OPEN_TOOLCHAINS) != (self.design is not None):
            raise BoardError(f"board {self.name}: an open toolchain, and no other, has a design")


@cache
def boards() -> dict[str, Board]:
    """All boards by name: `BOARD` of each module beside this one that defines it."""
    found = {}
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda one: one.name):
        name = f"{__package__}.{module.name}"
        spec = find_spec(name)
        text = Path(spec.origin).read_text() if spec and spec.origin and not module.ispkg else ""
        if re.search(r"^BOARD\b.*=", text, re.MULTILINE):
            board: Board = import_module(name).BOARD
            found[board.name] = board
    return found


def find_board(name: str) -> Board:
    """The board of that name; BoardError lists those there are."""
    if name not in boards():
        raise BoardError(f"wanted a board, found {name!r}; there are: {', '.join(boards())}")
    return boards()[name]
