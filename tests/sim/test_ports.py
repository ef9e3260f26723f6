"""Several AXI ports before one memory: ``axi_ports.sv``, `hw.port_stripe`, any timing, the same bytes."""

import dataclasses
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi4 import ReadPorts, WritePort
from hw.machine import CI
from hw.port_stripe import PortStripe
from sim.ddr4 import Ddr4Params
from sim.dram import IDEAL, DramParams
from sim.errors import SimulationError
from sim.session import RtlSession
from sim.verilate import build

from .copier import Copier, Fault, copy
from .test_dram import STALLS

CONFIG = dataclasses.replace(CI, bus_bytes=32, ports=4, burst_beats=8, outstanding=8)
MEMORY = 1 << 16
BEATS = MEMORY // 2 // CONFIG.bus_bytes


class StripedCopier(wiring.Component):
    """A `Copier` of wide beats behind a `PortStripe`."""

    def __init__(self) -> None:
        self.copier = Copier(CONFIG.bus_bytes, CONFIG.burst_beats)
        narrow = CONFIG.bus_bytes // CONFIG.ports
        super().__init__({
            "read": Out(ReadPorts(CONFIG.ports, narrow)),
            "write": Out(WritePort(narrow)),
            "csr": In(self.copier.csr.signature.flip()),
            "irq": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.copier = copier = self.copier
        m.submodules.stripe = stripe = PortStripe(CONFIG)
        connect(m, copier.read, stripe.read)
        connect(m, copier.write, stripe.write)
        connect(m, stripe.reads, flipped(self.read))
        connect(m, stripe.writes, flipped(self.write))
        connect(m, flipped(self.csr), copier.csr)
        m.d.comb += self.irq.eq(copier.irq)
        return m


@pytest.fixture(scope="module")
def striped() -> Path:
    text = verilog.convert(StripedCopier(), name="overlay", emit_src=False)
    return build(text, CONFIG.bus_bytes, ports=CONFIG.ports)


@pytest.mark.parametrize(
    "params",
    [IDEAL, STALLS, DramParams(stall_aw=1000),
     DramParams(latency=150, write_latency=100, refresh_every=100, refresh_cycles=30),
     Ddr4Params(clock_khz=300_000)],
    ids=["ideal", "stalls", "late write addresses", "slow", "ddr4"],
)  # fmt: skip
def test_bytes(striped: Path, params: DramParams) -> None:
    with RtlSession(striped, MEMORY, params, 3) as session:
        before = session.memory.copy()
        reply = session.run(copy(BEATS, 0, MEMORY // 2), max_cycles=100 * BEATS + 10_000)
        assert (session.memory[MEMORY // 2 :] == before[: MEMORY // 2]).all()
        assert (session.memory[: MEMORY // 2] == before[: MEMORY // 2]).all()
    assert (reply.dram.read_beats, reply.dram.write_beats) == (BEATS, BEATS)
    assert reply.cycles >= BEATS * CONFIG.ports, "one port writes"


@pytest.mark.parametrize(
    ("fault", "rule"),
    [(Fault.AR_UNALIGNED, "not aligned"), (Fault.AR_BOUNDARY, "4 KiB"),
     (Fault.AW_UNALIGNED, "not (aligned|whole)"),
     (Fault.W_EARLY_LAST, "W: last"), (Fault.AR_WITHDRAWN, "AR: valid was withdrawn")],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_each_port_is_checked(striped: Path, fault: Fault, rule: str) -> None:
    with (
        RtlSession(striped, MEMORY, STALLS, 3) as session,
        pytest.raises(SimulationError, match=rule),
    ):
        session.run(copy(BEATS, 0, MEMORY // 2, fault), max_cycles=100 * BEATS)
