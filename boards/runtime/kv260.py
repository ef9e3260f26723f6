"""KV260: registers through PYNQ's MMIO, memory in a contiguous buffer that Linux keeps for the machine."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hw.machine import MachineConfig

from ..vendor.address_map import AddressMap
from .session import DeviceError, MappedSession, driver, require_idle

__all__ = ["PynqMemory", "open_kv260"]

#: The machine's words are read by ports of 16 bytes and begin on a line of 64.
ALIGNMENT = 64

_AS_ROOT = "run this on the KV260, as root"
_REMEDY = "load the bitstream (trine_kv260.bit) again"


class PynqMemory:
    """A buffer of `pynq.allocate` as the machine's memory; `buffer` is uint8 [n] with PYNQ's own methods."""

    def __init__(self, buffer: Any):
        self.buffer = buffer

    def __len__(self) -> int:
        return len(self.buffer)

    def __getitem__(self, span: slice) -> np.ndarray:
        return np.array(self.buffer[span])

    def __setitem__(self, span: slice, values: np.ndarray) -> None:
        self.buffer[span] = values

    def to_device(self) -> None:
        self.buffer.flush()

    def from_device(self) -> None:
        self.buffer.invalidate()


def _pynq() -> Any:
    with driver("the package pynq does not start", _AS_ROOT):
        try:
            return importlib.import_module("pynq")
        except ImportError as error:
            raise DeviceError(
                f"wanted the package pynq on the board, found none ({error}); install Kria-PYNQ, and "
                f"{_AS_ROOT}"
            ) from error


def _loader(pynq: Any, bitstream: Path) -> Callable[[], None]:
    """What loads a bitstream."""

    def load() -> None:
        with driver(
            "the bitstream does not load", f"{_AS_ROOT}, and build {bitstream} for it (docs/boards/kv260.md)"
        ):
            pynq.Bitstream(str(bitstream)).download()

    return load


def open_kv260(
    place: AddressMap,
    image: np.ndarray,
    machine: MachineConfig,
    bitstream: Path | None = None,
    pynq: Any = None,
) -> tuple[MappedSession, int]:
    """The machine in the fabric, with `image` (uint8 [n], all of its memory) in a buffer; and MEMORY_BASE.

    Parameters
    ----------
    place : AddressMap
        Of the project (`address_map.json`).
    bitstream : Path or None
        Loaded first, and again where the machine does not stop; None: it is loaded already.
    pynq : module or None
        Anything like the package `pynq`; None: that one.

    Raises
    ------
    DeviceError
        Another project, a machine that still runs, a driver's error, memory out of the ports' reach.
    """
    if place.digest != machine.digest():
        raise DeviceError(
            f"wanted machine {machine.name} ({machine.digest()[:8]}), found {place.machine} "
            f"({place.digest[:8]}) in the project; build the project of this machine, or compile for that one"
        )
    pynq = pynq or _pynq()
    load = None if bitstream is None else _loader(pynq, bitstream)
    if load is not None:
        load()
    with driver("the registers cannot be mapped", _AS_ROOT):
        registers = pynq.MMIO(place.control, place.control_size)
    # A running machine may write where its last memory was: the new one may lie there.
    require_idle(registers, "its memory is allocated", _REMEDY)
    with driver(
        f"{len(image):,} bytes of contiguous memory cannot be allocated",
        "reserve more for Linux's contiguous allocator (kernel argument cma=1000M), and end other programs "
        f"that use it; {_AS_ROOT}",
    ):
        buffer = pynq.allocate(shape=(len(image),), dtype=np.uint8)
    try:
        start = int(buffer.physical_address)
        if start % ALIGNMENT or start < place.memory or start + len(image) > place.memory + place.memory_size:
            raise DeviceError(
                f"wanted {len(image):,} bytes of contiguous memory below "
                f"{place.memory + place.memory_size:#x}, on a line of {ALIGNMENT}, found them at {start:#x}; "
                "reserve more for Linux's contiguous allocator there (kernel argument cma=1000M)"
            )
        buffer[:] = image
    except BaseException:
        buffer.freebuffer()
        raise
    memory = PynqMemory(buffer)
    return MappedSession(registers, memory, machine.clock_mhz, buffer.freebuffer, load, _REMEDY), start
