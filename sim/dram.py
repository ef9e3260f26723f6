"""Timing of the simulated DRAM (``dram.sv``), and what an ideal reader gets from it."""

import dataclasses
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from hw.machine import MachineConfig

from .errors import SimulationError


@dataclass(frozen=True)
class DramParams:
    """Run-time parameters of ``dram.sv``; times are clock cycles, probabilities are per 1024 cycles.

    The plain model, in which all addresses are alike; `sim.ddr4` has one of banks and rows.
    """

    #: Bytes that an ideal sequential reader goes through, round and round.
    region: ClassVar[int] = 1 << 16

    #: From the cycle in which a read address is taken to the one that offers its first beat; 2 or more.
    latency: int = 20
    #: From the cycle that takes the last beat of a write burst to its response; 2 or more.
    write_latency: int = 10
    #: Data-bus cycles lost each time writes interrupt reads (both turns together).
    turn: int = 4
    #: Every `refresh_every` cycles (0: never) the data bus stops for `refresh_cycles`.
    refresh_every: int = 0
    refresh_cycles: int = 0
    #: Probability that a cycle brings no new read beat, or that the next cycle does not take AR, AW or W.
    stall_r: int = 0
    stall_ar: int = 0
    stall_aw: int = 0
    stall_w: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low = 2 if field.name in ("latency", "write_latency") else 0
            high = 1023 if field.name.startswith("stall_") else 1 << 20
            if not low <= value <= high:
                raise ValueError(f"DRAM parameter {field.name} must be {low} to {high}, found {value!r}")
        if self.refresh_every and self.refresh_cycles >= self.refresh_every:
            raise ValueError(
                f"DRAM parameter refresh_cycles must be below refresh_every ({self.refresh_every}), "
                f"found {self.refresh_cycles}: the memory would never answer"
            )

    def at(self, machine: MachineConfig) -> Self:
        """The parameters of the memory beside `machine`: these, for times are the machine's cycles."""
        return self

    def plain(self, machine: MachineConfig) -> "DramParams":
        """The plain model nearest to this one beside `machine`, for estimates: this one."""
        return self

    def plusargs(self, memory: Path, seed: int) -> list[str]:
        """Simulator arguments: these parameters, the memory file and the seed of the stalls."""
        values = [f"+{name}={value}" for name, value in dataclasses.asdict(self).items()]
        return [*values, f"+seed={seed}", f"+mem={memory}"]


#: No delay that AXI permits to leave out.
IDEAL = DramParams(latency=2, write_latency=2, turn=0)
#: The shape of a DDR3 part at 100 MHz: refresh each 7.8 us for 0.4 us, some row misses, 20 cycles to data.
DDR3 = DramParams(latency=20, write_latency=12, turn=6, refresh_every=780, refresh_cycles=40, stall_r=30)


def dram_ceiling(params: DramParams, bus_bytes: int, seed: int = 1, cycles: int = 200_000) -> float:
    """Beats per cycle that an ideal sequential reader gets from the model with these parameters.

    Measured, not computed: ``ceiling.sv`` reads for `cycles` cycles (after a warm-up) with the longest legal
    bursts and takes every beat at once.
    """
    from .verilate import build_ceiling  # timing alone needs no simulator

    executable = build_ceiling(bus_bytes)
    with tempfile.TemporaryDirectory(prefix="trine-") as directory:
        memory = Path(directory) / "dram"
        with memory.open("wb") as file:
            file.truncate(params.region)
        command = [str(executable), *params.plusargs(memory, seed), f"+region={params.region}",
                   "+warmup=10000", f"+cycles={cycles}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SimulationError(f"the DRAM ceiling run failed:\n{done.stdout}{done.stderr}")
    return int(done.stdout.split()[-1]) / cycles
