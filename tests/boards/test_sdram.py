"""The SDRAM controller against the chip model that checks it: random traffic, efficiency, latency."""

import dataclasses
from pathlib import Path

import pytest

from boards.sdram_timing import ULX3S_SDRAM, SdramTiming

from .sdram_bench import build, rules, traffic

MHZ = 80
#: A smaller chip with the shorter latency, at another clock: other clocks for every time.
SMALL = dataclasses.replace(ULX3S_SDRAM, cas_latency=2, rows=64, columns=256)
CASES = {"ulx3s": (ULX3S_SDRAM, MHZ), "small": (SMALL, 45)}


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Path, list[str], SdramTiming, float]:
    timing, clock = CASES[request.param]
    return build(clock, timing), rules(timing, clock), timing, clock


@pytest.mark.parametrize(("seed", "stall"), [(1, 0), (2, 60), (3, 200)])
def test_random_traffic(case, seed: int, stall: int):
    """Every read finds what was written, every rule of the chip holds; all of memory is right at the end."""
    simulator, chip, *_ = case
    code, said = traffic(simulator, "random", seed=seed, bursts=3000, beats=0, stall=stall, chip=chip)
    assert code == 0, said
    reads, writes, _, refreshes = map(int, said.split())
    assert reads > 20_000 and writes > 20_000 and refreshes > 50


@pytest.mark.parametrize("beats", [16, 32, 256])
def test_sequential_reads(case, beats: int):
    """2 bytes each clock but for refresh: 0.95 of the peak and more at the board's clock."""
    simulator, chip, _, clock = case
    code, said = traffic(
        simulator, "sequential", seed=1, bursts=40_000 // beats, beats=beats, stall=0, chip=chip
    )
    assert code == 0, said
    got, cycles = map(int, said.split())
    assert 2 * got / cycles >= (0.95 if clock == MHZ else 0.94)


def test_latency(case):
    simulator, chip, timing, clock = case
    code, said = traffic(simulator, "latency", seed=1, bursts=1, beats=1, stall=0, chip=chip)
    assert code == 0, said
    rcd, rp = (timing.clocks(name, clock) for name in ("t_rcd", "t_rp"))
    first = 11 + timing.cas_latency
    assert list(map(int, said.split())) == [first + rcd, first + 1, first + max(rp, 2) + rcd]


@pytest.mark.bench
@pytest.mark.parametrize(
    ("change", "rule"),
    [({"t_rcd": 10}, "tRCD"), ({"t_rp": 10}, "tRP"), ({"t_ras": 25}, "tRAS"), ({"t_wr": 10}, "tWR"),
     ({"t_rfc": 50}, "tRFC"), ({"t_refi": 9000}, "tREFI"), ({"init_us": 100}, "power-up")],
)  # fmt: skip
def test_wrong_times_are_seen(change: dict[str, float], rule: str):
    """A controller that takes the chip for a faster one is stopped, by the rule's name."""
    simulator = build(MHZ, dataclasses.replace(ULX3S_SDRAM, **change))
    code, said = traffic(
        simulator, "random", seed=1, bursts=20_000, beats=0, stall=0, chip=rules(ULX3S_SDRAM, MHZ)
    )
    assert code == 1 and said.startswith(f"SDRAM: {rule}:")


def test_refusals():
    for wrong in ({"cas_latency": 4}, {"columns": 1024}, {"rows": 16384}):
        with pytest.raises(ValueError, match="wanted"):
            dataclasses.replace(ULX3S_SDRAM, **wrong)
