"""`--dram`: the plain model's timing by default, or the DDR4 model with changes of its own."""

import dataclasses

import pytest

from sim.ddr4 import DDR4_2400
from sim.dram import DDR3
from trine.dram_option import parse_dram
from trine.errors import UsageError


def test_models() -> None:
    assert parse_dram("") == DDR3
    assert parse_dram("latency=40") == dataclasses.replace(DDR3, latency=40)
    assert parse_dram("ddr4-2400") == DDR4_2400
    wanted = dataclasses.replace(DDR4_2400, order="rcbg", tRCD=18, clock_khz=300_000)
    assert parse_dram("ddr4-2400,order=rcbg,tRCD=18,clock_khz=300000") == wanted


@pytest.mark.parametrize(
    "text",
    ["ddr4-2666", "latency=40,ddr4-2400", "tRCD=18", "order=rcbg", "ddr4-2400,order=rcb", "ddr4-2400,turn=3",
     "ddr4-2400,tRCD=0", "ddr4-2400,ddr4-2400", "ddr4-2400,order=rrrr"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--dram"):
        parse_dram(text)
