"""``dram.sv`` moves the right bytes under every timing, and its timing is what its parameters say."""

from pathlib import Path

import pytest

from sim.dram import DDR3, IDEAL, DramParams, dram_ceiling
from sim.errors import SimulationError
from sim.session import RtlSession, RunReply

from .conftest import BUS_BYTES
from .copier import DOORBELL, Fault, copy

STALLS = DramParams(stall_r=300, stall_ar=700, stall_aw=500, stall_w=300)
#: Half the bytes are source, half are target.
MEMORY = 1 << 16
BEATS = MEMORY // 2 // BUS_BYTES


def copied(simulator: Path, params: DramParams, seed: int = 1, beats: int = BEATS) -> RunReply:
    """One copy of the lower half of memory to the upper; the bytes are checked."""
    with RtlSession(simulator, MEMORY, params, seed) as session:
        before = session.memory.copy()
        reply = session.run(copy(beats, 0, MEMORY // 2), [DOORBELL], max_cycles=40 * beats + 10_000)
        size = beats * BUS_BYTES
        assert (session.memory[MEMORY // 2 :][:size] == before[:size]).all()
        assert (session.memory[: MEMORY // 2] == before[: MEMORY // 2]).all()
        assert (session.memory[MEMORY // 2 + size :] == before[MEMORY // 2 + size :]).all()
    assert (reply.dram.read_beats, reply.dram.write_beats) == (beats, beats)
    assert reply.cycles >= reply.dram.busy_cycles >= 2 * beats
    return reply


@pytest.mark.parametrize(
    "params",
    [
        IDEAL,
        DramParams(latency=200, write_latency=150),
        STALLS,
        DramParams(refresh_every=100, refresh_cycles=30, turn=8),
        DDR3,
    ],
    ids=["ideal", "slow", "stalls", "refresh", "ddr3"],
)
def test_bytes(simulator: Path, params: DramParams) -> None:
    copied(simulator, params)


def test_same_seed_same_cycles(simulator: Path) -> None:
    first, again, other = (copied(simulator, STALLS, seed).cycles for seed in (3, 3, 4))
    assert first == again != other


def test_latency_is_exact(simulator: Path) -> None:
    """One burst each way: every cycle of latency shows once."""
    base = copied(simulator, IDEAL, beats=16).cycles
    assert copied(simulator, DramParams(latency=32, write_latency=2, turn=0), beats=16).cycles == base + 30
    assert copied(simulator, DramParams(latency=2, write_latency=43, turn=0), beats=16).cycles == base + 41


def test_writes_show_when_answered(simulator: Path) -> None:
    """A machine that interrupts before the last response is found out by its bytes."""
    with RtlSession(simulator, MEMORY, DramParams(write_latency=500)) as session:
        session.run(copy(16, 0, 4096, Fault.EARLY_INTERRUPT))
        assert (session.memory[4096:4224] != session.memory[:128]).any()


@pytest.mark.parametrize(
    ("params", "beats"),
    [
        (IDEAL, 1.0),
        (DramParams(latency=500), 1.0),
        (DramParams(latency=20, refresh_every=500, refresh_cycles=50), 0.9),
        (DramParams(stall_r=256), 0.75),
        (DramParams(latency=4000), 16 * 256 / (4000 + 256)),
    ],
    ids=["ideal", "hidden latency", "refresh", "stalls", "latency beyond 16 bursts"],
)
def test_ceiling(params: DramParams, beats: float) -> None:
    """The greedy reader loses what refresh and stalls take, and hides any latency that 16 bursts cover."""
    assert dram_ceiling(params, BUS_BYTES) == pytest.approx(beats, rel=0.01)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.AR_UNALIGNED, "AXI: AR: address 0x00000001 is not aligned to 8 bytes"),
        (Fault.AR_BOUNDARY, "AXI: AR: burst of 128 bytes at 0x00000ff8 crosses a 4 KiB boundary"),
        (Fault.AR_WITHDRAWN, "AXI: AR: valid was withdrawn"),
        (Fault.AR_UNSTABLE, "AXI: AR: payload changed"),
        (Fault.AW_UNALIGNED, "AXI: AW: address 0x00008001 is not aligned to 8 bytes"),
        (Fault.AW_BOUNDARY, "AXI: AW: burst of 128 bytes at 0x00008ff8 crosses a 4 KiB boundary"),
        (Fault.AW_WITHDRAWN, "AXI: AW: valid was withdrawn"),
        (Fault.AW_UNSTABLE, "AXI: AW: payload changed"),
        (Fault.W_EARLY_LAST, "AXI: W: last is 1 on beat 15 of 16"),
        (Fault.W_NO_LAST, "AXI: W: last is 0 on beat 16 of 16"),
        (Fault.W_WITHDRAWN, "AXI: W: valid was withdrawn"),
        (Fault.W_UNSTABLE, "AXI: W: payload changed"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_checker(simulator: Path, fault: Fault, message: str) -> None:
    with pytest.raises(SimulationError, match=message), RtlSession(simulator, MEMORY, STALLS) as session:
        session.run(copy(64, 0, MEMORY // 2, fault), max_cycles=10_000)


@pytest.mark.parametrize(("source", "target", "verb"), [(MEMORY, 0, "read"), (0, MEMORY, "write")])
def test_outside(simulator: Path, source: int, target: int, verb: str) -> None:
    wanted = f"DRAM: {verb} at 0x00010000, beyond the memory of 65536 bytes"
    with pytest.raises(SimulationError, match=wanted), RtlSession(simulator, MEMORY) as session:
        session.run(copy(16, source, target))


@pytest.mark.parametrize(
    "wrong",
    [{"latency": 1}, {"stall_r": 1024}, {"turn": -1}, {"refresh_every": 10, "refresh_cycles": 10}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_refused_parameters(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"DRAM parameter .* must be .* found"):
        DramParams(**wrong)
