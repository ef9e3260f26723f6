"""The program as the interpreter walks it: decoded instructions, and the registers that loops count in."""

from collections.abc import Sequence
from typing import Any

from hw.isa import BY_OPCODE, HEADER, INSTRUCTION_BITS, Loop, decode
from hw.machine import MachineConfig

from .interpreter_chunk import Chunk
from .interpreter_tape import UsageError

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8


class InterpreterError(RuntimeError):
    """The program is not legal: which instruction, what it wanted, what was there."""


def decoded(machine: MachineConfig, program: bytes | Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
    """Name and fields of each instruction; an opcode that is not in the table becomes "unknown"."""
    if isinstance(program, bytes | bytearray | memoryview):
        if len(program) % INSTRUCTION_BYTES:
            raise InterpreterError(
                f"program: wanted a multiple of {INSTRUCTION_BYTES} bytes, found {len(program)}"
            )
        program = [
            int.from_bytes(program[i : i + INSTRUCTION_BYTES], "little")
            for i in range(0, len(program), INSTRUCTION_BYTES)
        ]
    if not 0 < len(program) <= machine.program_words:
        raise InterpreterError(
            f"program: wanted 1 to {machine.program_words} instructions, found {len(program)}"
        )
    return [_decoded(word) for word in program]


def _decoded(word: int) -> tuple[str, dict[str, Any]]:
    opcode, predicate = HEADER[0], HEADER[1]
    if word & (1 << opcode.bits) - 1 not in BY_OPCODE:
        return "unknown", {"predicate": word >> opcode.bits & (1 << predicate.bits) - 1}
    try:
        return decode(word)
    except ValueError as error:
        raise InterpreterError(f"program: {error}") from error


class Registers:
    """LAYER, and TILE as the entry at which the current tile begins; both 0 as a step begins.

    Members
    -------
    layer, first: their values.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.layer = self.first = 0
        self._chunk = chunk
        self._loops: dict[int, tuple[int, int]] = {}  #: by register: first instruction, repetitions

    def loop(self, f: dict[str, int], at: int) -> int:
        """LOOP before instruction `at`; the instruction that follows."""
        self._loops[f["register"]] = at, f["count"]
        if f["register"] == Loop.LAYER:
            self.layer = 0
        else:
            self.first = 0
        return at

    def next(self, f: dict[str, int], at: int) -> int:
        """NEXT before instruction `at`; the instruction that follows."""
        if f["register"] not in self._loops:
            raise UsageError(f"wanted a LOOP of register {Loop(f['register']).name} before it, found none")
        start, count = self._loops[f["register"]]
        if f["register"] == Loop.LAYER:
            self.layer += 1
            return start if self.layer < count else at
        if self.first + self._chunk.tile >= len(self._chunk.entries):
            return at
        self.first += self._chunk.tile
        return start
