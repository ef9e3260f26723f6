"""The event log: what a simulator writes, and what the comparison says about logs with something wrong."""

from pathlib import Path

import numpy as np
import pytest

from hw.isa import Unit
from hw.machine import CI
from sim.errors import SimulationError
from sim.session import RtlSession
from sim.trace_compare import Record, Recorder, TraceCompare
from sim.trace_log import Layout
from sim.trace_module import traced_verilog
from sim.trace_ports import DONE, UNITS, Hook, Table, dram_hook, machine_table
from sim.verilate import build

from .conftest import BUS_BYTES
from .copier import Copier, copy

LAYOUT = Layout.load(machine_table(CI).layout)
KINDS = {kind.memory: i for i, kind in enumerate(LAYOUT.kinds)}


class Log:
    """A log made by hand."""

    def __init__(self) -> None:
        self.events: list[np.ndarray] = []

    def write(self, memory: str, first: int, values: list[int], token: int = 0) -> None:
        """The write of a lane's or a word's elements, in a cycle of its own."""
        kind = LAYOUT.kinds[KINDS[memory]]
        data = np.zeros(kind.elements, kind.dtype)
        data[: len(values)] = values
        parts = [data.view(np.uint8)]
        if kind.strobes:
            parts.append(np.packbits([i < len(values) for i in range(kind.elements)], bitorder="little"))
        self._event(KINDS[memory], first, token, np.concatenate(parts))

    def done(self, unit: Unit) -> None:
        self._event(DONE + UNITS.index(unit), 0, 0, np.zeros(0, np.uint8))

    def _event(self, kind: int, address: int, token: int, data: np.ndarray) -> None:
        event = np.zeros(1, LAYOUT.event)
        for name, value in (
            ("cycle", len(self.events)),
            ("address", address),
            ("kind", kind),
            ("token", token),
        ):
            event[name] = value
        event["data"][0, : len(data)] = data
        self.events.append(event)

    def against(self, *records: Record) -> str:
        """What the comparison says."""
        return str(TraceCompare(LAYOUT).run(np.concatenate(self.events), records))


def record(
    name: str, memory: str, token: int | None, first: int, values: list[int], index: int = 0, layer: int = 0
) -> Record:
    """An instruction that writes one range."""
    return Record(index, name, {}, layer, 8, 0, [(memory, token, first, np.array(values))])


def sums(first: int, values: list[int], token: int = 0, index: int = 0) -> Record:
    return record("MATMUL", "ACC", token, first, values, index)


def test_same() -> None:
    """Units interleave, a sum is written more than once, negative numbers are compared by their bits."""
    log = Log()
    log.write("ACC", 4, [1])
    log.write("Q", 16, [0xFFFF, 0, 1, 2], token=2)
    log.write("ACC", 4, [2**32 - 3])
    log.done(Unit.VECTOR)
    log.write("MEMORY", 4096, [1, 2, 3, 4, 5, 6, 7, 8])
    log.write("MEMORY", 4104, [9, 10])
    log.done(Unit.STORE)
    log.done(Unit.MATMUL)
    log.done(Unit.ATTENTION)
    records = [
        Record(0, "FETCH", {}, 0, 0, 0, []),
        sums(4, [-3]),
        record("QUANTISE", "Q", 2, 16, [-1, 0, 1, 2]),
        Record(3, "ATTEND", {}, 0, 0, 0, []),
        record("STORE", "MEMORY", None, 4096, list(range(1, 11))),
    ]
    assert log.against(*records) == "None"


def test_wrong_bit() -> None:
    """The first in order of time is named, though it is later in the program and in the list of writes."""
    log = Log()
    log.write("ACT", 64, [7, 8, 9, 0x3F800001], token=1)
    log.done(Unit.VECTOR)
    log.write("ACC", 0, [5])
    log.done(Unit.MATMUL)
    wanted = record("MAP", "ACT", 1, 64, [7, 8, 9, 0x3F800000], index=9, layer=3)
    assert log.against(sums(0, [4]), wanted) == (
        "instruction 9 (MAP), layer 3, tile at entry 8: ACT[67] of token 1: wanted 0x3f800000, "
        "found 0x3f800001 (cycle 1)"
    )


def test_common_memory() -> None:
    log = Log()
    log.write("CONST", 8, [1, 2, 3, 4])
    log.done(Unit.VECTOR)
    wanted = record("MAP", "CONST", None, 8, [1, 2, 3, 5])
    assert "CONST[11]: wanted 0x5, found 0x4 (cycle 1)" in log.against(wanted)


@pytest.mark.parametrize("before", [False, True])
def test_missing_write(before: bool) -> None:
    """Never written, or last by an instruction well before, with the very bits."""
    log, records = Log(), []
    if before:
        log.write("ACC", 1, [6])
        log.done(Unit.MATMUL)
        records.append(sums(1, [6]))
        for i in range(3):
            log.write("ACC", 2 + i, [0])
            log.done(Unit.MATMUL)
            records.append(sums(2 + i, [0]))
    log.write("ACC", 0, [5])
    log.done(Unit.MATMUL)
    assert "ACC[1] of token 0: wanted 0x6, found no write" in log.against(*records, sums(0, [5, 6], index=7))


def test_write_begins_early() -> None:
    """The next instruction of a unit may write before the one before it is done."""
    log = Log()
    log.write("ACC", 0, [5])
    log.write("ACC", 1, [6])
    log.done(Unit.MATMUL)
    log.done(Unit.MATMUL)
    assert log.against(sums(0, [5]), sums(1, [6])) == "None"


@pytest.mark.parametrize(("first", "token"), [(1, 0), (0, 1)])
def test_stray_write(first: int, token: int) -> None:
    """A write that no instruction under way makes: another element, another token."""
    log = Log()
    log.write("ACC", 0, [5])
    log.write("ACC", first, [6], token)
    log.done(Unit.MATMUL)
    wanted = f"instruction 4 (MATMUL), layer 0, tile at entry 8: ACC[{first}] of token {token}: "
    assert log.against(sums(0, [5], index=4)) == f"{wanted}wanted no write, found 0x6 (cycle 1)"


def test_stray_write_at_the_end() -> None:
    log = Log()
    log.done(Unit.MATMUL)
    log.write("ACC", 3, [6])
    found = log.against(Record(0, "HEAD", {}, 0, 0, 0, []))
    assert found == "unit MATMUL: ACC[3] of token 0: wanted no write, found 0x6 (cycle 1)"


def test_extra_done() -> None:
    log = Log()
    log.done(Unit.STORE)
    assert (
        log.against() == "unit STORE in cycle 0: done, but every instruction of the program was done before"
    )


def test_unfinished() -> None:
    log = Log()
    log.done(Unit.ATTENTION)
    records = [Record(i, name, {}, 1, 2, 0, []) for i, name in enumerate(("ATTEND", "LOOP", "NORM", "STORE"))]
    assert log.against(*records) == (
        "instruction 2 (NORM), layer 1, tile at entry 2: executed by the interpreter, never done"
    )


def test_addresses_wrap() -> None:
    """Elements beyond a memory, as the machine takes them."""
    log = Log()
    log.write("SCALAR", 2, [7])
    log.done(Unit.VECTOR)
    assert log.against(record("NORM", "SCALAR", None, 130, [7])) == "None"


def test_memories_stay() -> None:
    """Contents pass from run to run."""
    compare = TraceCompare(LAYOUT)
    for value in (5, 6):
        log = Log()
        log.write("ACC", 0, [value])
        log.done(Unit.MATMUL)
        assert compare.run(np.concatenate(log.events), [sums(0, [value])]) is None


def test_json() -> None:
    log = Log()
    log.done(Unit.MATMUL)
    wrong = TraceCompare(LAYOUT).run(np.concatenate(log.events), [sums(3, [1], 2)])
    assert wrong is not None
    found = wrong.to_json()
    assert [found[name] for name in ("what", "unit", "memory", "element", "token", "wanted", "found")] == [
        "missing", "MATMUL", "ACC", 3, 2, 1, None,
    ]  # fmt: skip


def test_recorder() -> None:
    recorder = Recorder()
    recorder(3, "END", {"opcode": 0}, 1, 2, 0, [])
    assert recorder.take() == [Record(3, "END", {"opcode": 0}, 1, 2, 0, [])]
    assert recorder.take() == []


@pytest.mark.parametrize(
    ("component", "en", "message"),
    [
        ("", "irq & tick", r"wanted tick in the overlay \(Copier\), found no tick"),
        ("data", "level.bits", "wanted level.bits in data .SyncFIFOBuffered., found no bits"),
        ("vector.memory", "en", "wanted component vector.memory, found no vector"),
    ],
)
def test_hook_without_signal(component: str, en: str, message: str) -> None:
    """A hook that the hardware has outgrown says what it misses."""
    table = Table([Hook("ACT", component, en, "0", "0", 32)], {}, {"ACT": 1})
    with pytest.raises(LookupError, match=message):
        traced_verilog(Copier(BUS_BYTES), table)


@pytest.fixture(scope="module")
def traced() -> Path:
    """The copier's simulator with a log of its writes, of what its FIFO takes and of its interrupts."""
    fifo = Hook("Q", "data", "w_en & w_rdy", "level", "w_data", 64)
    dones = {Unit.STORE: ("", "irq")}
    table = Table([dram_hook(BUS_BYTES), fifo], dones, {"MEMORY": 0, "Q": 256})
    return build(traced_verilog(Copier(BUS_BYTES), table), BUS_BYTES)


def test_log(traced: Path) -> None:
    """All writes in order of cycles, run by run."""
    with RtlSession(traced, 1 << 14, trace=True) as session:
        assert session.trace is not None
        assert len(session.trace.take()) == 0
        first = 0
        for beats in (32, 48):
            reply = session.run(copy(beats, 0, 4096))
            events = session.trace.take()
            cycle, kind = events["cycle"], events["kind"]
            assert (cycle[:-1] <= cycle[1:]).all()
            assert ((cycle > first) & (cycle < first + reply.cycles))[kind < DONE].all()
            assert set(cycle[kind >= DONE]) <= {first, first + reply.cycles}
            size = BUS_BYTES * beats
            for number in range(2):
                chosen = events["data"][kind == number][:, :BUS_BYTES]
                assert (chosen.reshape(-1) == session.memory[:size]).all()
            stored = events[kind == 0]
            assert (stored["address"] == 4096 + BUS_BYTES * np.arange(beats)).all()
            assert (stored["data"][:, BUS_BYTES] == 0xFF).all()
            first += reply.cycles


def test_log_only_where_asked_for(traced: Path, simulator: Path) -> None:
    with RtlSession(traced, 1 << 14) as session:
        session.run(copy(16, 0, 4096))
        assert session.trace is None
    with pytest.raises(SimulationError, match=r"wanted a simulator of sim\.verilate\.build_overlay"):
        RtlSession(simulator, 1 << 14, trace=True)
