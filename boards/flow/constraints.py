"""Pin and clock constraints of a `PinnedDesign`, in each tool's words; pins come from `amaranth-boards`."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from boards.board import BoardError, Pin, PinnedDesign

__all__ = ["constraints", "pins_of", "platform"]


def _lpf(design: PinnedDesign) -> Iterator[str]:
    """Lattice (FPGA-TN-02205 and nextpnr-ecp5's LPF reader)."""
    for port, pin in design.pins.items():
        yield f'LOCATE COMP "{port}" SITE "{pin.name}";'
        if pin.attributes:
            yield f'IOBUF PORT "{port}" {" ".join(f"{name}={value}" for name, value in pin.attributes)};'
    for net, mhz in design.clocks.items():
        kind = "PORT" if net in design.pins else "NET"
        yield f'FREQUENCY {kind} "{net}" {mhz:g} MHZ;'


def _cst(design: PinnedDesign) -> Iterator[str]:
    """Gowin (SUG935); the clock is nextpnr's option ``--freq``."""
    for port, pin in design.pins.items():
        yield f'IO_LOC "{port}" {pin.name};'
        if pin.attributes:
            yield f'IO_PORT "{port}" {" ".join(f"{name}={value}" for name, value in pin.attributes)};'


def constraints(design: PinnedDesign, suffix: str) -> str:
    """The text of the constraint file with that suffix: "lpf" or "cst"."""
    lines = {"lpf": _lpf, "cst": _cst}[suffix](design)
    return "".join(f"{line}\n" for line in lines)


def platform(module: str, name: str) -> Any:
    """A platform of `amaranth_boards`, made; BoardError with the remedy where the package is missing."""
    try:
        return getattr(import_module(f"amaranth_boards.{module}"), name)()
    except ModuleNotFoundError as error:
        raise BoardError(
            f"wanted the package amaranth-boards (pins of the board), found no {error.name}; "
            "install it: python -m pip install 'trine[boards]'"
        ) from error


def pins_of(platform: Any, wanted: dict[str, tuple[str, int, str]]) -> dict[str, Pin]:
    """Pins of ports from a platform of `amaranth-boards`.

    wanted: for each port its resource, that one's number, and its part ("" for a resource without parts). A
    port of several bits gives ``name[0]`` and so on. Raises BoardError for what the platform lacks.
    """
    resources = platform.resources
    found: dict[str, Pin] = {}
    for port, (name, number, part) in wanted.items():
        if (name, number) not in resources:
            raise BoardError(f"wanted resource {name} {number} in amaranth-boards, found none for {platform}")
        resource = resources[name, number]
        parts = {ios.name: ios for ios in resource.ios if hasattr(ios, "ios")}
        if part and part not in parts:
            raise BoardError(f"wanted part {part} of resource {name} {number}, found {', '.join(parts)}")
        node = parts[part] if part else resource
        attributes = tuple(
            (key, str(value)) for key, value in {**resource.attrs, **node.attrs}.items() if value is not None
        )
        names = node.ios[0].names
        for bit, pin in enumerate(names):
            found[port if len(names) == 1 else f"{port}[{bit}]"] = Pin(pin, attributes)
    return found
