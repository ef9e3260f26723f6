"""Integer matrices in the compiler: what fits, the tape byte by byte, the program."""

import dataclasses

import numpy as np
import pytest
import torch

from compiler.assembler import disassemble
from compiler.check import GraphError, check
from compiler.compile import compile_program
from compiler.fit import CompileError
from compiler.fit_sums import fit_integers
from compiler.graph import Integers, build
from compiler.lower import Step
from compiler.schedule import duration
from compiler.tape_integer import integer_bytes
from hw import isa
from hw.integer_shape import IntegerShape
from hw.machine import CI, MachineConfig
from models.integer import IntegerLinear
from models.quantised import QuantisedModel

from ..models.random_model import INTEGER_MODELS, Form, integer_forms, random_model
from ..sim.integer_case import Matrix

# --- tape -------------------------------------------------------------------------------------------------


def as_linear(matrix: Matrix) -> IntegerLinear:
    """The integers of a `Matrix`."""
    group = matrix.group
    return IntegerLinear(
        torch.tensor(matrix.codes, dtype=torch.int8),
        matrix.bits,
        torch.from_numpy(np.array(matrix.row_scale)),
        group,
        torch.tensor(matrix.scales, dtype=torch.int16) if group else None,
        torch.tensor(matrix.lows, dtype=torch.int16) if matrix.minima else None,
    )


@pytest.mark.parametrize("lanes", [4, 16, 64])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("units", "minima"), [(0, False), (1, False), (3, True)])
@pytest.mark.parametrize("rows", [1, 6])
def test_tape_of_a_matrix(lanes: int, bits: int, units: int, minima: bool, rows: int):
    """As written out byte by byte in the tests of the interpreter; the filler is zero."""
    unit = lanes * 4 // bits
    matrix = Matrix(rows, 4 * unit + 3, bits, units * unit, minima)
    found = integer_bytes(as_linear(matrix), dataclasses.replace(CI, head_lanes=lanes))
    assert found.tobytes() == matrix.tape(lanes, filler=False)


def test_a_large_matrix_is_written_in_parts():
    matrix = Matrix(1101, 9, 4, 16, True)
    assert integer_bytes(as_linear(matrix), dataclasses.replace(CI, head_lanes=8)).tobytes() == matrix.tape(
        8, filler=False
    )


# --- program ----------------------------------------------------------------------------------------------


def instructions(model: QuantisedModel, machine: MachineConfig = CI) -> list[tuple[str, dict[str, int]]]:
    program = compile_program(model, machine).program
    return [isa.decode(int.from_bytes(program[i : i + 24], "little")) for i in range(0, len(program), 24)]


def test_instructions_of_a_mixed_model():
    model = random_model(3, **INTEGER_MODELS["mixed"])
    found = instructions(model)
    linear = {
        (f["rows"], f["k"], f["width"], f["group"], f["minima"]) for name, f in found if name == "LINEAR"
    }
    assert linear == {(32, 32, 0, 0, 0), (56, 32, 1, 32, 0), (32, 56, 1, 32, 0)}
    assert sum(name == "MATMUL" for name, _ in found) == 4
    (head,) = (f for name, f in found if name == "HEAD")
    assert (head["rows"], head["k"], head["width"], head["group"], head["minima"]) == (50, 32, 1, 16, 1)
    maps = [f for name, f in found if name == "MAP"]
    assert [f["scaled"] for f in maps if f["source"] == isa.Source.LINEAR] == [0] * 3
    assert [f["scaled"] for f in maps if f["source"] == isa.Source.ACCUMULATOR] == [1] * 4
    for name in ("QUANTISE", "NORM"):  # of the five sites o and down
        assert sum(f["mantissa"] for one, f in found if one == name) == 2


def test_ternary_programs_have_no_integers_but_the_head():
    text = disassemble(compile_program(random_model(1), CI).program)
    assert "LINEAR" not in text
    assert "mantissa" not in text
    assert "HEAD rows=50 k=32 scale=32 emit=1" in text


def test_duration_is_that_of_the_tape_or_of_the_results():
    fields = {"rows": 5, "k": 70, "width": 1, "group": 32, "minima": 1, "tiled": 1}
    pair = 5 + 3 + 1  # units of 16 codes, tails, row scales
    for tile, cycles in ((1, 3 * pair), (4, 3 * pair), (8, 3 * 16)):
        assert IntegerShape.of(CI, fields).cycles(tile) == cycles
        assert (
            duration(Step("LINEAR", fields), CI, 0, tile)
            - duration(Step("LINEAR", fields | {"rows": 1}), CI, 0, tile)
            == cycles * 2 // 3
        )


# --- what does not fit ------------------------------------------------------------------------------------

#: Options of `random_model`, changes to the machine, and what the compiler says.
REFUSED = {
    "12 bits": (
        INTEGER_MODELS["int4"],
        {"activation_bits": 8},
        r"input of q, k, v: wanted activations of at most 8 bits \(activation_bits\), found 12; .*8-bit act",
    ),
    "group": (
        INTEGER_MODELS["int4"],
        {"head_lanes": 32},
        r"every layer, q: wanted groups of a multiple of 32 weights .*4-bit.*found 16; .*head_lanes of 16",
    ),
    "group of int8": (
        {"integer": integer_forms(Form(8, 16), "down")},
        {"head_lanes": 64},
        r"every layer, down: wanted groups of a multiple of 32 weights .*8-bit.*found 16; .*groups of 32",
    ),
    "group of the head": (
        {"integer": integer_forms(Form(4, 8), "head")},
        {},
        r": head: wanted groups of a multiple of 16 weights .*found 8; .*head_lanes of 8 ",
    ),
    "a long group": (
        {"integer": integer_forms(Form(4, 1 << 16), "up")},
        {},
        r"up: wanted at most 65535 weights of a group",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case: str):
    options, machine, message = REFUSED[case]
    with pytest.raises(CompileError, match=message):
        compile_program(random_model(1, **options), dataclasses.replace(CI, **machine))


@pytest.mark.parametrize(("bits", "excess"), [(8, 0), (8, 1), (12, 0), (12, 1)])
def test_width_of_sums(bits: int, excess: int):
    """A row whose largest sum is the first that needs a 49th bit, or one just below."""
    levels = {8: 127, 12: 2047}[bits]
    model = random_model(2, integer=integer_forms(Form(8), "down"), activations={"down": bits})
    # k of the greatest code and scale, and a last one that decides.
    k, most = 0, -(-(2**47) // levels) - 1 + excess  # of sum |scale * code|
    k = most // (127 * 32767)
    scales = torch.full((1, k + 2), 32767, dtype=torch.int16)
    codes = torch.full((1, k + 2), -127, dtype=torch.int8)
    rest = most - 127 * 32767 * k
    codes[0, k], scales[0, k] = rest // 32767, 32767
    codes[0, k + 1], scales[0, k + 1] = 1, rest % 32767
    down = IntegerLinear(codes, 8, torch.ones(1), 1, scales)
    assert (down.largest_sum(bits) >= 2**47) == bool(excess)
    layers = (model.layers[0], dataclasses.replace(model.layers[1], down=down))
    wide = dataclasses.replace(model, layers=layers)
    if not excess:
        fit_integers(wide, dataclasses.replace(CI, head_lanes=2))
        return
    remedy = "scales and minima of fewer bits" + " or 8-bit activations" * (bits == 12)
    message = rf"layer 1, down: wanted sums within 48 bits .*may need 49; {remedy} would fit"
    with pytest.raises(CompileError, match=message):
        fit_integers(wide, dataclasses.replace(CI, head_lanes=2))


# --- graph ------------------------------------------------------------------------------------------------


def test_mantissas_are_for_integers():
    config, forms = random_model().config, {"o": Integers(4, 16)}
    graph = check(build(config, forms, {"o": 12}))
    (node,) = (node for node in graph.blocks["body"] if node.output == "o.q")
    assert (node.type.dtype, node.attributes["bits"]) == ("int12", 12)
    with pytest.raises(GraphError, match=r"linear -> o: wanted 32 int8 codes, found .*int12"):
        check(build(config, {}, {"o": 12}))
    with pytest.raises(GraphError, match="8 or 12 bits"):
        check(build(config, forms, {"o": 9}))
    assert check(build(config, {}, {"final": 12})).blocks["epilogue"][0].type.dtype == "int12"
