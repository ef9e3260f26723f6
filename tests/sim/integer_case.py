"""Integer matrices as integers of Python, what they should give, and their tape byte by byte."""

import random
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from compiler.assembler import assemble
from hw.machine import CI, MachineConfig
from sim.interpreter import Interpreter


def fl(x: Fraction) -> Fraction:
    """x rounded to binary32, ties to even; too small ones are zero, too large ones an error."""
    if not x:
        return x
    exponent = 0
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** (exponent - 23)
    found = round(x / step) * step  # of Python: ties to even
    assert abs(found) < Fraction(2) ** 128
    return found if abs(found) >= Fraction(2) ** -126 else Fraction(0)


def as_float(bits: np.ndarray) -> list[Fraction]:
    return [Fraction(float(x)) for x in bits]


@dataclass
class Matrix:
    """Integers of a LINEAR or HEAD as lists, and its tape byte by byte."""

    rows: int
    k: int
    bits: int = 8
    group: int = 0
    minima: bool = False
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    #: Largest scale and minimum.
    large: int = 4095

    def __post_init__(self) -> None:
        rng, half = self.rng, 1 << self.bits - 1
        self.codes = [[rng.choice((-half, half - 1, rng.randrange(-half, half))) for _ in range(self.k)]
                      for _ in range(self.rows)]  # fmt: skip
        self.groups = -(-self.k // self.group) if self.group else 1
        self.scales, self.lows = (
            [[rng.randint(-self.large, self.large) for _ in range(self.groups)] for _ in range(self.rows)]
            for _ in range(2)
        )
        self.row_scale = [
            np.float32(rng.uniform(-2, 2) * 2.0 ** rng.randint(-12, 3)) for _ in range(self.rows)
        ]

    @property
    def fields(self) -> str:
        width = "INT8" if self.bits == 8 else "INT4"
        return f"rows={self.rows} k={self.k} width={width} group={self.group} minima={int(self.minima)}"

    def tape(self, lanes: int, filler: bool = True) -> bytes:
        """As the instruction set has it; the filler, which must not count, is something or zero."""
        out, unit = bytearray(), lanes * 4 // self.bits
        for even in range(0, self.rows, 2):
            pair = [even, even + 1] if even + 1 < self.rows else [even]
            for g in range(self.groups):
                size = self.group or self.k
                at = range(g * size, min((g + 1) * size, self.k))
                filled = range(at.start, at.start - (-len(at) // unit) * unit)
                units = [[self.codes[r][i] if i in at else 5 * filler for i in filled] for r in pair]
                units += [[3 * filler] * len(units[0])] * (2 - len(pair))
                for a, b in zip(*units, strict=True):
                    out += bytes((a & 255, b & 255)) if self.bits == 8 else bytes((a & 15 | (b & 15) << 4,))
                if self.group:
                    for table in (self.scales, self.lows)[: 1 + self.minima]:
                        values = [table[r][g] for r in pair] + [77 * filler] * (2 - len(pair))
                        out += b"".join(value.to_bytes(2, "little", signed=True) for value in values)
            scales = [self.row_scale[r] for r in pair] + [np.float32(9 * filler)] * (2 - len(pair))
            out += np.array(scales, np.float32).tobytes()
        return bytes(out)

    def sums(self, q: list[int]) -> list[int]:
        """acc of each row, modulo 2^48."""
        found = []
        for r in range(self.rows):
            acc = 0
            for i, (x, w) in enumerate(zip(q, self.codes[r], strict=True)):
                g = i // self.group if self.group else 0
                acc += x * w * (self.scales[r][g] if self.group else 1)
                acc += x * self.lows[r][g] * self.minima
            found.append((acc + 2**47) % 2**48 - 2**47)
        return found

    def results(self, q: list[int], scale: Fraction) -> list[Fraction]:
        return [
            fl(fl(fl(Fraction(acc)) * scale) * Fraction(float(self.row_scale[r])))
            for r, acc in enumerate(self.sums(q))
        ]

    def products(self, lanes: int) -> int:
        unit = lanes * 4 // self.bits
        return 2 * -(-self.rows // 2) * -(-self.k // unit) * unit


def loaded(
    matrix: Matrix, instruction: str, config: MachineConfig = CI, tokens: int = 1
) -> tuple[Interpreter, list[list[int]]]:
    """An interpreter with the matrix at 0, and the activations of each token, at 32 of Q."""
    tape = matrix.tape(config.head_lanes)
    text = f"FETCH bytes={len(tape)}\n{instruction} {matrix.fields} q=32 scale=126 tiled=1\nEND"
    interpreter = Interpreter(config, assemble(text), np.frombuffer(tape + bytes(8), np.uint8).copy())
    rng, levels = matrix.rng, 127 if config.activation_bits == 8 else 2047
    q = [
        [rng.choice((-levels, levels, rng.randint(-levels, levels))) for _ in range(matrix.k)]
        for _ in range(tokens)
    ]
    interpreter.units.q[:] = 99
    for t, row in enumerate(q):
        interpreter.units.q[t, 32 : 32 + matrix.k] = torch.tensor(row)
    interpreter.units.scalar[:] = 3
    for t in range(tokens):
        interpreter.units.scalar[(126 + t) % 128] = 2.0**-20 * (5 + t)
    return interpreter, q
