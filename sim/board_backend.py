"""A board, real or simulated, as a backend."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch

from boards.host import BAUD, BoardHost, Loaded
from hw.artefact import Artefact
from hw.isa import COUNTERS, CSR_INDEX, ERRORS, ID_VALUE, digest

from . import host
from .backend import KVRow, Outcome, Request
from .errors import SimulationError
from .memory_image import check_run, kv_row, logits_of, restore_rows

__all__ = ["Board"]

#: Seconds between two looks at a running machine, at least and at most.
_LOOK, _LOOK_MOST = 0.001, 0.05


class Board:
    """The machine on a board. Its memory is loaded and proved by CRC first; then CSRs only, as in simulation.

    Parameters
    ----------
    artefact : Artefact
    port, baud, patience
        As of `boards.host_link.HostLink`.
    progress : callable
        Told (bytes that are loaded, bytes in all).
    limit : float
        Seconds without a step after which a run counts as hung.

    Members
    -------
    loaded : Loaded
        What the load did.
    pace : float
        Seconds of a step, as last measured; 0 before.
    board : BoardHost
    """

    name = "board"

    def __init__(
        self,
        artefact: Artefact,
        port: str,
        baud: int = BAUD,
        *,
        patience: float = 10,
        progress: Callable[[int, int], None] = lambda done, total: None,
        limit: float = 600,
    ):
        self.machine, self.limit, self.pace = artefact.machine, limit, 0.0
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.heads = int(artefact.config["heads"])
        self.total = dict.fromkeys((counter.name for counter in COUNTERS), 0)
        self.board = BoardHost(port, baud, patience=patience)
        try:
            total = int(self.map["total_bytes"])
            self.board.check(self.machine.digest(), self.machine.name, digest(), total)
            self.board.reset()
            self._identify()
            self.loaded = self._load(artefact.image, progress)
            writes: list[tuple[int, int | None]] = list(host.program_writes(artefact.program))
            self.board.csr([*writes, (CSR_INDEX["MEMORY_BASE"], 0)])
        except BaseException:
            self.board.close()
            raise
        self.memory = _Memory(self.board)

    @property
    def clock_mhz(self) -> float:
        """The board's clock, as its bitstream says."""
        return self.board.link.identity["clock_khz"] / 1000

    def _identify(self) -> None:
        wanted = {"ID": ID_VALUE, "ISA": int(digest()[:8], 16), "MACHINE": int(self.machine.digest()[:8], 16)}
        found = self.board.csr([(CSR_INDEX[name], None) for name in wanted])
        for (name, value), other in zip(wanted.items(), found, strict=True):
            if value != other:
                raise SimulationError(
                    f"CSR {name} of the board: wanted {value:#010x}, found {other:#010x}; load the "
                    f"bitstream of machine {self.machine.name!r}"
                )

    def _load(self, image: bytes, progress: Callable[[int, int], None]) -> Loaded:
        done = 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            progress(done, len(image))

        return self.board.load(image, more)

    def run(self, request: Request) -> Outcome:
        check_run(request, self.machine, self.map, self.heads)
        csr, r = CSR_INDEX, request
        writes: list[tuple[int, int | None]] = [
            (csr["CONTROL"], 0b110),
            *host.chunk_writes(
                r.entries, tile=r.tile, steps=r.steps, stops=r.stops, batch=r.batch, predicates=r.predicates
            ),
            (csr["CONTROL"], 1),
        ]
        begin = time.monotonic()
        self.board.csr(writes)
        self._wait()
        names = ("GENERATED", "ERROR")
        addresses = [*(csr[name] for name in names), *host.COUNTER_READS]
        reads = dict(zip(addresses, self.board.csr([(address, None) for address in addresses]), strict=True))
        done, error = reads[csr["GENERATED"]], reads[csr["ERROR"]]
        self.pace = (time.monotonic() - begin) / max(1, done)
        if error:
            raise SimulationError(
                f"the machine stopped with error {error & 0xFF} at position "
                f"{request.entries[-1].position + done - 1}, layer {error >> 8}: "
                f"{ERRORS.get(error & 0xFF, 'unknown')}"
            )
        counters = host.counters_of(reads)
        for name, value in counters.items():
            self.total[name] += value
        if not request.head:
            return Outcome([[]], None, counters["cycles"])
        each = len(request.entries) if request.batch else 1
        looks: list[tuple[int, int | None]] = []
        for i in range(done * each):
            looks += [(csr["OUTPUT"], i), (csr["OUTPUT_TOKEN"], None)]
        log = self.board.csr(looks)
        found = [log[step * each : (step + 1) * each] for step in range(done)]
        live = request.last_tile(done)
        memory: Any = self.memory
        result = logits_of(memory, self.map, live) if request.logits else None
        return Outcome(found, result, counters["cycles"])

    def _wait(self) -> None:
        """Until the interrupt; SimulationError where no step ends for long."""
        csr, look = CSR_INDEX, _LOOK
        steps, since = -1, time.monotonic()
        while True:
            status, done = self.board.csr([(csr["STATUS"], None), (csr["GENERATED"], None)])
            if status & 2:
                return
            if not status & 1:
                raise SimulationError(
                    f"the machine neither runs nor has finished (STATUS {status:#x}): was the board reset? "
                    "Run the command again"
                )
            if done != steps:
                steps, since = done, time.monotonic()
            elif time.monotonic() - since > self.limit:
                raise SimulationError(
                    f"no step ended for {self.limit:g} s (STATUS {status:#x}, {done} steps); run the "
                    "command again, which resets the machine"
                )
            time.sleep(look)
            look = min(2 * look, _LOOK_MOST)

    def write(self, addr: int, value: int) -> None:
        """One CSR write, for `sim.host`."""
        self.board.csr([(addr, value)])

    def read_all(self, addrs: Sequence[int]) -> list[int]:
        """CSR reads, for `sim.host`."""
        return self.board.csr([(addr, None) for addr in addrs])

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        ids, values = host.top(self, token, self.machine.top_k)
        return ids, torch.from_numpy(values)

    def kv(self, layer: int, row: int) -> KVRow:
        memory: Any = self.memory
        return kv_row(memory, self.map, layer, row, self.kv_heads)

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        memory: Any = self.memory
        restore_rows(memory, self.map, base, rows)

    def counters(self) -> dict[str, int]:
        return dict(self.total)

    def dram(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        self.board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Memory:
    """The board's memory, sliced as an array of bytes is."""

    def __init__(self, board: BoardHost):
        self._board = board

    def __getitem__(self, span: slice) -> np.ndarray:
        return np.frombuffer(self._board.read(span.start, span.stop - span.start), np.uint8)

    def __setitem__(self, span: slice, value: np.ndarray) -> None:
        self._board.write(span.start, np.ascontiguousarray(value).tobytes())
