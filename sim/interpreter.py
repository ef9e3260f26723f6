"""The interpreter: executes a program on a memory image, instruction by instruction, with `models.numerics`.

It reads the program and the memory, nothing else, and says what a machine does with them: registers, memory,
and every counter that is not about time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hw.isa import (
    BY_NAME,
    BY_OPCODE,
    COUNTERS,
    ERRORS,
    HEADER,
    INSTRUCTION_BITS,
    Index,
    Kind,
    Payload,
    Unit,
    decode,
)
from hw.machine import MachineConfig
from models import numerics

from .interpreter_tape import Tape, UsageError
from .interpreter_units import Units

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
EXACT = tuple(counter.name for counter in COUNTERS if counter.exact)


class InterpreterError(RuntimeError):
    """The program is not legal: which instruction, what it wanted, what was there."""


class MachineError(RuntimeError):
    """The run ended with an error that the machine reports.

    Members
    -------
    code, layer: as in CSR ERROR.
    """

    def __init__(self, code: int, layer: int, where: str) -> None:
        self.code, self.layer = code, layer
        super().__init__(f"machine error {code} in layer {layer}: {ERRORS[code]} ({where})")


class Interpreter:
    """One machine with its memory.

    Parameters
    ----------
    machine: sizes of the on-chip memories, and the bus for counting beats.
    program: bytes, 24 an instruction, or 192-bit words.
    memory: uint8 [n], read and written in place.
    memory_base: added to every address.

    Members
    -------
    units: the state of the execution units (`sim.interpreter_units.Units`).
    next_token: argmax of the last HEAD.
    error: CSR ERROR of the last run: 0, or code + layer << 8.
    counters: by name, those of `hw.isa.COUNTERS` that are exact; they add up over tokens.
    """

    def __init__(
        self, machine: MachineConfig, program: bytes | Sequence[int], memory: np.ndarray, memory_base: int = 0
    ) -> None:
        if isinstance(program, bytes | bytearray | memoryview):
            if len(program) % INSTRUCTION_BYTES:
                raise InterpreterError(
                    f"program: wanted a multiple of {INSTRUCTION_BYTES} bytes, found {len(program)}"
                )
            program = [
                int.from_bytes(program[i : i + INSTRUCTION_BYTES], "little")
                for i in range(0, len(program), INSTRUCTION_BYTES)
            ]
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise InterpreterError(f"memory: wanted uint8 [n], found {memory.dtype} {list(memory.shape)}")
        if not 0 < len(program) <= machine.program_words:
            raise InterpreterError(
                f"program: wanted 1 to {machine.program_words} instructions, found {len(program)}"
            )
        self.machine, self.memory, self.memory_base = machine, memory, memory_base
        self._program = [_decoded(word) for word in program]
        self.units = Units(machine)
        self.next_token, self.error = 0, 0
        self.counters = dict.fromkeys(EXACT, 0)
        self._tape = Tape(memory)
        self.layer = 0

    def clear_counters(self) -> None:
        """CSR CONTROL bit 2."""
        self.counters = dict.fromkeys(EXACT, 0)

    @torch.inference_mode()
    def step(self, token: int, position: int, predicates: int = 1) -> int:
        """Run the program once and return NEXT_TOKEN. Raises MachineError, InterpreterError."""
        self._token, self._position, self._predicates = token, position, predicates | 1
        self.layer, self.error = 0, 0
        self._tape.clear()
        self.units.begin()
        at = start = count = 0
        for _ in range(10_000_000):
            if at >= len(self._program):
                raise InterpreterError(
                    "program: wanted END before its last instruction was passed, found none"
                )
            name, fields = self._program[at]
            where = f"instruction {at} ({name}), layer {self.layer}"
            at += 1
            if not self._predicates >> fields["predicate"] & 1:
                continue
            if name == "END":
                self._finish(where)
                return self.next_token
            if name == "LOOP":
                self.layer, start, count = 0, at, fields["count"]
            elif name == "NEXT":
                self.layer += 1
                at = start if self.layer < count else at
            else:
                self._execute(name, fields, where)
        raise InterpreterError("program: wanted END within ten million instructions, found none")

    def _execute(self, name: str, fields: dict[str, int], where: str) -> None:
        if name == "unknown":
            self._fail(4, where)
        try:
            if name == "FETCH":
                self._fetch(fields, where)
                return
            self.counters["instructions"] += 1
            if BY_NAME[name].unit == Unit.STORE:
                self._store(fields, where)
            elif name == "NORM":
                if self.units.norm(fields):
                    self._fail(1, where)
            else:
                self._unit(name, fields)
        except UsageError as error:
            raise InterpreterError(f"{where}: {error}") from error

    def _unit(self, name: str, f: dict[str, int]) -> None:
        counters, units, tape = self.counters, self.units, self._tape
        if name == "MATMUL":
            units.matmul(f, tape)
            counters["lookups"] += f["rows"] * -(-f["k"] // numerics.TRITS_PER_BYTE)
        elif name == "HEAD":
            self.next_token = units.head(f, tape, bool(self._predicates >> f["emit"] & 1))
            counters["head_products"] += f["rows"] * f["k"]
        elif name == "ATTEND":
            saturated, products = units.attention.attend(f, tape, units.stage, self._position)
            counters["score_saturations"] += saturated
            counters["attention_products"] += products
        else:
            (units.map if name == "MAP" else units.quantise)(f, tape)
            counters["vector_elements"] += f["n"]

    # --- memory -------------------------------------------------------------------------------------------

    def _range(self, address: int, size: int, code: int, where: str) -> int:
        """Start of [address, address + size) in memory; a machine error where it is outside, unless empty."""
        start = self.memory_base + address & 0xFFFFFFFF
        if size and start + size > len(self.memory):
            self._fail(code, f"{where}: address 0x{start:08x}, {size} bytes, memory of {len(self.memory)}")
        return start

    def _fetch(self, f: dict[str, int], where: str) -> None:
        register = {
            Index.NONE: 0,
            Index.LAYER: self.layer,
            Index.POSITION: self._position,
            Index.TOKEN: self._token,
        }
        size = f["bytes"] * (self._position if f["per_position"] else 1)
        start = self._range(f["base"] + register[Index(f["index"])] * f["stride"], size, 2, where)
        if size and start % self.machine.bus_bytes:
            raise UsageError(f"wanted a start on {self.machine.bus_bytes} bytes, found 0x{start:08x}")
        if f["descriptor"]:
            raise UsageError("descriptor is 1; this version has none")
        self._tape.append(start, size)
        kind = {Kind.WEIGHTS: "weight_bytes", Kind.KV: "kv_read_bytes", Kind.OTHER: "other_bytes"}[
            Kind(f["kind"])
        ]
        self.counters["fetches"] += 1
        self.counters[kind] += size
        self.counters["read_beats"] += -(-size // self.machine.bus_bytes)

    def _store(self, f: dict[str, int], where: str) -> None:
        address = f["base"] + self.layer * f["stride"] + self._position * f["step"]
        start = self._range(address, f["bytes"], 3, where)
        if f["bytes"] and start % self.machine.bus_bytes:
            raise UsageError(f"wanted a start on {self.machine.bus_bytes} bytes, found 0x{start:08x}")
        data = self.units.payload(Payload(f["payload"]), f["bytes"])
        self.memory[start : start + f["bytes"]] = data
        self.counters["logit_bytes" if f["payload"] == Payload.LOGITS else "kv_write_bytes"] += f["bytes"]

    # --- endings ------------------------------------------------------------------------------------------

    def _fail(self, code: int, where: str) -> None:
        self.error = code | (self.layer & 0xFFFF) << 8
        raise MachineError(code, self.layer, where)

    def _finish(self, where: str) -> None:
        if self._tape.left:
            raise InterpreterError(
                f"{where}: wanted an empty tape, found {self._tape.left} bytes nobody took"
            )
        if left := self.units.leftovers():
            raise InterpreterError(f"{where}: {left}")


def _decoded(word: int) -> tuple[str, dict[str, Any]]:
    """Name and fields; an opcode that is not in the table becomes "unknown"."""
    opcode, predicate = HEADER[0], HEADER[1]
    if word & (1 << opcode.bits) - 1 not in BY_OPCODE:
        return "unknown", {"predicate": word >> opcode.bits & (1 << predicate.bits) - 1}
    try:
        return decode(word)
    except ValueError as error:
        raise InterpreterError(f"program: {error}") from error
