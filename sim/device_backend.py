"""Boards whose memory the host sees, as a backend: KV260 by PYNQ, U280 by XRT."""

import json
from pathlib import Path
from typing import Any

from boards.runtime.kv260 import open_kv260
from boards.runtime.session import DeviceError
from boards.runtime.u280 import open_u280
from boards.vendor.address_map import AddressMap
from hw.artefact import Artefact

from .backend import Outcome, Request
from .memory_image import initial_memory
from .register_backend import RegisterBackend

__all__ = ["Device", "is_device", "open_device"]

#: What the vendor's tool makes of a project.
_PRODUCTS = {"kv260": "trine_kv260.bit", "u280": "trine.xclbin"}


class Device(RegisterBackend):
    """`RegisterBackend` with the name, the pace and the clock of a board.

    Members
    -------
    pace : float
        Seconds of a step, as last measured; 0 before.
    clock_mhz : float
        Of the machine.
    """

    name = "board"
    pace = 0.0

    @property
    def clock_mhz(self) -> float:
        """The clock that its project asks for."""
        return self.machine.clock_mhz

    def run(self, request: Request) -> Outcome:
        before = self.seconds
        outcome = super().run(request)
        self.pace = (self.seconds - before) / max(1, len(outcome.tokens))
        return outcome


def is_device(port: str) -> bool:
    """Whether a port names such a board, ``kv260:FOLDER`` or ``u280:FOLDER``; others are serial ports."""
    return port.partition(":")[0] in _PRODUCTS and ":" in port


def open_device(artefact: Artefact, port: str, driver: Any = None) -> Device:
    """The board with its bitstream and the artefact's memory loaded.

    Parameters
    ----------
    port : str
        Board, colon, folder of its project (`trine build -o`), built by the vendor's tool.
    driver : module or None
        Anything like `pynq` or `pyxrt`; None: that package.

    Raises
    ------
    DeviceError, SimulationError
        Say what was wanted, what was found and what to do.
    """
    board, _, name = port.partition(":")
    product = _PRODUCTS[board]
    folder = Path(name)
    place, image = folder / "address_map.json", folder / product
    for path, remedy in (
        (place, f"write the project: trine build --board {board} -o {folder}"),
        (image, f"build it in the folder with the vendor's tool (docs/boards/{board}.md)"),
    ):
        if not path.is_file():
            raise DeviceError(f"wanted {path}, found none; {remedy}")
    try:
        values = AddressMap.from_json(json.loads(place.read_text()))
    except ValueError as error:
        raise DeviceError(f"{place}: {error}") from error
    memory = initial_memory(artefact)
    if board == "kv260":
        session, base = open_kv260(values, memory, artefact.machine, image, pynq=driver)
    else:
        session, base = open_u280(values, memory, artefact.machine, image, pyxrt=driver)
    return Device(session, artefact, memory_base=base)
