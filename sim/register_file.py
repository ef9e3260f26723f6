"""The registers of a machine in software: what a host sees of one, with the interpreter behind them.

For tests of host programs where no machine is at hand. A run does its work at its end, which is when the
doorbell's write returns, or so many looks at STATUS later. A doorbell within a run does nothing, as in
`hw.csr`. Counters of cycles read 0.
"""

from collections.abc import Callable

import numpy as np

from hw.isa import (
    CONTINUES,
    COUNTER_BASE,
    COUNTERS,
    CSR_INDEX,
    ID_VALUE,
    INSTRUCTION_WORDS,
    STOP_ENABLE,
    STOP_TOKENS,
    digest,
)
from hw.machine import MachineConfig
from hw.sequencer import PROGRAM_STRIDE

from .entries import Entry
from .interpreter import Interpreter, MachineError

__all__ = ["RegisterFile"]

_NAMES = {index: name for name, index in CSR_INDEX.items()}
_NONE = 0xFFFF_FFFF


class RegisterFile:
    """`hw.isa.CSRS` of one machine.

    Parameters
    ----------
    machine : MachineConfig
    memory : callable
        The machine's memory (uint8 [n]), asked for at each doorbell.
    memory_start : int
        Address of its first byte; MEMORY_BASE must name it.
    lasts : int or None
        Reads of STATUS that find a run still running; None: it never ends.

    Members
    -------
    lasts : int or None
        As above, for the doorbells that follow. left : those that are left of this run.
    running : bool
        Bit 0 of STATUS.
    """

    def __init__(
        self,
        machine: MachineConfig,
        memory: Callable[[], np.ndarray],
        memory_start: int = 0,
        lasts: int | None = 0,
    ):
        self.machine, self._memory, self._start = machine, memory, memory_start
        self._words = dict.fromkeys(_NAMES.values(), 0) | {"TOKENS": 1, "TILE": 1, "STEPS": 1}
        self._program = np.zeros((machine.program_words, PROGRAM_STRIDE), "<u4")
        self._entries = [Entry(0, 0)] * machine.max_chunk
        self._interpreter: Interpreter | None = None
        self._counters: dict[str, int] = {}
        self._pending = self.running = False
        self.lasts = self.left = lasts

    def write(self, index: int, value: int) -> None:
        """One 32-bit write, by word index."""
        name = _NAMES.get(index)
        value &= 0xFFFF_FFFF
        if name == "CONTROL":
            self._control(value)
        elif name == "PROGRAM_DATA":
            at = self._words["PROGRAM_ADDRESS"]
            self._program.reshape(-1)[at] = value
            self._words["PROGRAM_ADDRESS"] = at + 1
            self._interpreter = None
        elif name == "ENTRY_BASE":
            at = self._words["ENTRY"]
            base = value & (1 << CONTINUES) - 1
            self._entries[at] = Entry(
                self._words["ENTRY_TOKEN"], self._words["ENTRY_POSITION"], base, bool(value >> CONTINUES)
            )
            self._words["ENTRY"] = (at + 1) % len(self._entries)
        elif name is not None:
            self._words[name] = value

    def read(self, index: int) -> int:
        """One 32-bit read; words that are not there are 0."""
        at = index - COUNTER_BASE
        if 0 <= at < 2 * len(COUNTERS):
            return self._counters.get(COUNTERS[at // 2].name, 0) >> 32 * (at % 2) & 0xFFFF_FFFF
        name = _NAMES.get(index)
        engine = self._interpreter
        match name:
            case "ID":
                return ID_VALUE
            case "ISA":
                return int(digest()[:8], 16)
            case "MACHINE":
                return int(self.machine.digest()[:8], 16)
            case "STATUS":
                return self._status()
            case "PREDICATES":
                return self._words[name] | 1
            case "ENTRY_TOKEN" | "ENTRY_POSITION" | "ENTRY_BASE":
                entry = self._entries[self._words["ENTRY"]]
                base = entry.base | entry.continues << CONTINUES
                return {"ENTRY_TOKEN": entry.token, "ENTRY_POSITION": entry.position}.get(name, base)
            case "GENERATED":
                return engine.generated if engine else 0
            case "OUTPUT_TOKEN":
                return engine.output[self._words["OUTPUT"] % len(engine.output)] if engine else 0
            case "TOP_TOKEN" | "TOP_LOGIT":
                return self._top(name)
            case None | "CONTROL" | "PROGRAM_DATA":
                return 0
        return self._words[name]

    def _top(self, name: str) -> int:
        if self._interpreter is None:
            return 0
        rank, token = self._words["TOP"] & 0xFF, self._words["TOP"] >> 8
        ids, values = self._interpreter.top(token)
        if name == "TOP_TOKEN":
            return ids[rank] if rank < len(ids) else _NONE
        return int(np.float32(values[rank]).view("<u4")) if rank < len(values) else 0

    def _control(self, value: int) -> None:
        if value & 2:
            self._pending = False
        if value & 4:
            self._counters = {}
        if value & 1 and not self.running:
            self._start_run()

    def _status(self) -> int:
        """STATUS; the last look that finds a run ends it."""
        found = self.running | self._pending << 1 | (self._words["ERROR"] != 0) << 2
        if self.running and self.left is not None:
            self.left -= 1
            if self.left == 0:
                self._finish()
        return found

    def _start_run(self) -> None:
        words = self._words
        if words["MEMORY_BASE"] != self._start:
            raise ValueError(
                f"MEMORY_BASE: wanted {self._start:#x}, where the memory is, found {words['MEMORY_BASE']:#x}"
            )
        words["ERROR"] = 0
        self.running, self.left = True, self.lasts
        if self.left == 0:
            self._finish()

    def _finish(self) -> None:
        words = self._words
        if self._interpreter is None:
            used = np.flatnonzero(self._program.any(axis=1))
            program = self._program[: used[-1] + 1 if len(used) else 0, :INSTRUCTION_WORDS].tobytes()
            self._interpreter = Interpreter(self.machine, program, self._memory())
        engine = self._interpreter
        before = dict(engine.counters)
        marks = [words[f"STOP_{i}"] for i in range(STOP_TOKENS)]
        stops = [mark & (1 << STOP_ENABLE) - 1 for mark in marks if mark >> STOP_ENABLE]
        try:
            engine.run(
                self._entries[: words["TOKENS"]], tile=words["TILE"], steps=words["STEPS"], stops=stops,
                batch=bool(words["BATCH"] & 1), predicates=words["PREDICATES"] | 1,
            )  # fmt: skip
        except MachineError as error:
            words["ERROR"] = error.code | error.layer << 8
        for name, count in engine.counters.items():
            self._counters[name] = self._counters.get(name, 0) + count - before[name]
        self._pending, self.running = True, False
