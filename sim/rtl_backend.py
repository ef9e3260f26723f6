"""The RTL as a backend."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from hw.artefact import Artefact
from hw.isa import COUNTERS, CSR_INDEX, ERRORS, ID_VALUE, digest
from hw.machine import MachineConfig

from . import host
from .backend import KVRow, Outcome, Request
from .dram import DDR3, DramParams
from .errors import SimulationError
from .memory_image import check_run, initial_memory, kv_row, logits_of, restore_rows
from .session import RtlSession
from .verilate import Progress, build_overlay
from .waves import WaveWindow

__all__ = ["Rtl"]

#: Cycles a token may take if nothing else is said.
TOKEN_LIMIT = 200_000_000


class Rtl:
    """The RTL in Verilator: memory image through the back door, then CSR writes and interrupts only.

    Parameters
    ----------
    artefact : Artefact
        Its machine's simulator is built, or found in the cache.
    dram : DramParams
        Timing of the memory.
    progress : callable
        Told the stages of the build.
    cycles : callable
        Told the cycles of the running token now and then.
    seed : int
        Of the memory's other contents and of its stalls.
    executable : Path or None
        Another simulator of the same machine, not to be built.
    plusargs : sequence of str
        Further arguments of the simulator.
    limit : int
        Cycles after which a step that raises no interrupt counts as hung.
    wave : WaveWindow or None
        Cycles that become a waveform file; the simulator for it is another one.
    trace : bool
        Keep an event log, for `sim.lockstep`'s comparison at each instruction.
    activity : bool
        Keep an activity log (`sim.activity_log`).

    Members
    -------
    seconds : float
        Wall time spent in simulation so far.
    """

    name = "rtl"

    def __init__(
        self,
        artefact: Artefact,
        dram: DramParams = DDR3,
        progress: Progress = lambda _: None,
        cycles: Callable[[int], None] | None = None,
        seed: int = 1,
        executable: Path | None = None,
        plusargs: Sequence[str] = (),
        limit: int = TOKEN_LIMIT,
        wave: WaveWindow | None = None,
        trace: bool = False,
        activity: bool = False,
    ):
        self.limit = limit
        self.machine = artefact.machine
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.heads = int(artefact.config["heads"])
        self.total = dict.fromkeys((counter.name for counter in COUNTERS), 0)
        self.seconds = 0.0
        executable = executable or build_overlay(artefact.machine, progress, wave=wave is not None)
        memory = initial_memory(artefact, seed)
        self.session = RtlSession(
            executable, memory, dram.at(artefact.machine), seed, cycles, report=200_000, plusargs=plusargs,
            wave=wave, trace=trace, activity=activity,
        )  # fmt: skip
        try:
            self._identify(artefact.machine)
            writes = host.program_writes(artefact.program)
            self.session.write_all([*writes, (CSR_INDEX["MEMORY_BASE"], 0)])
        except BaseException:
            self.session.close()
            raise

    def _identify(self, machine: MachineConfig) -> None:
        for name, wanted in (("ID", ID_VALUE), ("ISA", int(digest()[:8], 16)),
                             ("MACHINE", int(machine.digest()[:8], 16))):  # fmt: skip
            found = self.session.read(CSR_INDEX[name])
            if found != wanted:
                raise SimulationError(
                    f"CSR {name}: wanted {wanted:#010x}, found {found:#010x}; the simulator is not of this "
                    "machine: delete its cache (trine doctor names the folder)"
                )

    def run(self, request: Request) -> Outcome:
        check_run(request, self.machine, self.map, self.heads)
        csr, r = CSR_INDEX, request
        before = [
            (csr["CONTROL"], 0b110),
            *host.chunk_writes(
                r.entries, tile=r.tile, steps=r.steps, stops=r.stops, batch=r.batch, predicates=r.predicates
            ),
        ]
        reads = [csr["GENERATED"], csr["ERROR"], csr["STATUS"], *host.COUNTER_READS]
        begin = time.perf_counter()
        reply = self.session.run([*before, (csr["CONTROL"], 1)], reads, self.limit * request.steps)
        self.seconds += time.perf_counter() - begin
        error = reply.reads[csr["ERROR"]]
        if error:
            raise SimulationError(
                f"the machine stopped with error {error & 0xFF} at position "
                f"{request.entries[-1].position + reply.reads[csr['GENERATED']] - 1}, "
                f"layer {error >> 8}: {ERRORS.get(error & 0xFF, 'unknown')}"
            )
        for name, value in host.counters_of(reply.reads).items():
            self.total[name] += value
        if not request.head:
            return Outcome([[]], None, reply.cycles)
        done, each = reply.reads[csr["GENERATED"]], len(request.entries) if request.batch else 1
        log = [host.output_token(self.session, i) for i in range(done * each)]
        found = [log[step * each : (step + 1) * each] for step in range(done)]
        live = request.last_tile(done)
        result = logits_of(self.session.memory, self.map, live) if request.logits else None
        return Outcome(found, result, reply.cycles)

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        ids, values = host.top(self.session, token, self.machine.top_k)
        return ids, torch.from_numpy(values)

    def kv(self, layer: int, row: int) -> KVRow:
        return kv_row(self.session.memory, self.map, layer, row, self.kv_heads)

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        restore_rows(self.session.memory, self.map, base, rows)

    def counters(self) -> dict[str, int]:
        return dict(self.total)

    def dram(self) -> np.ndarray | None:
        return self.session.memory

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
