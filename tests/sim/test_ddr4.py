"""The DDR4 model behind ``dram.sv``: bytes, ceiling, turns, refreshes, and a checker that sees every rule."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from hw.machine import CI, MACHINES
from sim.ddr4 import DDR4_2400, RULES, Burst, Ddr4Params, play
from sim.dram import DDR3, IDEAL, DramParams, dram_ceiling
from sim.errors import SimulationError
from sim.session import RtlSession

from .conftest import BUS_BYTES
from .copier import DOORBELL, copy

#: The bus has the memory's own peak of 19.2 GB/s: the KV260's 64 bytes at 300 MHz, 8 bytes at 2.4 GHz.
KV260 = dataclasses.replace(DDR4_2400, clock_khz=300_000)
PEAK8 = dataclasses.replace(DDR4_2400, clock_khz=2_400_000)


def in_order(total: int, bus: int = 64, write: bool = False) -> list[Burst]:
    beats = min(256, 4096 // bus)
    return [Burst(addr, beats, write) for addr in range(0, total, beats * bus)]


def at_random(seed: int, count: int, bus: int, pages: int = 4096, writes: float = 0.4) -> list[Burst]:
    """Bursts of all lengths, two thirds of them short, most of them in few pages, so that they meet."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        most = 4096 // bus if random.random() < 0.3 else 4
        beats = int(random.integers(1, min(most, 256) + 1))
        page = int(random.integers(pages if random.random() < 0.5 else 8))
        addr = page * 4096 + int(random.integers(4096 // bus - beats + 1)) * bus
        found.append(Burst(addr, beats, bool(random.random() < writes)))
    return found


def test_rules_are_those_of_the_standard() -> None:
    """JESD79-4B's nanoseconds and clocks for DDR4-2400T, 8 Gbit, pages of 2 KB, in clocks of 5/6 ns."""
    least = {  # clocks, nanoseconds
        "tCL": (17, 0), "tCWL": (12, 0), "tRCD": (0, 14.16), "tRP": (0, 14.16), "tRAS": (0, 32),
        "tRC": (0, 46.16), "tCCD_S": (4, 0), "tCCD_L": (5, 5), "tRRD_S": (4, 5.3), "tRRD_L": (4, 6.4),
        "tFAW": (28, 30), "tWTR_S": (2, 2.5), "tWTR_L": (4, 7.5), "tRTP": (4, 7.5), "tWR": (0, 15),
        "tRFC": (0, 350),
    }  # fmt: skip
    wanted = {name: max(clocks, math.ceil(time * 1.2 - 1e-9)) for name, (clocks, time) in least.items()}
    assert {name: getattr(DDR4_2400, name) for name in RULES} == wanted | {"tREFI": 7800 * 12 // 10}
    devices = DDR4_2400
    assert devices.groups * devices.banks * devices.rows * devices.columns * 8 == 4 << 30


def test_ceiling_in_order() -> None:
    """At least 0.92 of the peak; what is lost is refresh: closing, tRFC, opening."""
    found = play(KV260, 64, in_order(8 << 20))
    assert (found.read_beats, found.reads, found.turns) == (1 << 17, 1 << 17, 0)
    assert 0.945 < found.read_beats / found.cycles < 1 - 350 / 7800
    assert found.read_beats / found.cycles > 0.92
    assert found.activates < 0.02 * found.reads
    assert found.refreshes == found.clocks // 9360


def test_ceiling_of_a_reader() -> None:
    """The greedy reader of the ceiling bench; a bus slower than the memory gets all it can take."""
    assert PEAK8.peak(BUS_BYTES) == 1
    assert 0.94 < dram_ceiling(PEAK8, BUS_BYTES) < 0.956
    slow = DDR4_2400.at(CI)
    assert (slow.clock_khz, slow.peak(BUS_BYTES)) == (100_000, 1.0)
    assert dram_ceiling(slow, BUS_BYTES) == 1
    fast = dataclasses.replace(DDR4_2400, clock_khz=4_800_000)
    assert fast.peak(BUS_BYTES) == 0.5
    assert 0.47 < dram_ceiling(fast, BUS_BYTES) < 0.478


def test_bank_groups() -> None:
    """With the group above the column, reads in order are tCCD_L apart: 4 of 6 clocks."""
    far = dataclasses.replace(KV260, order="grbc")
    found = play(far, 64, in_order(2 << 20))
    assert 0.60 < found.read_beats / found.cycles < 4 / 6


def test_old_model_is_untouched() -> None:
    """To the cycle what the plain model gave before there was another."""
    found = play(DDR3, BUS_BYTES, in_order(1 << 20, BUS_BYTES))
    assert (found.cycles, found.reads) == (142_193, 0)
    mixed = [Burst(7 * 2048 * i % (1 << 20), 16, i % 3 == 1) for i in range(512)]
    assert play(DDR3, BUS_BYTES, mixed).cycles == 9867
    assert dram_ceiling(DDR3, BUS_BYTES) == 0.921395


@pytest.mark.parametrize("bus", [8, 64])
@pytest.mark.parametrize(
    "params",
    [
        KV260,
        dataclasses.replace(KV260, stall_r=300, stall_ar=300, stall_aw=300, stall_w=300, clock_khz=100_000),
        dataclasses.replace(KV260, drain_at=2, drain_to=1, write_queue=3, read_queue=2, idle_clocks=0),
        dataclasses.replace(
            KV260, tREFI=1000, refresh_batch=8, order="rcbg", groups=4, columns=64, rows=8192
        ),
        dataclasses.replace(KV260, order="cgrb", groups=1, banks=1, latency=2, write_latency=2),
        IDEAL,
    ],
    ids=["kv260", "stalls", "short queues", "refreshes", "one bank", "plain"],
)
def test_bytes(params: DramParams, bus: int) -> None:
    """Random bursts that meet, reads and writes, against a plain memory."""
    bursts = at_random(bus, 1200, bus)
    found = play(params, bus, bursts, hold=200)
    assert found.read_beats == sum(burst.beats for burst in bursts if not burst.write)
    assert found.write_beats == sum(burst.beats for burst in bursts if burst.write)
    if isinstance(params, Ddr4Params):
        assert found.clocks // params.tREFI - found.refreshes in range(params.refresh_batch + 1)


#: 512 bytes read, 64 written, and so on.
ALTERNATING = [
    burst for i in range(2000) for burst in (Burst(512 * i, 8), Burst((64 << 20) + 64 * i, 1, write=True))
]


def test_turns_are_few() -> None:
    """Writes are drained in batches: a turn to them serves nearly as many as began it, and that pays."""
    found = [
        play(dataclasses.replace(KV260, drain_at=count, drain_to=1), 64, ALTERNATING, size=128 << 20)
        for count in (2, 16, 48)
    ]
    for count, one in zip((2, 16, 48), found, strict=True):
        assert one.writes + count > 1990
        assert one.turns < 2 * 2000 / (count - 1)
    assert found[0].turns > 10 * found[1].turns > 20 * found[2].turns
    assert found[0].cycles > 1.5 * found[1].cycles > 1.5 * found[2].cycles


def test_turn_costs_what_the_rules_say() -> None:
    """With tWTR at 100 clocks each turn to reads is some 91 to 97 longer, 23 to 24 cycles of the machine."""
    near = dataclasses.replace(KV260, drain_at=16, drain_to=1)
    far = dataclasses.replace(near, tWTR_S=100, tWTR_L=100)
    quick, late = (play(params, 64, ALTERNATING, size=128 << 20) for params in (near, far))
    assert 15 < (late.cycles - quick.cycles) / (late.turns / 2) < 24.5


def test_idle_memory_refreshes() -> None:
    """A manager that seldom asks: refreshes go on, all due, none early."""
    params = dataclasses.replace(KV260, latency=20_000)
    found = play(params, 64, [Burst(0, 1), Burst(0, 1, True), Burst(0, 1)])
    assert found.clocks > 2 * 80_000
    assert found.refreshes == found.clocks // 9360


#: Settings in which a rule is the one that binds.
BINDING = {"tRC": {"tRC": 70}, "tRFC": {"tREFI": 2000}, "tREFI": {"tREFI": 1000}}


@pytest.mark.parametrize("rule", RULES)
def test_checker_sees(rule: str) -> None:
    """A controller that takes a rule a clock too short (the refresh interval: half too long) is found out."""
    params = dataclasses.replace(KV260, **BINDING.get(rule, {}))
    wrong = 1500 if rule == "tREFI" else getattr(params, rule) - 1
    # A shorter write latency shows where write data is thought to end.
    message = r"DDR4: (tWR|tWTR)" if rule == "tCWL" else rf"DDR4: {rule}\b"
    with pytest.raises(SimulationError, match=message):
        play(params, 64, TRAFFIC, controller={rule: wrong})


TRAFFIC = [
    Burst(burst.addr, min(burst.beats, 32), burst.write) for burst in at_random(1, 1500, 64, pages=4096)
]


def test_honest_controller() -> None:
    """The same traffic and the same settings without the lie."""
    for changes in ({}, *BINDING.values()):
        play(dataclasses.replace(KV260, **changes), 64, TRAFFIC)


def test_copier(simulator: Path) -> None:
    """A machine runs on it as on the plain model, with an event of every kind behind its back."""
    beats = 1024
    with RtlSession(simulator, 1 << 16, DDR4_2400.at(CI), 3) as session:
        before = session.memory.copy()
        reply = session.run(copy(beats, 0, 1 << 15), [DOORBELL], max_cycles=100_000)
        assert (session.memory[1 << 15 :][: beats * BUS_BYTES] == before[: beats * BUS_BYTES]).all()
    assert (reply.dram.read_beats, reply.dram.write_beats) == (beats, beats)
    assert 0 < reply.dram.busy_cycles < reply.cycles


@pytest.mark.parametrize(
    "wrong",
    [{"latency": 1}, {"stall_r": 1024}, {"turn": 1}, {"refresh_every": 100}, {"tRCD": 0}, {"order": "rrcb"},
     {"groups": 3}, {"columns": 4}, {"drain_at": 65}, {"drain_to": 48}, {"refresh_batch": 9}, {"tREFI": 840},
     {"memory_khz": 0}],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_refused_parameters(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"DRAM parameter {next(iter(wrong))} must be .* found"):
        dataclasses.replace(DDR4_2400, **wrong)


def test_clock_must_be_known() -> None:
    with pytest.raises(ValueError, match=r"clock_khz must be known"):
        dram_ceiling(DDR4_2400, BUS_BYTES)


@pytest.mark.parametrize("name", ["ci", "wide", "kv260"])
def test_the_nearest_plain_model_has_the_ceiling_of_the_memory(name: str):
    """What is computed for estimates and reports against a greedy reader: a port of the memory's width stops
    in a refresh, a narrow one has bursts ahead."""
    machine = MACHINES[name]
    plain = DDR4_2400.plain(machine)
    measured = dram_ceiling(DDR4_2400.at(machine), machine.bus_bytes)
    assert 1 - plain.refresh_cycles / plain.refresh_every == pytest.approx(measured, abs=0.001)
    assert (measured < 0.96) == (name == "kv260")


def test_one_short_burst_hides_no_refresh():
    one = dataclasses.replace(CI, outstanding=1, burst_beats=1)
    assert DDR4_2400.plain(CI).refresh_cycles == 0 < DDR4_2400.plain(one).refresh_cycles
