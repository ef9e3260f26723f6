"""A Vitis project for an accelerator card: the machine as a user-managed RTL kernel that XRT loads.

`package_kernel.tcl` makes the kernel object (`trine.xo`), `build.sh` runs it and links the card's image. A
user-managed kernel keeps its own registers (UG1393): the host writes them as on every other board.
"""

from pathlib import Path
from string import Template
from xml.etree import ElementTree

from hw.machine import MachineConfig

from ..board import Board, BoardError
from .address_map import BANK_REGISTERS, U280_BANK, AddressMap, register_offset
from .axi_top import CONTROL_BITS, AxiTop, Names
from .files import machine_verilog, with_json, write_project

__all__ = ["BANKS", "KERNEL", "NAMES", "PLATFORM", "kernel_xml", "project", "texts"]

KERNEL = "trine"
#: What Vitis wants pins to be called (UG1393, kernel interface requirements).
NAMES = Names(KERNEL, "ap_clk", "ap_rst_n", "interrupt", "s_axi_control", address_bits=64)
PLATFORM = "xilinx_u280_gen3x16_xdma_1_202211_1"
#: Pseudo-channels that hold the machine's memory: those of one switch of the HBM.
BANKS = 4
#: Registers that the packaged core declares, beside those of the banks; Vitis asks for one or more.
_DECLARED = ("CONTROL", "STATUS", "MEMORY_BASE")

_PACKAGE = Template("""\
# $title, machine $machine: the kernel object trine.xo.
#   vivado -mode batch -source package_kernel.tcl
# Written by trine build for Vitis 2022.1 or newer. It has not been run: no Vitis was at hand.
set here [file dirname [file normalize [info script]]]
set packaged [file join $$here packaged]
create_project kernel [file join $$here kernel_project] -part $part -force
add_files -norecurse [list [file join $$here rtl overlay.v] [file join $$here rtl $top.v]]
set_property top $top [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $$packaged -vendor trine -library kernel -taxonomy /KernelIP -import_files \\
  -set_current false
ipx::unload_core [file join $$packaged component.xml]
ipx::edit_ip_in_project -upgrade true -name edit_kernel -directory $$packaged \\
  [file join $$packaged component.xml]
set core [ipx::current_core]
set_property core_revision 1 $$core
set_property sdx_kernel true $$core
set_property sdx_kernel_type rtl $$core
set_property ipi_drc {ignore_freq_hz true} $$core
set_property vitis_drc {ctrl_protocol user_managed} $$core
foreach busif {$busifs} {
  ipx::associate_bus_interfaces -busif $$busif -clock ap_clk $$core
}
ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $$core

# Registers: those of the machine that Vitis shall know of, then the address of each bank.
set maps [ipx::get_memory_maps s_axi_control -of_objects $$core]
set block [ipx::get_address_blocks reg0 -of_objects $$maps]
$registers
ipx::create_xgui_files $$core
ipx::update_checksums $$core
ipx::check_integrity -kernel -quiet $$core
ipx::save_core $$core
close_project -delete
package_xo -force -xo_path [file join $$here trine.xo] -kernel_name $top -ip_directory $$packaged \\
  -kernel_xml [file join $$here kernel.xml]
""")

_BUILD = Template("""\
#!/bin/sh
# $title, machine $machine: kernel object, then the card's image trine.xclbin.
# Wants Vitis and XRT in the environment (settings64.sh, setup.sh) and the platform's development package.
set -eu
cd "$$(dirname "$$0")"
vivado -mode batch -source package_kernel.tcl
v++ --link --target hw --platform $platform --config link.cfg --save-temps --output trine.xclbin trine.xo
""")


def kernel_xml(machine: MachineConfig, top: AxiTop) -> str:
    """Ports and arguments of the kernel, as package_xo reads them."""
    root = ElementTree.Element("root", versionMajor="1", versionMinor="6")
    kernel = ElementTree.SubElement(
        root, "kernel", name=KERNEL, language="ip_c", vlnv=f"trine:kernel:{KERNEL}:1.0", attributes="",
        preferredWorkGroupSizeMultiple="0", workGroupSize="1", interrupt="true",
        hwControlProtocol="user_managed",
    )  # fmt: skip
    ports = ElementTree.SubElement(kernel, "ports")
    ElementTree.SubElement(
        ports, "port", name=NAMES.control, mode="slave", range=hex(1 << CONTROL_BITS), dataWidth="32",
        portType="addressable", base="0x0",
    )  # fmt: skip
    for i in range(machine.ports):
        ElementTree.SubElement(
            ports, "port", name=f"{NAMES.memory}{i}", mode="master", range="0xFFFFFFFFFFFFFFFF",
            dataWidth=str(8 * top.port_bytes), portType="addressable", base="0x0",
        )  # fmt: skip
    args = ElementTree.SubElement(kernel, "args")
    for i in range(max(top.banks, machine.ports)):
        ElementTree.SubElement(
            args, "arg", name=f"bank_{i}", addressQualifier="1", id=str(i),
            port=f"{NAMES.memory}{i % machine.ports}", size="0x8", offset=hex(BANK_REGISTERS + 8 * i),
            type="void*", hostOffset="0x0", hostSize="0x8",
        )  # fmt: skip
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _registers(machine: MachineConfig, top: AxiTop) -> str:
    lines = []
    for name in _DECLARED:
        lines += [
            f"set register [ipx::add_register {name} $block]",
            f"set_property address_offset {register_offset(name):#06x} $register",
            "set_property size 32 $register",
        ]
    for i in range(max(top.banks, machine.ports)):
        lines += [
            f"set register [ipx::add_register bank_{i} $block]",
            f"set_property address_offset {BANK_REGISTERS + 8 * i:#06x} $register",
            "set_property size 64 $register",
            "set parameter [ipx::add_register_parameter ASSOCIATED_BUSIF $register]",
            f"set_property value {NAMES.memory}{i % machine.ports} $parameter",
        ]
    return "\n".join(lines)


def _link(machine: MachineConfig, board: Board) -> str:
    """Every port reaches every bank: bursts go to the ports in turn, whatever their address."""
    ports = "".join(f"sp={KERNEL}_1.{NAMES.memory}{i}:HBM[0:{BANKS - 1}]\n" for i in range(machine.ports))
    return (
        f"[connectivity]\nnk={KERNEL}:1:{KERNEL}_1\n{ports}slr={KERNEL}_1:SLR0\n\n"
        f"[clock]\nfreqHz={round(board.clock_mhz * 1e6)}:{KERNEL}_1.{NAMES.clock}\n\n"
        "[vivado]\nprop=run.impl_1.strategy=Performance_Explore\n"
    )


def texts(board: Board, machine: MachineConfig, overlay: str) -> dict[str, str]:
    """The project's files by name; `overlay`: the machine's Verilog."""
    if machine.bus_bytes // machine.ports > 64:
        raise BoardError(f"board {board.name}: wanted ports of at most 512 bits ({machine.name})")
    top = AxiTop(machine, NAMES, BANKS)
    busifs = " ".join([NAMES.control, *(f"{NAMES.memory}{i}" for i in range(machine.ports))])
    values = {
        "title": board.title, "machine": machine.name, "top": KERNEL, "busifs": busifs,
        "part": f"{board.device}-{board.package}{board.speed}", "registers": _registers(machine, top),
    }  # fmt: skip
    place = AddressMap.of(machine, 0, 0, BANKS * U280_BANK, BANKS)
    return {
        "rtl/overlay.v": overlay,
        f"rtl/{KERNEL}.v": top.verilog(),
        "kernel.xml": kernel_xml(machine, top),
        "package_kernel.tcl": _PACKAGE.substitute(values),
        "link.cfg": _link(machine, board),
        "build.sh": _BUILD.substitute(title=board.title, machine=machine.name, platform=PLATFORM),
        "address_map.json": with_json(place.to_json()),
    }


def project(board: Board, machine: MachineConfig, folder: Path) -> list[Path]:
    """Write the project; its files."""
    return write_project(folder, texts(board, machine, machine_verilog(machine)))
