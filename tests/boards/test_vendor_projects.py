"""Projects for Vivado and Vitis: scripts run by a real Tcl, ports and addresses against the RTL, no tool."""

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from bench.verilog_text import modules, stub
from boards.board import BoardError, find_board
from boards.runtime.registers import BANK_REGISTERS as RUNTIME_BANKS
from boards.vendor import PROJECTS, vitis, vivado
from boards.vendor.address_map import U280_BANK, AddressMap
from boards.vendor.axi_top import AxiTop
from hw.isa import CSR_INDEX
from hw.machine import CI, KV260
from sim.verilate import overlay_verilog

from . import tcl
from .verilog_ports import instances, module, ports

BOARDS = ("kv260", "u280")
MAKERS = {"kv260": vivado, "u280": vitis}
#: Two ports of 4 bytes: small, and of the same kind as `kv260`.
SMALL = dataclasses.replace(CI, name="two-ports", ports=2, burst_beats=16)


@pytest.fixture(scope="module")
def small_verilog() -> str:
    return overlay_verilog(SMALL)


def texts(board: str, machine=KV260) -> dict[str, str]:
    return MAKERS[board].texts(find_board(board), machine, "module overlay(); endmodule\n")


def top_of(board: str, machine=KV260) -> AxiTop:
    maker = MAKERS[board]
    return AxiTop(machine, maker.NAMES, vitis.BANKS if board == "u280" else 0)


#: What Vivado would say where all goes well.
GOOD = {
    "get_board_parts": "one",
    "get_property PROGRESS": "100%",
    "get_property SLACK": "0.012",
    "get_property DIRECTORY": "/runs",
}

# Scripts.


def test_build_script_of_vivado_runs():
    script = tcl.run(texts("kv260")["build.tcl"], GOOD)
    assert script.calls[-1][0] == "write_hw_platform"
    (created,) = script.of("create_project")
    assert created[0] == "trine_kv260" and "xck26-sfvc784-2LV-c" in created
    cells = {call[-1]: call for call in script.of("create_bd_cell")}
    assert cells["trine"][:4] == ("-type", "module", "-reference", vivado.NAMES.top)
    assert "make_bd_pins_external" not in {call[0] for call in script.calls}
    added = {word for call in script.of("add_files") for word in call}
    for name in ("overlay.v", f"{vivado.NAMES.top}.v", "timing.xdc"):
        assert any(name in word for word in added), name


def test_an_unmet_clock_is_an_error():
    with pytest.raises(AssertionError, match="did not finish: stopped"):
        tcl.run(
            texts("kv260")["build.tcl"],
            GOOD | {"get_property PROGRESS": "30%", "get_property STATUS": "stopped"},
        )
    with pytest.raises(AssertionError, match=r"300 MHz are not met: slack -0\.1"):
        tcl.run(texts("kv260")["build.tcl"], GOOD | {"get_property SLACK": "-0.1"})


def test_missing_board_files_are_named():
    with pytest.raises(AssertionError, match="no board files of xilinx"):
        tcl.run(texts("kv260")["build.tcl"], {"get_board_parts": ""})


def test_kernel_script_of_vitis_runs():
    script = tcl.run(texts("u280")["package_kernel.tcl"])
    assert script.calls[-1][0] == "package_xo"
    (packed,) = script.of("package_xo")
    assert packed[packed.index("-kernel_name") + 1] == vitis.KERNEL
    clocked = [call[call.index("-busif") + 1] for call in script.of("ipx::associate_bus_interfaces")
               if "-busif" in call]  # fmt: skip
    assert clocked == ["s_axi_control", *(f"m_axi_{i}" for i in range(4))]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("set a [create_project x", "missing close-bracket"),
        ("creat_project x", "invalid command name"),
        ("exec rm -rf /", "invalid command name"),
        ("set_property a $nothing", "no such variable"),
    ],
)
def test_the_script_check_can_fail(script: str, message: str):
    with pytest.raises(AssertionError, match=message):
        tcl.run(script)


def test_timing_constraints_are_tcl():
    script = tcl.run(texts("kv260")["timing.xdc"])
    assert [call[0] for call in script.calls] == ["get_pins", "get_clocks", "set_clock_uncertainty"]


# Ports against the RTL.


@pytest.mark.parametrize("board", BOARDS)
def test_the_shell_fits_the_machine(board: str, small_verilog: str):
    """Each port of the machine is connected, in its width, and nothing else is."""
    text = texts(board, SMALL)[f"rtl/{MAKERS[board].NAMES.top}.v"]
    wanted = ports(module(stub(modules(small_verilog)["overlay"]), "overlay"))
    inner = module(text, f"{MAKERS[board].NAMES.top}_pins")
    (machine,) = [wires for name, wires in instances(inner).values() if name == "overlay"]
    assert set(machine) == set(wanted)
    top = top_of(board, SMALL)
    fragment = {name: len(signal) for name, (signal, _) in top.pins.items()}
    assert wanted["read__ar__payload"] == ("output", 40 * SMALL.ports)
    assert wanted["read__r__payload"] == ("input", SMALL.ports * (fragment["m_axi_0_rdata"] + 3))
    assert wanted["write__w__payload"] == (
        "output", fragment["m_axi_0_wdata"] + fragment["m_axi_0_wstrb"] + 1,
    )  # fmt: skip
    assert wanted["csr__addr"] == ("input", 12)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("machine", [KV260, SMALL], ids=lambda one: one.name)
def test_every_pin_is_in_an_interface(board: str, machine):
    """The shell's ports are those of the list, with the widths of AXI, and each names its interface."""
    names, top = MAKERS[board].NAMES, top_of(board, machine)
    text = texts(board, machine)[f"rtl/{names.top}.v"]
    found = ports(module(text, names.top))
    way = {"i": "input", "o": "output"}
    assert found == {name: (way[d], len(signal)) for name, (signal, d) in top.pins.items()}
    assert all("X_INTERFACE_INFO" in top.attributes[name] for name in found)
    size = machine.bus_bytes // machine.ports
    for i in range(machine.ports):
        assert found[f"m_axi_{i}_araddr"] == ("output", names.address_bits)
        assert found[f"m_axi_{i}_rdata"] == ("input", 8 * size)
        assert (f"m_axi_{i}_awaddr" in found) == (i == 0)
    inner = found.keys() - {names.clock, names.reset, names.interrupt}
    prefixes = (names.control, *(f"m_axi_{i}" for i in range(machine.ports)))
    assert all(name.startswith(tuple(f"{prefix}_" for prefix in prefixes)) for name in inner)


def test_the_block_design_connects_every_interface():
    script = tcl.run(texts("kv260")["build.tcl"], GOOD)
    wires = " ".join(
        " ".join(call) for call in script.of("connect_bd_intf_net") + script.of("connect_bd_net")
    )
    top = top_of("kv260")
    interfaces = {text["X_INTERFACE_INFO"].split()[1] for text in top.attributes.values()}
    assert interfaces == {"aclk", "aresetn", "irq", "s_axil", "m_axi_0", "m_axi_1", "m_axi_2", "m_axi_3"}
    for name in interfaces:
        assert f"trine/{name}>" in wires, name
    switched_on = " ".join(" ".join(call) for call in script.of("set_property"))
    for i in range(4):
        assert f"<get_bd_intf_pins ps/S_AXI_HP{i}_FPD>" in wires
        assert f"CONFIG.PSU__USE__S_AXI_GP{2 + i} 1" in switched_on


# Addresses.


def test_addresses_of_kv260():
    """Tcl, address map and the width of the port agree."""
    script = tcl.run(texts("kv260")["build.tcl"], GOOD)
    place = AddressMap.from_json(json.loads(texts("kv260")["address_map.json"]))
    assigned = {call[call.index("-target_address_space") + 1]: call
                for call in script.of("assign_bd_address")}  # fmt: skip
    control = assigned["<get_bd_addr_spaces ps/Data>"]
    assert int(control[control.index("-offset") + 1], 16) == place.control == 0xA000_0000
    assert int(control[control.index("-range") + 1], 16) == place.control_size
    assert place.control_size == 1 << len(top_of("kv260").pins["s_axil_awaddr"][0])
    assert top_of("kv260").words * 4 <= place.control_size
    for i in range(4):
        memory = assigned[f"<get_bd_addr_spaces trine/m_axi_{i}>"]
        assert int(memory[memory.index("-offset") + 1], 16) == place.memory
        assert int(memory[memory.index("-range") + 1], 16) == place.memory_size <= 1 << 32
        assert memory[-1] == f"<get_bd_addr_segs ps/SAXIGP{2 + i}/HP{i}_DDR_LOW>"
    assert place.digest == KV260.digest()


def test_addresses_of_u280():
    """Kernel description, packaged registers, link configuration and host program agree."""
    found = texts("u280")
    root = ElementTree.fromstring(found["kernel.xml"].encode())
    declared = {port.get("name"): port.attrib for port in root.iter("port")}
    top = top_of("u280")
    assert set(declared) == {"s_axi_control", *(f"m_axi_{i}" for i in range(4))}
    assert int(declared["s_axi_control"]["range"], 16) == 1 << len(top.pins["s_axi_control_awaddr"][0])
    assert all(int(declared[f"m_axi_{i}"]["dataWidth"]) == 128 for i in range(4))
    offsets = {arg.get("name"): int(arg.get("offset", ""), 16) for arg in root.iter("arg")}
    assert offsets == {f"bank_{i}": RUNTIME_BANKS + 8 * i for i in range(vitis.BANKS)}
    assert max(offsets.values()) + 8 == 4 * top.words
    assert {arg.get("port") for arg in root.iter("arg")} == {f"m_axi_{i}" for i in range(4)}

    script = tcl.run(found["package_kernel.tcl"])
    places = {}
    for call in script.of("set_property"):
        if call[0] == "address_offset":
            places[call[2].split()[1]] = int(call[1], 16)
    assert {name: places.pop(name) for name in offsets} == offsets
    assert places == {name: 4 * CSR_INDEX[name] for name in ("CONTROL", "STATUS", "MEMORY_BASE")}

    assert [line for line in found["link.cfg"].splitlines() if line.startswith("sp=")] == [
        f"sp=trine_1.m_axi_{i}:HBM[0:{vitis.BANKS - 1}]" for i in range(4)
    ]
    place = AddressMap.from_json(json.loads(found["address_map.json"]))
    assert (place.banks, place.memory_size) == (vitis.BANKS, vitis.BANKS * U280_BANK)


@pytest.mark.parametrize("name", ["memory", "banks", "digest"])
def test_a_broken_address_map_is_refused(name: str):
    values = json.loads(texts("u280")["address_map.json"])
    del values[name]
    with pytest.raises(ValueError, match="wanted an address map"):
        AddressMap.from_json(values)


# The whole, and what is refused.


@pytest.mark.parametrize("board", BOARDS)
def test_a_project_is_written(board: str, tmp_path):
    one = find_board(board)
    written = PROJECTS[one.toolchain](one, SMALL, tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert "module overlay(" in (tmp_path / "rtl/overlay.v").read_text()


def test_more_ports_than_the_board_has_are_refused():
    machine = dataclasses.replace(CI, name="eight", ports=8, bus_bytes=32, burst_beats=16)
    with pytest.raises(BoardError, match="at most 4 memory ports, found 8"):
        texts("kv260", machine)
