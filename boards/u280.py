"""AMD Alveo U280: XCU280 with 8 GB of HBM2, on PCIe; the machine as a Vitis RTL kernel that XRT loads.

Sources: DS963 (card and device), PG276 (HBM: 32 pseudo-channels of 256 MB, 14.4 GB/s each).
"""

from hw.machine import KV260

from .board import Board, Capacity, Memory
from .vendor.address_map import U280_BANK
from .vendor.vitis import BANKS

BOARD = Board(
    name="u280",
    title="AMD Alveo U280",
    family="xcup",
    device="xcu280",
    package="fsvh2892",
    speed="-2L-e",
    toolchain="vitis",
    machine=KV260,
    clock_mhz=300.0,
    memory=Memory("hbm2", BANKS * U280_BANK, BANKS * 14.4e9, "latency=100,write_latency=60,turn=0"),
    link="pcie",
    capacity=Capacity(lut=1_303_680, ff=2_607_360, ram=600_960, block=2_016, ultra=960, dsp=9_024),
    page="docs/boards/u280.md",
    programmer="xbutil program --device 0000:00:00.1 --user {}",
)
