"""LambdaConcept ECPIX-5 85F: ECP5-5G with 512 MiB of DDR3L on 16 bits, UART on its USB connector.

Pins come from `amaranth-boards`; its names of the DDR3 signals are brought to LiteDRAM's. The board wires
neither chip select nor reset of the memory.
"""

from pathlib import Path

from hw.machine import MACHINES, MachineConfig

from .board import Board, BoardError, Capacity, Memory, Pin

#: Signals of the memory: our name, theirs, whether the pair's second pin is wanted.
_DRAM = (
    ("clk_p", "clk", "p"), ("cke", "clk_en", ""), ("we_n", "we", ""), ("ras_n", "ras", ""),
    ("cas_n", "cas", ""), ("a", "a", ""), ("ba", "ba", ""), ("dqs_p", "dqs", "p"), ("dq", "dq", ""),
    ("dm", "dm", ""), ("odt", "odt", ""),
)  # fmt: skip
#: Of each lane, at the PHY's rate: LiteDRAM runs the DDR3 at twice the clock, on both edges.
_LANES = 2


def _attributes(*sources: object) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for source in sources:
        found |= {key: str(value) for key, value in source.attrs.items()}  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(found.items())


def pins() -> dict[str, Pin]:
    """Pin of every port. BoardError: `amaranth-boards` is missing."""
    try:
        from amaranth_boards.ecpix5 import ECPIX585Platform
    except ImportError as error:
        raise BoardError(
            f"board ecpix5: wanted the package amaranth-boards, found none ({error}); "
            "pip install 'trine[boards]'"
        ) from error
    resources = {(one.name, one.number): one for one in ECPIX585Platform.resources}
    found: dict[str, Pin] = {}

    def put(name: str, places: list[str], attributes: tuple[tuple[str, str], ...]) -> None:
        for i, place in enumerate(places):
            found[name if len(places) == 1 else f"{name}[{i}]"] = Pin(place, attributes)

    for name, resource in (("clk", ("clk100", 0)), ("rst_n", ("rst", 0))):
        one = resources[resource]
        put(name, one.ios[0].names, _attributes(one))
    uart = resources[("uart", 0)]
    for signal in uart.ios:
        put(signal.name, signal.ios[0].names, _attributes(uart, signal))
    # Green of the four LEDs, in the order of `LiteDramTop.leds`; they are lit by 0.
    places, attributes = [], ()
    for i in range(4):
        led = resources[("rgb_led", i)]
        green = next(signal for signal in led.ios if signal.name == "g")
        places += green.ios[0].names
        attributes = _attributes(led, green)
    put("leds_n", places, attributes)
    dram = resources[("ddr3", 0)]
    signals = {signal.name: signal for signal in dram.ios}
    for name, theirs, half in _DRAM:
        signal = signals[theirs]
        place = getattr(signal.ios[0], half).names if half else signal.ios[0].names
        put(f"ddram_{name}", place, _attributes(dram, signal))
    return found


def project(board: Board, machine: MachineConfig, folder: Path) -> list[Path]:
    """Write the project; its files."""
    from .vendor.litex import Ddr3Board
    from .vendor.litex import project as write

    return write(board, Ddr3Board("MT41K256M16", _LANES, 100.0, pins()), machine, folder)


BOARD = Board(
    name="ecpix5",
    title="LambdaConcept ECPIX-5 85F",
    family="ecp5",
    device="LFE5UM5G-85F",
    package="BG554",
    speed="8",
    toolchain="litex",
    machine=MACHINES["ulx3s"],
    clock_mhz=75.0,
    memory=Memory(
        "ddr3", 512 << 20, 300e6, "latency=30,write_latency=20,turn=4,refresh_every=585,refresh_cycles=20"
    ),
    link="uart",
    capacity=Capacity(lut=83_640, ff=83_640, ram=41_820, block=208, dsp=156),
    page="docs/boards/ecpix5.md",
    programmer="openFPGALoader -b ecpix5 {}",
)
