"""Text to binary and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.assembler import INSTRUCTION_BYTES, AssemblyError, assemble, disassemble
from compiler.compile import compile_program
from hw import isa
from hw.machine import CI

from ..hw.test_isa import instructions
from ..models.random_model import random_model


@given(st.lists(instructions(), max_size=6))
def test_binary_round_trip(program: list[tuple[str, dict[str, int]]]):
    data = b"".join(isa.encode(name, **f).to_bytes(INSTRUCTION_BYTES, "little") for name, f in program)
    assert assemble(disassemble(data)) == data


def test_compiled_program_round_trip():
    data = compile_program(random_model(), CI).program
    text = disassemble(data)
    assert assemble(text) == data
    assert disassemble(assemble(text)) == text


def test_text():
    text = "# a comment\n\nMAP  n=0x10 source=TAPE  grid=-44 wait_matmul=0  # another\nNEXT\n"
    assert disassemble(assemble(text)) == "MAP source=TAPE n=16 grid=-44 wait_matmul=0\nNEXT\n"
    assert assemble("FETCH index=2") == assemble("FETCH index=POSITION")


def test_loops_are_indented():
    text = "LOOP register=TILE\nLOOP count=2\nMAP tiled=1\nNEXT\nNEXT register=TILE\nEND\n"
    shown = "LOOP register=TILE\n  LOOP count=2\n    MAP tiled=1\n  NEXT\nNEXT register=TILE\nEND\n"
    assert disassemble(assemble(text)) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NEXT\n\nMAPP n=4", "line 3: no instruction 'MAPP'; there are END"),
        ("MAP m=4", "line 1: wanted field=value, found 'm=4'; fields of MAP"),
        ("MAP n", "line 1: wanted field=value, found 'n'"),
        ("MAP n=4 n=4", "line 1: n is given twice"),
        ("MAP n=four", "line 1: n: wanted an integer, found 'four'"),
        ("MAP source=STAGE", "line 1: source: wanted an integer, or one of ACTIVATION"),
        ("MAP function=7", "line 1: function: 7 is not a Function"),
        ("MAP n=65536", "line 1: MAP.n: wanted 0 to 65535"),
        ("MAP opcode=3", "line 1: wanted field=value, found 'opcode=3'"),
    ],
)
def test_errors_name_the_line(text: str, message: str):
    with pytest.raises(AssemblyError) as caught:
        assemble(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(25), "multiple of 24 bytes, found 25"),
        (assemble("NEXT") + (63).to_bytes(24, "little"), "instruction 1: opcode 63"),
        (assemble("NEXT")[:-1] + b"\x80", "instruction 0: bits outside the fields"),
    ],
)
def test_disassembly_refuses(data: bytes, message: str):
    with pytest.raises(AssemblyError, match=message):
        disassemble(data)
