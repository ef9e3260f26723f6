"""U280: registers and memory through XRT's Python interface; the memory is cut into the banks of the card."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from hw.machine import MachineConfig

from ..vendor.address_map import AddressMap
from ..vendor.banks import PAGE
from .registers import BANK_REGISTERS
from .session import DeviceError, MappedSession, driver, require_idle

__all__ = ["BankedMemory", "open_u280"]

#: Name of the compute unit in the card's image.
UNIT = "trine:{trine_1}"

_RESET = "reset the card (xbutil reset --device ...)"


class BankedMemory:
    """Page p of the machine's memory is page p // n of buffer p % n, as `boards.vendor.banks.Banks` has it.

    buffers: objects like `pyxrt.bo`, of one size, a multiple of a page. The host's side of them is the copy
    that slices read and write; `to_device` sends what was written, `from_device` marks all as out of date,
    and a slice fetches what it reads.
    """

    def __init__(self, buffers: list[Any], size: int, to_device: Any, from_device: Any):
        self._buffers, self._size = buffers, size
        self._to, self._from = to_device, from_device
        self._views = [np.frombuffer(buffer.map(), np.uint8).reshape(-1, PAGE) for buffer in buffers]
        pages = len(buffers) * len(self._views[0])
        self._written = np.zeros(pages, bool)
        self._stale = np.zeros(pages, bool)

    def __len__(self) -> int:
        return self._size

    def _pages(self, span: slice) -> tuple[int, int, range]:
        """First byte, end and pages of a slice."""
        start, stop, step = span.indices(self._size)
        if step != 1:
            raise IndexError("wanted a slice without a step")
        return start, stop, range(start // PAGE, -(-max(start, stop) // PAGE))

    def _fetch(self, page: int) -> None:
        if self._stale[page]:
            bank, row = page % len(self._buffers), page // len(self._buffers)
            self._sync(bank, self._from, PAGE, row * PAGE)
            self._stale[page] = False

    def _sync(self, bank: int, direction: Any, size: int, offset: int) -> None:
        with driver(f"bank {bank} cannot be copied", f"look at the card with xbutil examine, or {_RESET}"):
            self._buffers[bank].sync(direction, size, offset)

    def _page(self, page: int) -> np.ndarray:
        return self._views[page % len(self._buffers)][page // len(self._buffers)]

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, pages = self._pages(span)
        if stop <= start:
            return np.zeros(0, np.uint8)
        for page in pages:
            self._fetch(page)
        whole = np.concatenate([self._page(page) for page in pages])
        return whole[start - pages.start * PAGE : stop - pages.start * PAGE]

    def __setitem__(self, span: slice, values: np.ndarray) -> None:
        start, stop, pages = self._pages(span)
        values = np.broadcast_to(np.asarray(values, np.uint8), (max(0, stop - start),))
        for page in pages:
            low, high = max(start, page * PAGE), min(stop, (page + 1) * PAGE)
            if high - low < PAGE:
                self._fetch(page)
            self._page(page)[low - page * PAGE : high - page * PAGE] = values[low - start : high - start]
            self._written[page], self._stale[page] = True, False

    def to_device(self) -> None:
        count = len(self._buffers)
        for bank in range(count):
            rows = np.flatnonzero(self._written[bank::count])
            for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
                if len(run):
                    self._sync(bank, self._to, len(run) * PAGE, int(run[0]) * PAGE)
        self._written[:] = False

    def from_device(self) -> None:
        self._stale[:] = True


class _Registers:
    """A user-managed unit (`pyxrt.ip`) under the names that `MappedSession` uses."""

    def __init__(self, unit: Any):
        self._unit = unit

    def read(self, offset: int) -> int:
        with driver("a register of the card cannot be read", f"end other programs that use it, or {_RESET}"):
            return self._unit.read_register(offset)

    def write(self, offset: int, value: int) -> None:
        with driver(
            "a register of the card cannot be written", f"end other programs that use it, or {_RESET}"
        ):
            self._unit.write_register(offset, value)


def _pyxrt() -> Any:
    with driver("XRT's Python module pyxrt does not start", "install XRT and source its setup.sh"):
        try:
            found = importlib.import_module("pyxrt")
        except ImportError as error:
            raise DeviceError(
                f"wanted XRT's Python module pyxrt, found none ({error}); install XRT and source its setup.sh"
            ) from error
    if not hasattr(found, "ip"):
        raise DeviceError("wanted pyxrt.ip (user-managed kernels), found an older XRT; install a newer one")
    return found


def open_u280(
    place: AddressMap,
    image: np.ndarray,
    machine: MachineConfig,
    xclbin: Path,
    device: int = 0,
    pyxrt: Any = None,
) -> tuple[MappedSession, int]:
    """The card with its image loaded and `image` (uint8 [n], all of the memory) in its banks; MEMORY_BASE.

    Parameters
    ----------
    place : AddressMap
        Of the project (`address_map.json`).
    device : int
        Number of the card.
    pyxrt : module or None
        Anything like XRT's `pyxrt`; None: that one.

    Raises
    ------
    DeviceError
        Another project, too large a model, a machine that still runs, a driver's error.
    """
    if place.digest != machine.digest():
        raise DeviceError(
            f"wanted machine {machine.name} ({machine.digest()[:8]}), found {place.machine} "
            f"({place.digest[:8]}) in the project; build the project of this machine, or compile for that one"
        )
    if len(image) > place.memory_size:
        raise DeviceError(
            f"wanted at most {place.memory_size:,} bytes of memory, found {len(image):,}; a smaller model or "
            "context, or more banks (boards/vendor/vitis.py)"
        )
    pyxrt = pyxrt or _pyxrt()
    with driver(f"card {device} does not open", "see with xbutil examine which cards there are"):
        card = pyxrt.device(device)
    with driver("the card's image does not load", f"build it for the platform that the card has: {xclbin}"):
        uuid = card.load_xclbin(str(xclbin))
    with driver(f"wanted unit {UNIT} in the card's image", f"build the project again: {xclbin}"):
        registers = _Registers(pyxrt.ip(card, uuid, UNIT))
    # An image that is there already is not loaded again: the machine of another program may still run in it.
    require_idle(registers, "its banks of memory are allocated", _RESET)
    each = -(-len(image) // (place.banks * PAGE)) * PAGE
    # Bank i of the card is memory group i: the link configuration uses HBM[0] onwards.
    with driver(
        f"{place.banks} banks of {each:,} bytes cannot be allocated", "end another program that uses the card"
    ):
        buffers = [pyxrt.bo(card, each, pyxrt.bo.normal, bank) for bank in range(place.banks)]
        addresses = [int(buffer.address()) for buffer in buffers]
    for i, address in enumerate(addresses):
        if address % PAGE:
            raise DeviceError(f"bank {i}: wanted a buffer on a page of {PAGE} bytes, found {address:#x}")
        registers.write(BANK_REGISTERS + 8 * i, address & 0xFFFF_FFFF)
        registers.write(BANK_REGISTERS + 8 * i + 4, address >> 32)
    direction = pyxrt.xclBOSyncDirection
    memory = BankedMemory(
        buffers, len(image), direction.XCL_BO_SYNC_BO_TO_DEVICE, direction.XCL_BO_SYNC_BO_FROM_DEVICE
    )
    memory[:] = image
    return MappedSession(registers, memory, machine.clock_mhz, remedy=_RESET), 0
