"""LINEAR, HEAD and mantissas of the interpreter, against integers and fractions of Python."""

import dataclasses
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from compiler.assembler import assemble
from hw.machine import CI
from sim.entries import Entry
from sim.interpreter import Interpreter, InterpreterError

from .integer_case import Matrix, as_float, fl, loaded
from .interpreter_case import NUMBERS, chunk, machine

SHAPES = {
    "int8": Matrix(6, 24),
    "int8 of one": Matrix(1, 1),
    "int8 odd": Matrix(5, 19),
    "int8 groups": Matrix(4, 40, group=16),
    "int8 minima": Matrix(3, 37, group=16, minima=True),
    "int4": Matrix(6, 48, 4),
    "int4 odd": Matrix(3, 17, 4),
    "int4 groups": Matrix(5, 70, 4, 32),
    "int4 minima": Matrix(7, 70, 4, 32, True),
    "one group that k does not fill": Matrix(3, 9, 4, 64, True),
    "groups of one unit": Matrix(2, 33, 4, 16, True),
    "wide scales": Matrix(4, 64, 8, 16, True, large=32767),
}

# --- LINEAR and HEAD --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 3])
def test_linear(shape: str, tokens: int):
    matrix = SHAPES[shape]
    interpreter, q = loaded(matrix, "LINEAR acc=8", tokens=tokens)
    interpreter.units.acc[:] = 1234
    interpreter.run(chunk(tokens), tile=4)
    acc = interpreter.units.acc
    for t in range(tokens):
        wanted = matrix.results(q[t], Fraction(5 + t, 2**20))
        found = acc[t, 8 : 8 + matrix.rows].numpy().astype(np.int32).view(np.float32)
        assert as_float(found) == wanted
        assert acc[t].abs().max() < 2**31
    assert (acc[:, :8] == 1234).all()
    assert (acc[:, 8 + matrix.rows :] == 1234).all()
    assert interpreter.counters["integer_products"] == tokens * matrix.products(16)
    assert interpreter.counters["lookups"] == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_head(shape: str):
    matrix = SHAPES[shape]
    interpreter, q = loaded(matrix, "HEAD emit=1", dataclasses.replace(CI, top_k=3), 2)
    interpreter.run(chunk(2), tile=2, predicates=1)
    for t in range(2):
        wanted = matrix.results(q[t], Fraction(5 + t, 2**20))
        assert as_float(interpreter.units.logits[t].numpy()) == wanted
        order = sorted(range(matrix.rows), key=lambda r: (-wanted[r], r))[:3]
        ids, values = interpreter.top(t)
        assert ids == order
        assert as_float(np.array(values)) == [wanted[r] for r in order]
        assert interpreter.next_token[t] == order[0]
    assert interpreter.counters["integer_products"] == 2 * matrix.products(16)


@pytest.mark.parametrize("lanes", [4, 64])
def test_units_of_other_machines(lanes: int):
    for bits in (8, 4):
        unit = lanes * 4 // bits
        matrix = Matrix(3, 2 * unit + 1, bits, unit, True)
        interpreter, q = loaded(matrix, "LINEAR", dataclasses.replace(CI, head_lanes=lanes))
        interpreter.step(0, 0)
        found = interpreter.units.acc[0, : matrix.rows].numpy().astype(np.int32).view(np.float32)
        assert as_float(found) == matrix.results(q[0], Fraction(5, 2**20))
        assert interpreter.counters["integer_products"] == matrix.products(lanes)


def test_sums_wrap_at_48_bits():
    """Only a wide machine can reach them: the largest scale, code and activation, 16,600 times."""
    config = dataclasses.replace(CI, quantised_words=32768)
    matrix = Matrix(2, 16608, group=16608, large=32767)
    for r, sign in enumerate((1, -1)):
        matrix.codes[r], matrix.scales[r] = [-128] * matrix.k, [sign * 32767]
    interpreter, q = loaded(matrix, "LINEAR", config)
    q[0] = [2047] * matrix.k
    interpreter.units.q[0, 32 : 32 + matrix.k] = 2047
    true = 2047 * -128 * 32767 * matrix.k
    assert true < -(2**47)
    assert matrix.sums(q[0]) == [true + 2**48, -true - 2**48]
    interpreter.step(0, 0)
    found = interpreter.units.acc[0, :2].numpy().astype(np.int32).view(np.float32)
    assert as_float(found) == matrix.results(q[0], Fraction(5, 2**20))


def test_a_matrix_in_other_bytes_is_decoded_again():
    """What was decoded is known by its place, shape and bytes."""
    matrix = Matrix(2, 8)
    interpreter, q = loaded(matrix, "LINEAR")
    for change in (0, 1):
        interpreter.memory[0] = (matrix.codes[0][0] + change) & 255
        matrix.codes[0][0] = int(interpreter.memory[:1].view(np.int8)[0])
        interpreter.step(0, 0)
        found = interpreter.units.acc[0, :2].numpy().astype(np.int32).view(np.float32)
        assert as_float(found) == matrix.results(q[0], Fraction(5, 2**20))


def test_matmul_takes_no_mantissas():
    interpreter = machine("FETCH bytes=2\nMATMUL rows=2 k=5\nEND", np.full(64, 121, np.uint8))
    interpreter.step(0, 0)
    interpreter.units.q[0, 4] = -128
    with pytest.raises(InterpreterError, match="wanted activations within \\+-127"):
        interpreter.step(0, 0)


# --- MAP from LINEAR --------------------------------------------------------------------------------------

#: Bits in ACC, and what ADD of 0 makes of them (None: NaN).
PATTERNS = {
    0x3F800000: 0x3F800000, 0x80000000: 0, 0x00000001: 0, 0x807FFFFF: 0, 0x00800000: 0x00800000,
    0xFF7FFFFF: 0xFF7FFFFF, 0x7F800000: 0x7F800000, 0xFFC12345: None, 0x7F800001: None,
    0xFFFFFFFF: None, 0xC0490FDB: 0xC0490FDB, 0x00000000: 0,
}  # fmt: skip


@pytest.mark.parametrize("function", ["COPY", "ADD"])
def test_map_takes_the_bits(function: str):
    interpreter = machine(f"MAP source=LINEAR n=12 a=4 d=8 b=100 function={function}\nEND")
    bits = np.array(list(PATTERNS), np.uint32)
    interpreter.units.acc[0, 4:16] = torch.tensor(bits.view(np.int32).tolist())
    interpreter.step(0, 0)
    found = interpreter.units.act[0, 8:20].numpy()
    for given, wanted, x in zip(PATTERNS, PATTERNS.values(), found, strict=True):
        if function == "COPY":  # as of activations: nothing is done to it
            assert x.view(np.uint32) == given
        elif wanted is None:
            assert np.isnan(x)
        else:
            assert x.view(np.uint32) == wanted


def test_map_takes_the_bits_of_a_matmul():
    """And an ACCUMULATOR those of a LINEAR: 32 bits either way."""
    interpreter = machine("MAP source=LINEAR n=4\nMAP source=ACCUMULATOR n=4 d=4\nEND")
    interpreter.units.acc[0, :4] = torch.tensor([1 << 24, -(1 << 23), 0x3F800000, 0])
    interpreter.step(0, 0)
    act = interpreter.units.act[0, :8].numpy()
    assert act[:4].view(np.uint32).tolist() == [1 << 24, (1 << 32) - (1 << 23), 0x3F800000, 0]
    assert act[4:].tolist() == [1 << 24, -(1 << 23), 0x3F800000, 0]


# --- mantissas --------------------------------------------------------------------------------------------

MANTISSA = f"""FETCH base={NUMBERS} stride=32 bytes=32 index=ENTRY tiled=1
MAP source=TAPE n=8 statistics=1 stat=3 tiled=1
QUANTISE n=8 d=16 stat=3 mantissa=1 tiled=1
NORM stat=3 d=127 mantissa=1 tiled=1
END"""


def exponent_above(largest: Fraction) -> Fraction:
    """The least power of two above it."""
    found = Fraction(1)
    while found > largest:
        found /= 2
    while found <= largest:
        found *= 2
    return found


@pytest.mark.parametrize("seed", range(8))
def test_mantissas(seed: int):
    rng, interpreter = random.Random(seed), machine(MANTISSA)
    x = np.array(
        [[rng.uniform(-1, 1) * 2.0 ** rng.randint(-6, 6) for _ in range(8)] for _ in range(3)], np.float32
    )
    x[1, 3] = np.float32(-(2.0 ** rng.randint(-20, 20)))  # a power of two is not above itself
    x[2, 0] = np.float32(2.0**8) * np.float32(1 - 2**-24 * rng.choice((1, 2, 2**11, 2**13)))
    interpreter.memory[NUMBERS : NUMBERS + 96] = x.view(np.uint8).reshape(-1)
    interpreter.run(chunk(3), tile=4)
    for t in range(3):
        values = as_float(x[t])
        above = exponent_above(max(abs(v) for v in values))
        wanted = [max(-2047, min(2047, round(v * 2048 / above))) for v in values]
        assert interpreter.units.q[t, 16:24].tolist() == wanted
        assert Fraction(float(interpreter.units.scalar[(127 + t) % 128])) == above


@pytest.mark.parametrize(("largest", "codes", "scale"), [
    (2.0**-101, [0, 0], 0.0),
    (2.0**-100, [1024, -1024], 2.0**-99),
    (2.0**127, [0, 0], np.inf),  # E is infinite: fl(2048 / E) = 0
])  # fmt: skip
def test_extreme_mantissas(largest: float, codes: list[int], scale: float):
    interpreter = machine(MANTISSA)
    interpreter.memory[NUMBERS : NUMBERS + 8] = np.array([largest, -largest], np.float32).view(np.uint8)
    interpreter.memory[NUMBERS + 8 : NUMBERS + 32] = 0
    interpreter.step(0, 0)
    assert interpreter.units.q[0, 16:18].tolist() == codes
    assert float(interpreter.units.scalar[127]) == scale


def test_norm_of_mantissas():
    """E times the inverse root: squares 16 + 9 of eight numbers, on a grid of 1 with c = 1/100."""
    text = MANTISSA.replace("stat=3 d=127", "normalise=1 c=1 eps=2 stat=3 d=127").replace(
        "n=8 stat", "n=8 grid=0 stat"
    )
    interpreter = machine(text)
    x = np.array([3, -4, 0, 0, 0, 0, 0, 0], np.float32)
    interpreter.memory[NUMBERS : NUMBERS + 32] = x.view(np.uint8)
    interpreter.units.scalar[1] = 0.01
    interpreter.step(0, 0)
    assert interpreter.units.q[0, 16:18].tolist() == [3 * 256, -4 * 256]
    mean = fl(25 * Fraction(float(np.float32(0.01))))
    root = np.float32(np.sqrt(np.float64(float(mean))))  # the one rounding of a root needs no more bits
    wanted = fl(8 * fl(1 / Fraction(float(root))))
    assert Fraction(float(interpreter.units.scalar[127])) == wanted


def test_machines_of_int8_have_no_mantissas():
    small = dataclasses.replace(CI, activation_bits=8)
    for text in ("QUANTISE n=4 mantissa=1\nEND", "NORM mantissa=1\nEND"):
        with pytest.raises(InterpreterError, match="wanted a machine with activation_bits 12, found 8"):
            Interpreter(small, assemble(text), np.zeros(64, np.uint8)).run([Entry(0, 0)], tile=1)
