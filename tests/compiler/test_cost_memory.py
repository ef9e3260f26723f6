"""Bursts computed in groups against the same bursts one by one."""

import pytest

from compiler import cost_memory
from compiler.cost_memory import Tape
from compiler.estimate import Token
from compiler.plan import plan_program
from compiler.timeline import Run, Timeline, decoded
from compiler.timeline_units import _turns
from hw.machine import CI, KV260, WIDE, MachineConfig
from models.shapes import SHAPES, Shape
from sim.ddr4 import DDR4_2400
from sim.dram import DDR3, IDEAL, DramParams
from sim.machine_grid import ROUGH, SLOW

SMALL = Shape("small", 128, 352, 3, 8, 4, 1024, 512)
MEMORIES = {"ddr3": DDR3, "ddr4": DDR4_2400, "ideal": IDEAL, "rough": ROUGH, "slow": SLOW}


def _step(machine: MachineConfig, memory: DramParams, prompt: bool, free: tuple[str, ...] = ()) -> Run:
    outline = SHAPES["bitnet-0.73b"].outline(1) if machine is KV260 else SMALL.outline()
    program = decoded(plan_program(outline, machine).program)
    timeline = Timeline(machine, memory.plain(machine), program, free)
    if prompt:
        return timeline.step([Token(1, i, 0, i > 0) for i in range(3 * machine.tile)], machine.tile)
    return timeline.step([Token(1, 200)])


@pytest.mark.parametrize("prompt", [False, True], ids=["decode", "prompt"])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("machine", [CI, WIDE, KV260], ids=lambda machine: machine.name)
def test_groups_are_as_single_bursts(
    machine: MachineConfig, memory: str, prompt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a per cent at most; every count is the same."""
    together = _step(machine, MEMORIES[memory], prompt)
    monkeypatch.setattr(cost_memory, "_PART", 1 << 20)
    assert Tape(machine, DDR3)._group == 1
    single = _step(machine, MEMORIES[memory], prompt)
    assert together.counters == single.counters and together.busy == single.busy
    assert together.cycles == pytest.approx(single.cycles, rel=0.005)
    assert together.starved == pytest.approx(single.starved, abs=0.01 * single.cycles)


def test_where_memory_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    together = _step(KV260, DDR3, False, ("memory",)).cycles
    monkeypatch.setattr(cost_memory, "_PART", 1 << 20)
    assert together == pytest.approx(_step(KV260, DDR3, False, ("memory",)).cycles, rel=0.001)


def test_a_group_is_a_small_part_of_the_fifo() -> None:
    """And no more than are in flight where waiting for those binds."""
    assert Tape(KV260, DDR3)._group == 64 and Tape(CI, DDR3)._group == 4
    assert Tape(KV260, SLOW)._group == KV260.outstanding and Tape(CI, SLOW)._group == 1


def test_a_long_run_alone() -> None:
    """Bus-bound: a beat a cycle, stretched, and the refreshes; a first burst's latency before it."""
    tape, size = Tape(KV260, DDR3), 1 << 22
    tape.append(0.0, 0, size)
    end, beats = tape.take(size, 1e9, 0.0), size / KV260.bus_bytes
    stretched = beats * 1024 / (1024 - DDR3.stall_r) * 780 / (780 - 40)
    assert end == pytest.approx(stretched, rel=0.002) and tape.beats == beats


def _lost(beats: int, spacing: int, turn: int) -> int:
    """Cycles that a burst of writes takes from reads that wait all the time: `debt` of `sim/dram.sv`."""
    debt = lost = written = 0
    writing, now = False, 0
    while written < beats or debt:
        issue, write = debt == 0, now % spacing == 0 and written < beats
        lost += not issue
        owed = debt - (debt > 0)
        if write:
            owed, written = owed + (1 if writing else 1 + turn), written + 1
            writing = True
        if issue:
            writing = write
        debt, now = owed, now + 1
    return lost


@pytest.mark.parametrize("spacing", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("turn", [0, 4, 6, 20])
def test_spaced_writes_turn_the_bus(spacing: int, turn: int) -> None:
    """STORE of binary32 gives a beat every few cycles: a word of the bus at a time."""
    beats = 32
    counted, estimated = _lost(beats, spacing, turn), beats + turn * _turns(beats, 1, spacing, turn)
    assert estimated == pytest.approx(counted, abs=turn + 1)
