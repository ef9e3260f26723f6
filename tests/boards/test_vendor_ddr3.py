# amaranth: UnusedElaboratable=no
"""The project around LiteDRAM: ports against the core's, a place for every pin, and the memory's set-up."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth.sim import Simulator

from boards.board import BoardError, find_board
from boards.ecpix5 import pins
from boards.runtime.ddr3 import Ddr3Core, Lane, set_up
from boards.runtime.session import DeviceError
from boards.vendor import litex, wishbone
from hw.machine import CI

from .ddr3_core import CSR_CSV, PHY_HEADER, FakeCore
from .verilog_ports import instances, module, ports

#: Ports of the core that litedram 2024.12 makes from our configuration (its Verilog's header).
RECORD = json.loads((Path(__file__).parent / "litedram_core.json").read_text())["ports"]
#: Cells of the FPGA drive these from both sides; the generator writes them as inputs (`build.sh` mends it).
BOTH_WAYS = {"ddram_dq", "ddram_dqs_p", "ddram_dqs_n", "ddram_clk_n"}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    board = find_board("ecpix5")
    parts = litex.Ddr3Board("MT41K256M16", 2, 100.0, pins())
    assert board.machine is not None
    return litex.texts(board, parts, litex.machine_top(board, board.machine), "")


def test_the_shell_fits_the_core(files: dict[str, str]):
    """Every port of the core has a wire of its width; those left open are the memory's that no pin has."""
    top = module(files[f"rtl/{litex.TOP}.v"], litex.TOP)
    (wires,) = [wires for name, wires in instances(top).values() if name == litex.CORE]
    assert set(wires) <= set(RECORD)
    assert set(RECORD) - set(wires) == {"ddram_clk_n", "ddram_cs_n", "ddram_dqs_n", "ddram_reset_n"}
    declared = {item.name: item for entry in top.items for item in getattr(entry, "list", ())}
    outer = ports(top)
    for name, (way, width) in RECORD.items():
        if name in outer:
            assert outer[name] == ("inout" if name in BOTH_WAYS else way, width), name
        elif name.startswith(("user_port", "wb_ctrl")) and name in declared:
            bits = declared[name].width
            assert width == (1 if bits is None else int(bits.msb.value) + 1), name
    machine = {wire for name, wires in instances(top).values() if name == litex.MACHINE
               for wire in (getattr(one, "name", None) for one in wires.values())}  # fmt: skip
    driven = {name for name in RECORD if name.startswith(("user_port", "wb_ctrl"))}
    assert driven - {"wb_ctrl_bte", "wb_ctrl_cti"} <= machine


def test_every_pin_has_its_place(files: dict[str, str]):
    top = ports(module(files[f"rtl/{litex.TOP}.v"], litex.TOP))
    bits = {name if width == 1 else f"{name}[{i}]" for name, (_, width) in top.items() for i in range(width)}
    placed = dict(re.findall(r'^LOCATE COMP "(\S+)" SITE "(\w+)";$', files["pins.lpf"], re.M))
    standards = dict(re.findall(r'^IOBUF PORT "(\S+)" IO_TYPE=(\w+)', files["pins.lpf"], re.M))
    assert set(placed) == bits == set(standards)
    assert len(set(placed.values())) == len(placed)
    assert standards["ddram_dq[0]"] == "SSTL15_I" and standards["ddram_dqs_p[1]"] == "SSTL15D_I"
    assert 'FREQUENCY PORT "clk" 100 MHZ;' in files["pins.lpf"]


@pytest.mark.skipif(shutil.which("litedram_gen") is None, reason="SKIPPED ALOUD: litedram is not installed")
def test_the_generator_still_makes_this_core(files: dict[str, str], tmp_path: Path):
    (tmp_path / "core.yml").write_text(files["core.yml"])
    command = ["litedram_gen", "--name", litex.CORE, "--output-dir", "core", "--no-compile", "core.yml"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / f"core/gateware/{litex.CORE}.v").read_text()
    found = ports(module(text[: text.index(");") + 2] + "\nendmodule\n", litex.CORE))
    assert found == {name: tuple(port) for name, port in RECORD.items()}


def test_a_wider_bus_is_refused():
    with pytest.raises(BoardError, match="wanted a bus of 4 bytes and one port, found 8"):
        litex.machine_top(find_board("ecpix5"), CI)


# The mailbox, on a bus with random waiting.


@pytest.mark.parametrize("stall", [0.0, 0.8])
def test_the_mailbox_reaches_the_bus(stall: float):
    dut, rng = wishbone.WishboneMailbox(), random.Random(7)
    memory, log = {}, []

    async def subordinate(ctx):
        local = random.Random(8)
        while True:
            *_, cyc, stb, we, at, word, sel = await ctx.tick().sample(
                dut.bus.cyc, dut.bus.stb, dut.bus.we, dut.bus.adr, dut.bus.dat_w, dut.bus.sel
            )
            ctx.set(dut.bus.ack, 0)
            ctx.set(dut.bus.err, 0)
            if cyc and stb and not ctx.get(dut.bus.ack) and local.random() >= stall:
                assert sel == 0b1111
                log.append((we, at))
                ctx.set(dut.bus.err if at == 99 else dut.bus.ack, 1)
                if we:
                    memory[at] = word
                else:
                    ctx.set(dut.bus.dat_r, memory.get(at, 0))
                await ctx.tick()
                ctx.set(dut.bus.ack, 0)
                ctx.set(dut.bus.err, 0)

    async def bench(ctx):
        async def write(index, value):
            ctx.set(dut.csr.addr, 0x800 + index)
            ctx.set(dut.csr.wdata, value)
            ctx.set(dut.csr.write, 1)
            await ctx.tick()
            ctx.set(dut.csr.write, 0)

        async def read(index):
            ctx.set(dut.csr.addr, 0x800 + index)
            await ctx.tick()
            return ctx.get(dut.csr.rdata)

        async def ended():
            while (status := await read(wishbone.STATUS)) & wishbone.BUSY:
                pass
            return status

        held = {}
        for _ in range(60):
            at, value = rng.randrange(8), rng.getrandbits(32)
            await write(wishbone.ADDRESS, 4 * at)
            if rng.random() < 0.5:
                await write(wishbone.DATA, value)
                held[at] = value
                assert await ended() == 0
            else:
                await write(wishbone.READ, 0)
                assert await ended() == 0
                assert await read(wishbone.DATA) == held.get(at, 0)
        assert len(log) == 60
        await write(wishbone.ADDRESS, 4 * 99)
        await write(wishbone.READ, 0)
        assert await ended() == wishbone.FAILED
        await write(wishbone.ADDRESS, 0)
        assert await ended() == 0

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(subordinate, background=True)
    sim.add_testbench(bench)
    sim.run()


# The memory's set-up.


def test_each_lane_is_calibrated():
    fake = FakeCore([(1, range(2, 7)), (3, range(0, 2))])
    lanes = set_up(Ddr3Core.parse(CSR_CSV, PHY_HEADER), fake.read, fake.write, fake.wait, 75.0)
    assert lanes == [Lane(1, 4, 5), Lane(3, 0, 2)]
    assert (fake.slip, fake.delay) == ([1, 3], [4, 0])
    assert fake.modes == {2: 0x208, 0: 0x320}
    assert fake.words[0x1100] == 1 and fake.words[0x100] == 1 and fake.words[0x104] == 0
    assert fake.waited == pytest.approx((50000 + 10000 + 200) / 75e6)


def test_the_bus_through_the_mailbox():
    """Reads and writes by byte address, over a link whose accesses are slow; an error of the bus is said."""
    memory, state, busy = {}, {"address": 0, "data": 0, "failed": 0}, [0]

    def csr(accesses):
        found = []
        for index, value in accesses:
            what = index - 0x800
            if value is None:
                if what == wishbone.STATUS:
                    busy[0] -= busy[0] > 0
                    found.append((busy[0] > 0) * wishbone.BUSY | state["failed"] * wishbone.FAILED)
                else:
                    assert what == wishbone.DATA and not busy[0]
                    found.append(state["data"])
                continue
            assert not busy[0]
            if what == wishbone.ADDRESS:
                state.update(address=value, failed=0)
            else:
                busy[0] = 4
                state["failed"] = int(state["address"] >= 64)
                if what == wishbone.DATA:
                    memory[state["address"]] = value
                else:
                    state["data"] = memory.get(state["address"], 0)
        return found

    read, write = wishbone.registers_by(csr)
    write(8, 1234)
    write(12, 99)
    assert (read(8), read(12), read(16)) == (1234, 99, 0)
    with pytest.raises(OSError, match=r"answered .* with an error"):
        read(64)
    assert read(8) == 1234


def test_a_bus_that_never_answers_is_given_up():
    read, write = wishbone.registers_by(lambda accesses: [wishbone.BUSY], patience=0.05)
    for access in (lambda: read(8), lambda: write(8, 1)):
        with pytest.raises(TimeoutError, match=r"within 0.05 s, found none; reset"):
            access()


def test_a_lane_that_never_works():
    fake = FakeCore([(1, range(2, 7)), (3, range(0, 0))])
    with pytest.raises(DeviceError, match="byte lane 1 brings nothing back"):
        set_up(Ddr3Core.parse(CSR_CSV, PHY_HEADER), fake.read, fake.write, fake.wait)
    assert fake.words[0x104] == 1 and fake.words[0x100] == 0


def test_files_that_are_not_a_core():
    with pytest.raises(DeviceError, match="found no order of commands"):
        Ddr3Core.parse(CSR_CSV, "")
