"""The ways to run an artefact, behind one interface: golden model, instruction-set interpreter, RTL.

A backend advances one token at a time; what it keeps (KV memory) can be read back in one form, so that any
two can be compared element by element.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch

from hw.artefact import Artefact
from hw.isa import COUNTER_BASE, COUNTERS, CSR_INDEX, EMIT_LOGITS, ERRORS, ID_VALUE, INSTRUCTION_WORDS, digest
from hw.machine import MachineConfig
from hw.sequencer import PROGRAM_STRIDE
from models import numerics
from models.golden import GoldenModel, KVCache
from models.quantised import QuantisedModel

from .dram import DDR3, DramParams
from .errors import SimulationError
from .interpreter import Interpreter
from .memory_image import check_mapped_step, check_step, initial_memory, kv_row, logits_of
from .session import RtlSession
from .verilate import Progress, build_overlay

#: Cycles a token may take if nothing else is said.
TOKEN_LIMIT = 200_000_000


@dataclass(frozen=True)
class Step:
    """What one token gave: the next id, the logits (None unless asked for) and cycles (RTL only)."""

    token: int
    logits: torch.Tensor | None
    cycles: int | None


@dataclass(frozen=True)
class KVRow:
    """K and V of one (layer, position): int8 [kv_heads, head_size] and binary32 scales [kv_heads]."""

    k: np.ndarray
    v: np.ndarray
    s_k: np.ndarray
    s_v: np.ndarray


class Backend(Protocol):
    """One sequence on one backend, from position 0."""

    name: str

    def step(self, token: int, position: int, *, logits: bool) -> Step:
        """Process `token` at `position` (positions ascend by one) and return what follows."""
        ...

    def kv(self, layer: int, position: int) -> KVRow:
        """What the KV memory holds for a processed token."""
        ...

    def counters(self) -> dict[str, int]:
        """`hw.isa.COUNTERS` so far, those that the backend knows."""
        ...

    def dram(self) -> np.ndarray | None:
        """All of memory (uint8), where the backend has one."""
        ...

    def close(self) -> None:
        """Free what the backend holds."""
        ...


class Golden:
    """The golden model on the quantised model inside the artefact."""

    name = "golden"

    def __init__(self, artefact: Artefact):
        self.model = GoldenModel(QuantisedModel.load(artefact.model))
        self.cache = KVCache.empty(self.model.config)

    def step(self, token: int, position: int, *, logits: bool) -> Step:
        check_step(token, position, self.model.config.vocab, self.model.config.context)
        result = self.model.forward([token], self.cache)[-1]
        return Step(numerics.argmax(result), result if logits else None, None)

    def kv(self, layer: int, position: int) -> KVRow:
        at = (layer, position)
        c = self.cache
        return KVRow(c.k[at].numpy(), c.v[at].numpy(), c.s_k[at].numpy(), c.s_v[at].numpy())

    def counters(self) -> dict[str, int]:
        return {}

    def dram(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        pass


class Isa:
    """The interpreter: program and memory image only."""

    name = "isa"

    def __init__(self, artefact: Artefact, seed: int = 1):
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.memory = initial_memory(artefact, seed)
        self.machine = Interpreter(artefact.machine, artefact.program, self.memory)

    def step(self, token: int, position: int, *, logits: bool) -> Step:
        check_mapped_step(token, position, self.map)
        following = self.machine.step(token, position, 1 | logits << EMIT_LOGITS)
        return Step(following, logits_of(self.memory, self.map) if logits else None, None)

    def kv(self, layer: int, position: int) -> KVRow:
        return KVRow(*kv_row(self.memory, self.map, layer, position, self.kv_heads))

    def counters(self) -> dict[str, int]:
        return dict(self.machine.counters)

    def dram(self) -> np.ndarray | None:
        return self.memory

    def close(self) -> None:
        pass


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
        Cycles after which a token that raises no interrupt counts as hung.

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
    ):
        self.limit = limit
        self.map, self.kv_heads = artefact.memory_map, int(artefact.config["kv_heads"])
        self.total = dict.fromkeys((counter.name for counter in COUNTERS), 0)
        self.seconds = 0.0
        executable = executable or build_overlay(artefact.machine, progress)
        memory = initial_memory(artefact, seed)
        self.session = RtlSession(executable, memory, dram, seed, cycles, report=200_000, plusargs=plusargs)
        try:
            self._identify(artefact.machine)
            self._load(artefact.program)
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

    def _load(self, program: bytes) -> None:
        """Program memory, through PROGRAM_ADDRESS and PROGRAM_DATA."""
        words = np.frombuffer(program, "<u4").reshape(-1, INSTRUCTION_WORDS)
        writes = []
        for i, row in enumerate(words):
            writes.append((CSR_INDEX["PROGRAM_ADDRESS"], PROGRAM_STRIDE * i))
            writes += [(CSR_INDEX["PROGRAM_DATA"], int(word)) for word in row]
        self.session.write_all([*writes, (CSR_INDEX["MEMORY_BASE"], 0)])

    def step(self, token: int, position: int, *, logits: bool) -> Step:
        check_mapped_step(token, position, self.map)
        csr = CSR_INDEX
        before = [(csr["CONTROL"], 0b110), (csr["TOKEN"], token), (csr["POSITION"], position),
                  (csr["PREDICATES"], 1 | logits << EMIT_LOGITS)]  # fmt: skip
        windows = range(COUNTER_BASE, COUNTER_BASE + 2 * len(COUNTERS))
        reads = [csr["NEXT_TOKEN"], csr["ERROR"], csr["STATUS"], *windows]
        begin = time.perf_counter()
        reply = self.session.run([*before, (csr["CONTROL"], 1)], reads, self.limit)
        self.seconds += time.perf_counter() - begin
        error = reply.reads[csr["ERROR"]]
        if error:
            raise SimulationError(
                f"the machine stopped with error {error & 0xFF} at position {position}, "
                f"layer {error >> 8}: {ERRORS.get(error & 0xFF, 'unknown')}"
            )
        for i, counter in enumerate(COUNTERS):
            low, high = (reply.reads[COUNTER_BASE + 2 * i + half] for half in range(2))
            self.total[counter.name] += low | high << 32
        result = logits_of(self.session.memory, self.map) if logits else None
        return Step(reply.reads[csr["NEXT_TOKEN"]], result, reply.cycles)

    def kv(self, layer: int, position: int) -> KVRow:
        return KVRow(*kv_row(self.session.memory, self.map, layer, position, self.kv_heads))

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
