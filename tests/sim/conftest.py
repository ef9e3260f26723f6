"""The simulator of the copier, built once and kept in Trine's cache."""

from pathlib import Path

import pytest
from amaranth.back import verilog

from sim.verilate import build

from .copier import Copier

#: Bus of every machine here, in bytes.
BUS_BYTES = 8


@pytest.fixture(scope="session")
def copier_verilog() -> str:
    """Verilog of the copier as module ``overlay``."""
    return verilog.convert(Copier(BUS_BYTES), name="overlay", emit_src=False)


@pytest.fixture(scope="session")
def simulator(copier_verilog: str) -> Path:
    """The copier's simulator."""
    return build(copier_verilog, BUS_BYTES)
