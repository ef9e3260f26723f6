"""A machine behind its registers as a backend: the host's sequence, whatever carries it."""

import time
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch

from hw.artefact import Artefact
from hw.isa import COUNTERS, CSR_INDEX, ERRORS, ID_VALUE, digest
from hw.machine import MachineConfig

from . import host
from .backend import KVRow, Outcome, Request
from .errors import SimulationError
from .memory_image import check_run, kv_row, logits_of, restore_rows

__all__ = ["RegisterBackend", "RegisterSession", "Reply"]

#: Cycles a token may take if nothing else is said.
TOKEN_LIMIT = 200_000_000


class Reply(Protocol):
    """What a run gave: cycles, and the registers asked for, read after its interrupt."""

    @property
    def cycles(self) -> int: ...

    @property
    def reads(self) -> dict[int, int]: ...


class RegisterSession(Protocol):
    """A machine's registers (by word index) and its memory, however far away.

    `memory` is read and written by slices of bytes (uint8), between runs.
    """

    @property
    def memory(self) -> Any: ...

    def write_all(self, writes: Sequence[tuple[int, int]]) -> None: ...

    def write(self, addr: int, value: int) -> None: ...

    def read(self, addr: int) -> int: ...

    def read_all(self, addrs: Sequence[int]) -> list[int]: ...

    def run(
        self, writes: Sequence[tuple[int, int]], reads: Sequence[int] = (), max_cycles: int = ...
    ) -> Reply: ...

    def close(self) -> None: ...


class RegisterBackend:
    """Program, chunks and results through registers; weights and KV rows through memory.

    The session's memory holds the artefact's image before this begins.

    Parameters
    ----------
    session : RegisterSession
        Open; closed where the machine behind it is another one, and by `close`.
    artefact : Artefact
    memory_base : int
        Address at which the machine finds its memory.
    limit : int
        Cycles after which a step that raises no interrupt counts as hung.
    remedy : str
        What to do where the machine is not the artefact's.

    Members
    -------
    seconds : float
        Wall time spent in runs so far.
    """

    name = "registers"

    def __init__(
        self,
        session: RegisterSession,
        artefact: Artefact,
        *,
        memory_base: int = 0,
        limit: int = TOKEN_LIMIT,
        remedy: str = "build the bitstream of this machine, or compile the model for the board's",
    ):
        self.session, self.limit = session, limit
        self.machine = artefact.machine
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.heads = int(artefact.config["heads"])
        self.total = dict.fromkeys((counter.name for counter in COUNTERS), 0)
        self.seconds = 0.0
        try:
            self._identify(artefact.machine, remedy)
            writes = host.program_writes(artefact.program)
            session.write_all([*writes, (CSR_INDEX["MEMORY_BASE"], memory_base)])
        except BaseException:
            session.close()
            raise

    def _identify(self, machine: MachineConfig, remedy: str) -> None:
        for name, wanted in (("ID", ID_VALUE), ("ISA", int(digest()[:8], 16)),
                             ("MACHINE", int(machine.digest()[:8], 16))):  # fmt: skip
            found = self.session.read(CSR_INDEX[name])
            if found != wanted:
                raise SimulationError(f"CSR {name}: wanted {wanted:#010x}, found {found:#010x}; {remedy}")

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
        return self.session.memory[:]

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
