"""A Vivado project for a board whose processor, memory and fabric share a chip (Zynq UltraScale+).

`build.tcl` makes everything: project, block design, synthesis, implementation, bitstream and hardware
description. The design has no pin of the fabric: registers and memory go through the processing system.
"""

from pathlib import Path
from string import Template

from hw.machine import MachineConfig

from ..board import Board, BoardError
from .address_map import AddressMap
from .axi_top import AxiTop, Names
from .files import machine_verilog, with_json, write_project

__all__ = ["CONTROL", "MEMORY_SIZE", "NAMES", "PORTS", "project", "texts"]

NAMES = Names("trine_kv260", "aclk", "aresetn", "irq", "s_axil", address_bits=40)
#: Where M_AXI_HPM0_FPD finds the registers (UG1085: 0xA000_0000, 256 MB).
CONTROL = 0xA000_0000
#: The lower part of the memory, which 32-bit addresses reach (UG1085: DDR_LOW).
MEMORY_SIZE = 0x8000_0000
#: HP ports of the processing system; a port of 128 bits each (PG201: S_AXI_GP2 to GP5).
PORTS = 4
_HP_BITS = 128
_BOARD_PART = "xilinx.com:kv260_som:part0"

_BUILD = Template("""\
# $title, machine $machine: project, block design, bitstream.
#   vivado -mode batch -source build.tcl
# Written by trine build for Vivado 2022.2 or newer. It has not been run: no Vivado was at hand.
set here [file dirname [file normalize [info script]]]
set part $part
set clock_mhz $clock

proc newest_board_part {wanted} {
  set found [get_board_parts -quiet -latest_file_version "$${wanted}:*"]
  if {[llength $$found] == 0} {
    error "no board files of $$wanted: install them (Vivado: Tools, Vivado Store, Boards)"
  }
  return [lindex $$found end]
}

proc newest_ip {name} {
  set found [get_ipdefs -all -filter "VLNV =~ xilinx.com:ip:$${name}:* && UPGRADE_VERSIONS == {}"]
  if {[llength $$found] == 0} {
    error "this Vivado has no IP $$name"
  }
  return [lindex $$found end]
}

create_project $top [file join $$here vivado] -part $$part -force
set_property board_part [newest_board_part $board_part] [current_project]
add_files -norecurse [list [file join $$here rtl overlay.v] [file join $$here rtl $top.v]]
add_files -fileset constrs_1 -norecurse [file join $$here timing.xdc]
set_property used_in_synthesis false [get_files timing.xdc]
update_compile_order -fileset sources_1

# Block design: processing system, clock, reset, the machine. The board's own firmware sets up the pins of
# the processing system at boot; loading the fabric does not touch them.
create_bd_design system
set ps [create_bd_cell -type ip -vlnv [newest_ip zynq_ultra_ps_e] ps]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $$ps
set_property -dict [list \\
  CONFIG.PSU__FPGA_PL0_ENABLE 1 \\
  CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 100 \\
  CONFIG.PSU__USE__IRQ0 1 \\
  CONFIG.PSU__USE__M_AXI_GP0 1 \\
  CONFIG.PSU__USE__M_AXI_GP1 0 \\
  CONFIG.PSU__USE__M_AXI_GP2 0 \\
$ps_ports
] $$ps
set trine [create_bd_cell -type module -reference $top trine]

set clock [create_bd_cell -type ip -vlnv [newest_ip clk_wiz] clock]
set_property -dict [list \\
  CONFIG.PRIM_SOURCE No_buffer \\
  CONFIG.PRIM_IN_FREQ 100 \\
  CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $$clock_mhz \\
  CONFIG.USE_LOCKED true \\
  CONFIG.RESET_TYPE ACTIVE_LOW \\
] $$clock
set reset [create_bd_cell -type ip -vlnv [newest_ip proc_sys_reset] reset]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins clock/clk_in1]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins clock/resetn] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins clock/locked] [get_bd_pins reset/dcm_locked]
connect_bd_net [get_bd_pins clock/clk_out1] [get_bd_pins reset/slowest_sync_clk] [get_bd_pins trine/aclk]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins trine/aresetn]
connect_bd_net [get_bd_pins trine/irq] [get_bd_pins ps/pl_ps_irq0]

# Registers.
set control [create_bd_cell -type ip -vlnv [newest_ip smartconnect] control]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $$control
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins trine/s_axil]
connect_bd_net [get_bd_pins clock/clk_out1] [get_bd_pins control/aclk] [get_bd_pins ps/maxihpm0_fpd_aclk]
connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins control/aresetn]
assign_bd_address -offset $control -range $control_size -target_address_space [get_bd_addr_spaces ps/Data] \\
  [get_bd_addr_segs trine/s_axil/reg0]

# Memory: a port of the machine for each HP port.
$memory
validate_bd_design
save_bd_design

# Implementation.
make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] != "100%"} {
  error "implementation did not finish: [get_property STATUS [get_runs impl_1]]"
}
open_run impl_1
report_utilization -hierarchical -hierarchical_depth 4 -file [file join $$here utilization.txt]
report_timing_summary -max_paths 20 -file [file join $$here timing.txt]
set slack [get_property SLACK [get_timing_paths -max_paths 1 -setup]]
set hold [get_property SLACK [get_timing_paths -max_paths 1 -hold]]
if {$$slack < 0 || $$hold < 0} {
  error "$$clock_mhz MHz are not met: slack $$slack ns, hold $$hold ns; timing.txt has the worst paths"
}
file copy -force [get_property DIRECTORY [get_runs impl_1]]/system_wrapper.bit [file join $$here $top.bit]
write_hw_platform -fixed -include_bit -force [file join $$here $top.xsa]
puts "done: $top.bit and $top.xsa, slack $$slack ns at $$clock_mhz MHz"
""")

_PORT = Template("""\
set memory_$i [create_bd_cell -type ip -vlnv [newest_ip smartconnect] memory_$i]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $$memory_$i
connect_bd_intf_net [get_bd_intf_pins trine/m_axi_$i] [get_bd_intf_pins memory_$i/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory_$i/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP${i}_FPD]
connect_bd_net [get_bd_pins clock/clk_out1] [get_bd_pins memory_$i/aclk] [get_bd_pins ps/saxihp${i}_fpd_aclk]
connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins memory_$i/aresetn]
assign_bd_address -offset 0x0 -range $size -target_address_space [get_bd_addr_spaces trine/m_axi_$i] \\
  [get_bd_addr_segs ps/SAXIGP$gp/HP${i}_DDR_LOW]
""")

_TIMING = Template("""\
# Timing of $title. The design has no pin of the fabric, so there is no place and no I/O standard to state:
# registers, memory and interrupt go through the processing system, whose pins its IP constrains.
# The clock ($clock MHz) is created by the clock wizard of build.tcl: a second definition would hide it. All
# of the machine is in this one clock domain. What follows is a margin beyond the jitter that Vivado assumes.
set_clock_uncertainty -setup 0.050 [get_clocks -of_objects [get_pins -hierarchical *mmcme4_adv_inst/CLKOUT0]]
""")


def _check(board: Board, machine: MachineConfig) -> None:
    if machine.ports > PORTS:
        raise BoardError(
            f"board {board.name}: wanted a machine of at most {PORTS} memory ports, found {machine.ports} "
            f"({machine.name}); the processing system has no more"
        )
    bits = 8 * machine.bus_bytes // machine.ports
    if bits not in (32, 64, 128):
        raise BoardError(
            f"board {board.name}: wanted memory ports of 32, 64 or 128 bits, found {bits} ({machine.name}); "
            "change bus_bytes or ports"
        )


def texts(board: Board, machine: MachineConfig, overlay: str) -> dict[str, str]:
    """The project's files by name; `overlay`: the machine's Verilog."""
    _check(board, machine)
    top = AxiTop(machine, NAMES)
    place = AddressMap.of(machine, CONTROL, 0, MEMORY_SIZE)
    ps_ports = [f"  CONFIG.PSU__USE__S_AXI_GP{2 + i} {int(i < machine.ports)} \\" for i in range(PORTS)] + [
        f"  CONFIG.PSU__SAXIGP{2 + i}__DATA_WIDTH {_HP_BITS} \\" for i in range(machine.ports)
    ]
    memory = "".join(_PORT.substitute(i=i, gp=2 + i, size=hex(MEMORY_SIZE)) for i in range(machine.ports))
    build = _BUILD.substitute(
        title=board.title, machine=machine.name, part=f"{board.device}-{board.package}{board.speed}",
        clock=f"{board.clock_mhz:g}", top=NAMES.top, board_part=_BOARD_PART,
        ps_ports="\n".join(ps_ports), control=hex(place.control), control_size=hex(place.control_size),
        memory=memory,
    )  # fmt: skip
    return {
        "rtl/overlay.v": overlay,
        f"rtl/{NAMES.top}.v": top.verilog(),
        "build.tcl": build,
        "timing.xdc": _TIMING.substitute(title=board.title, clock=f"{board.clock_mhz:g}"),
        "address_map.json": with_json(place.to_json()),
    }


def project(board: Board, machine: MachineConfig, folder: Path) -> list[Path]:
    """Write the project; its files. BoardError: the machine does not fit the board's ports."""
    _check(board, machine)
    return write_project(folder, texts(board, machine, machine_verilog(machine)))
