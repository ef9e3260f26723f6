"""Yosys maps the shells of the vendor boards for their family; the machine inside is a black box.

The machines themselves: `python -m bench.vendor`.
"""

import dataclasses

import pytest

from bench.vendor import shell_resources
from boards.board import find_board
from hw.machine import CI
from sim.verilate import overlay_verilog

SMALL = dataclasses.replace(CI, name="two-ports", ports=2, burst_beats=16)


@pytest.mark.parametrize(("board", "most"), [("kv260", 600), ("u280", 2_000)])
def test_the_shell_is_small(board: str, most: int):
    """More than the registers of its channels, less than a hundredth of the device."""
    found = shell_resources(find_board(board), SMALL, overlay_verilog(SMALL))
    assert 50 < found.lut < most
    assert found.ff > 32 + 32 + 2 * 14  # data of both directions, both addresses
    assert (found.block, found.ultra, found.dsp) == (0, 0, 0)
