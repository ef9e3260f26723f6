"""DDR4 timing for ``dram.sv``: a rank of devices and its controller; a bench that plays bursts to any model.

The values of `DDR4_2400` are those of JESD79-4B for DDR4-2400T and of four 8 Gbit x16 devices on 64 bits, the
4 GiB of a Kria K26 module (DS987). Rules in nanoseconds become clocks of 5/6 ns, rounded up (tREFI down).
"""

import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from hw.machine import MachineConfig

from .dram import DramParams
from .errors import SimulationError

#: Bytes of one burst of 8 on 64 bits; the controller's unit.
BLOCK = 64
#: Clocks of the memory beside the rules that a refresh keeps reads from the bus, measured (`bench.dram`).
_RESTART = 5
#: Fields that are timing rules, in clocks of the memory.
RULES = ("tCL", "tCWL", "tRCD", "tRP", "tRAS", "tRC", "tCCD_S", "tCCD_L", "tRRD_S", "tRRD_L", "tFAW",
         "tWTR_S", "tWTR_L", "tRTP", "tWR", "tRFC", "tREFI")  # fmt: skip
_SETTINGS = ("memory_khz", "clock_khz", "groups", "banks", "columns", "rows", "order", "read_queue",
             "write_queue", "drain_at", "drain_to", "idle_clocks", "refresh_batch", "latency")  # fmt: skip


@dataclass(frozen=True)
class Ddr4Params(DramParams):
    """A DDR4 rank, its controller and the path to it; rules are clocks of the memory, named as in JESD79-4.

    Of `DramParams` the stalls apply, and in the machine's cycles `latency`, from an accepted address to the
    controller, and `write_latency`, from the last write beat to its response. `turn` and `refresh_every` must
    be 0: the rules say what they say.
    """

    region: ClassVar[int] = 1 << 24

    latency: int = 40
    write_latency: int = 40
    turn: int = 0
    #: Clock of the memory, and of the machine (0: the machine's own, see `at`), in kHz.
    memory_khz: int = 1_200_000
    clock_khz: int = 0
    #: Bank groups, banks in each, columns (of 64 bits) in a row, rows: powers of two.
    groups: int = 2
    banks: int = 4
    columns: int = 1024
    rows: int = 65536
    #: Fields of an address from its highest bit to its lowest: r(ow), b(ank), c(olumn), g(roup).
    order: str = "rbcg"
    # Rules, in clocks (sources: docs/memory.md).
    tCL: int = 17
    tCWL: int = 12
    tRCD: int = 17
    tRP: int = 17
    tRAS: int = 39
    tRC: int = 56
    tCCD_S: int = 4
    tCCD_L: int = 6
    tRRD_S: int = 7
    tRRD_L: int = 8
    tFAW: int = 36
    tWTR_S: int = 3
    tWTR_L: int = 9
    tRTP: int = 9
    tWR: int = 18
    tRFC: int = 420
    tREFI: int = 9360
    #: Blocks that the controller chooses from; a batch of writes begins with so many, and ends with so many.
    read_queue: int = 64
    write_queue: int = 64
    drain_at: int = 48
    drain_to: int = 8
    #: Clocks without a read after which writes go.
    idle_clocks: int = 32
    #: Refreshes that are given together, once so many are owed (8 may be).
    refresh_batch: int = 1

    def __post_init__(self) -> None:
        least = {"latency": 2, "write_latency": 2, "drain_to": 0, "idle_clocks": 0, "clock_khz": 0}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "order":
                self._need(sorted(value) == list("bcgr"), "order", "r, b, c and g in any order", value)
                continue
            stall = field.name.startswith("stall_")
            low = 0 if stall else least.get(field.name, 1)
            high = 1023 if stall else 1 << 20
            if field.name in ("memory_khz", "clock_khz"):
                high = 10_000_000
            if field.name in ("turn", "refresh_every", "refresh_cycles"):
                low = high = 0
            self._need(low <= value <= high, field.name, f"{low} to {high}" if high else "0", value)
        for name, high in (("groups", 4), ("banks", 4), ("columns", 1 << 12), ("rows", 1 << 20)):
            value, low = getattr(self, name), 8 if name == "columns" else 1
            good = low <= value <= high and value & (value - 1) == 0
            self._need(good, name, f"a power of two, {low} to {high}", value)
        self._need(self.refresh_batch <= 8, "refresh_batch", "1 to 8", self.refresh_batch)
        self._need(self.drain_at <= self.write_queue, "drain_at", "at most write_queue", self.drain_at)
        self._need(self.drain_to < self.drain_at, "drain_to", "below drain_at", self.drain_to)
        # The bus stands still while refreshes that are owed run.
        self._need(2 * self.tRFC < self.tREFI, "tREFI", "above 2 tRFC", self.tREFI)

    @staticmethod
    def _need(good: bool, name: str, wanted: str, found: object) -> None:
        if not good:
            raise ValueError(f"DRAM parameter {name} must be {wanted}, found {found!r}")

    def at(self, machine: MachineConfig) -> Self:
        """The same with the clock of `machine`, if `clock_khz` says nothing else."""
        return dataclasses.replace(self, clock_khz=self.clock_khz or round(1000 * machine.clock_mhz))

    def peak(self, bus_bytes: int) -> float:
        """Beats a machine's cycle that the pins of the memory could move, without any rule; 1 at most."""
        return min(1.0, BLOCK / 4 * self.memory_khz / (self._clock() * bus_bytes))

    def plain(self, machine: MachineConfig) -> DramParams:
        """Where reads follow one another: a refresh takes the bus for tRP, tRFC, tRCD and some clocks of
        restarting (so chosen that the ceiling is that of `dram_ceiling`), writes turn it round twice.

        A port narrower than the memory is held back by itself alone: what the memory has read ahead of it,
        of the bursts in flight, goes on through a refresh.
        """
        cycle = self.memory_khz / self.at(machine)._clock()  # clocks of the memory
        first = self.latency + round((self.tRCD + self.tCL + 4) / cycle)
        stop = self.tRP + self.tRFC + self.tRCD + _RESTART
        turn = self.tCL + self.tWTR_L + 4 - self.tCWL + 6
        idle = 1 - machine.bus_bytes / (BLOCK / 4 * cycle)  # share of the memory's time that the port leaves
        ahead = max(0, machine.outstanding * machine.burst_beats - first) * max(0.0, idle)
        return DramParams(
            latency=first, write_latency=self.write_latency, turn=round(turn / cycle),
            refresh_every=round(self.tREFI / cycle), refresh_cycles=round(max(0.0, stop / cycle - ahead)),
            stall_r=self.stall_r, stall_ar=self.stall_ar, stall_aw=self.stall_aw, stall_w=self.stall_w,
        )  # fmt: skip

    def _clock(self) -> int:
        if not self.clock_khz:
            raise ValueError("DRAM parameter clock_khz must be known (Ddr4Params.at), found 0")
        return self.clock_khz

    def settings(self, controller: dict[str, int] | None = None) -> str:
        """The value of ``+ddr4``. `controller`: rules as the controller takes them, to be caught."""
        self._clock()
        values = {name: getattr(self, name) for name in (*_SETTINGS, *RULES)}
        values["columns"] = self.columns * 8 // BLOCK
        values |= {f"controller_{name}": value for name, value in (controller or {}).items()}
        return ",".join(f"{name}:{value}" for name, value in values.items())

    def plusargs(self, memory: Path, seed: int) -> list[str]:
        """As those of `DramParams`, and the DDR4 settings."""
        names = ("write_latency", "stall_r", "stall_ar", "stall_aw", "stall_w")
        values = [f"+{name}={getattr(self, name)}" for name in names]
        return [*values, f"+ddr4={self.settings()}", f"+seed={seed}", f"+mem={memory}"]


#: KV260: 64 bits of DDR4-2400, 19.2 GB/s.
DDR4_2400 = Ddr4Params()


@dataclass(frozen=True)
class Burst:
    """One AXI burst of a bench: `beats` from byte `addr`, a read or a write."""

    addr: int
    beats: int
    write: bool = False


@dataclass(frozen=True)
class Traffic:
    """What a bench counted: cycles from the first address to the last answer, and the memory's commands."""

    cycles: int
    read_beats: int
    write_beats: int
    #: Clocks of the memory, and its commands; 0 in the plain model. `turns`: changes of the bus's direction.
    clocks: int = 0
    activates: int = 0
    precharges: int = 0
    reads: int = 0
    writes: int = 0
    refreshes: int = 0
    turns: int = 0


def play(
    params: DramParams,
    bus_bytes: int,
    bursts: Iterable[Burst],
    *,
    size: int = 1 << 24,
    seed: int = 1,
    hold: int = 0,
    controller: dict[str, int] | None = None,
) -> Traffic:
    """Plays `bursts` to ``dram.sv`` as fast as it takes them, and compares every byte with a plain memory.

    A burst waits for those before it whose bytes it shares, if one of them writes. Write data is random, and
    so are the strobes. `hold`: probability per 1024 that a cycle takes no read beat and gives no write beat.
    `controller`: rules as the controller takes them, to be caught by the checker. Raises `SimulationError`
    with what the simulator said, if a rule was broken or a byte was wrong.
    """
    from .verilate import MEMORY, SOURCES, build_texts  # timing alone needs no simulator

    names = ("traffic.cpp", "stop.cpp", *MEMORY)
    texts = {name: (SOURCES / name).read_text() for name in names}
    executable = build_texts("dram", texts, (f"-GBUS_BYTES={bus_bytes}",))
    with tempfile.TemporaryDirectory(prefix="trine-") as directory:
        memory, plan = Path(directory) / "dram", Path(directory) / "bursts"
        with memory.open("wb") as file:
            file.truncate(size)
        plan.write_text("".join(f"{'RW'[burst.write]} {burst.addr} {burst.beats}\n" for burst in bursts))
        arguments = params.plusargs(memory, seed)
        if isinstance(params, Ddr4Params):
            settings = params.settings(controller)
            arguments = [f"+ddr4={settings}" if a.startswith("+ddr4=") else a for a in arguments]
        command = [str(executable), *arguments, f"+bus={bus_bytes}", f"+bursts={plan}", f"+hold={hold}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SimulationError(f"the memory bench failed:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return Traffic(**found)
