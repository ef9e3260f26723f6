"""What tests of the interpreter on small programs share."""

import numpy as np

from compiler.assembler import assemble
from hw.machine import CI
from sim.entries import Entry
from sim.interpreter import Interpreter

#: Where `machine` puts the floats 0, 1, 2, ..
NUMBERS = 1024


def machine(text: str, memory: np.ndarray | None = None) -> Interpreter:
    """An interpreter of the text; memory is zero, with numbers from NUMBERS on, if it is not given."""
    if memory is None:
        memory = np.zeros(4096, np.uint8)
        memory[NUMBERS : NUMBERS + 1024] = np.arange(256, dtype=np.float32).view(np.uint8)
    return Interpreter(CI, assemble(text), memory)


def chunk(n: int, position: int = 0) -> list[Entry]:
    """n neighbouring tokens of one sequence, ids 10, 11, .."""
    return [Entry(10 + i, position + i, 0, i > 0) for i in range(n)]


def floats(interpreter: Interpreter, at: int, n: int) -> list[float]:
    """n floats of memory from byte `at` on."""
    return interpreter.memory[at : at + 4 * n].view(np.float32).tolist()
