"""AMD Kria KV260: a Zynq UltraScale+ (XCK26), 4 GiB of DDR4-2400 on 64 bits; the machine beside its Linux.

Sources: DS987 (K26 module), UG1085 (address map, HP ports), DS891 (speed grades). No pin of the fabric is
used, so there is none to take from `amaranth-boards` (which has no platform for it).
"""

from hw.machine import KV260

from .board import Board, Capacity, Memory

BOARD = Board(
    name="kv260",
    title="AMD Kria KV260",
    family="xcup",
    device="xck26",
    package="sfvc784",
    speed="-2LV-c",
    toolchain="vivado",
    machine=KV260,
    clock_mhz=300.0,
    memory=Memory("ddr4", 2 << 30, 19.2e9, "ddr4-2400"),
    link="axi-lite",
    capacity=Capacity(lut=117_120, ff=234_240, ram=57_600, block=144, ultra=64, dsp=1_248),
    page="docs/boards/kv260.md",
    programmer="sudo fpgautil -b {}",
)
