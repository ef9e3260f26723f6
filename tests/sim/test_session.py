"""A session drives CSRs, sleeps through a run, and says plainly what went wrong."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sim.errors import SimulationError, SimulationTimeoutError
from sim.session import RtlSession

from .copier import ACKNOWLEDGE, BEATS, DOORBELL, SCRATCH, SOURCE, Fault, copy


@pytest.fixture
def session(simulator: Path) -> Iterator[RtlSession]:
    with RtlSession(simulator, 1 << 14) as opened:
        yield opened


def test_csr(session: RtlSession) -> None:
    session.write(SCRATCH, 0xDEADBEEF)
    session.write_all([(SOURCE, 64), (BEATS, 3)])
    assert [session.read(addr) for addr in (SCRATCH, SOURCE, BEATS)] == [0xDEADBEEF, 64, 3]


def test_runs_share_one_machine(session: RtlSession) -> None:
    """Memory written between runs is seen; counters and cycles are of one run each."""
    replies = []
    for value in (1, 2):
        session.memory[:256] = value
        replies.append(session.run(copy(32, 0, 4096), [DOORBELL, SCRATCH]))
        assert (session.memory[4096:4352] == value).all()
    assert [reply.dram.read_beats for reply in replies] == [32, 32]
    assert replies[0].reads == {DOORBELL: 2, SCRATCH: 0}


def test_pending_interrupt(session: RtlSession) -> None:
    session.run(copy(16, 0, 4096))
    with pytest.raises(SimulationError, match="interrupt is pending"):
        session.run([(DOORBELL, 1)])
    session.run([(ACKNOWLEDGE, 1), (DOORBELL, 1)])


def test_hang(session: RtlSession) -> None:
    """A hang is named, with the CSRs asked for; the session can still be asked more."""
    wanted = r"no interrupt within 5000 cycles.*CSR 0x005 = 0x00000001"
    with pytest.raises(SimulationTimeoutError, match=wanted) as info:
        session.run(copy(16, 0, 4096, Fault.HANG), [DOORBELL], max_cycles=5000)
    assert (info.value.cycles, info.value.reads) == (5000, {DOORBELL: 1})
    assert session.read(BEATS) == 16


def test_progress(simulator: Path) -> None:
    seen: list[int] = []
    with RtlSession(simulator, 1 << 14, progress=seen.append, report=1000) as session:
        reply = session.run(copy(1024, 0, 8192))
    assert seen == list(range(1000, reply.cycles, 1000))


def test_memory(simulator: Path) -> None:
    """Contents come from the seed or from the caller, who keeps his array."""
    given = np.arange(1024, dtype=np.uint32)
    with RtlSession(simulator, 4096, seed=5) as one, RtlSession(simulator, given, seed=6) as other:
        assert (one.memory == np.frombuffer(np.random.default_rng(5).bytes(4096), np.uint8)).all()
        assert (other.memory.view(np.uint32) == given).all()
        other.memory[:] = 0
    assert given[-1] == 1023
    assert (other.memory == 0).all()


def test_dead_simulator(session: RtlSession) -> None:
    assert session._process is not None
    session._process.kill()
    with pytest.raises(SimulationError, match="ended with exit code -9"):
        session.read(SCRATCH)
    with pytest.raises(SimulationError, match="has ended"):
        session.read(SCRATCH)
