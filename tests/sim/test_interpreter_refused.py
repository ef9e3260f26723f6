"""What the interpreter refuses, and errors of the machine."""

import re

import numpy as np
import pytest

from hw.machine import CI
from sim.entries import Entry
from sim.interpreter import Interpreter, InterpreterError, MachineError

from .interpreter_case import NUMBERS, chunk, machine

#: Programs on a memory of 256 zero bytes, and what is wrong with them.
ILLEGAL = {
    "more than was fetched": ("FETCH bytes=8\nMAP source=TAPE n=4\nEND", "wanted 16 bytes of tape, found 8"),
    "left over": ("FETCH bytes=8\nEND", "8 bytes nobody took"),
    "no end": ("NORM d=1", "END"),
    "outside a memory": ("MAP n=4 d=60000\nEND", "on-chip memory"),
    "no attention output": ("MAP source=ATTENTION n=4\nEND", "attention output"),
    "logits nobody takes": ("FETCH bytes=40\nHEAD rows=1 k=16\nEND", "no STORE took"),
    "logits nobody made": ("STORE bytes=4 payload=LOGITS\nEND", "found none"),
    "trits": ("FETCH base=64 bytes=4\nMATMUL rows=4 k=5\nEND", "0 to 242"),
    "misaligned": ("FETCH base=4 bytes=4\nEND", "start on 8 bytes"),
    "values without scores": ("ATTEND half=VALUE feed=STAGE kv_heads=1 group=1 head_size=8\nEND", "scores"),
    "no loop": ("LOOP count=2\nNEXT register=TILE\nEND", "a LOOP of register TILE before it"),
    "descriptor": ("FETCH bytes=8 descriptor=1\nEND", "descriptor is 1"),
    "a head of nothing": ("HEAD k=16\nEND", "rows: wanted 1 or more"),
    "a matrix of nothing": ("LINEAR rows=2\nEND", "k: wanted 1 or more"),
    "group of part of a unit": (
        "LINEAR rows=2 k=16 group=12\nEND",
        "group: wanted a multiple of 8, found 12",
    ),
    "group of half a unit": ("HEAD rows=2 k=16 width=INT4 group=8\nEND", "a multiple of 16, found 8"),
    "minima of no group": ("LINEAR rows=2 k=16 minima=1\nEND", "minima: wanted a group"),
    "integers outside Q": ("FETCH bytes=24\nLINEAR rows=2 k=2 q=511\nEND", "on-chip memory"),
    "sums outside ACC": ("FETCH bytes=24\nLINEAR rows=2 k=2 acc=1023\nEND", "on-chip memory"),
    "mantissas of queries": (
        "QUANTISE target=QUERY n=4 mantissa=1\nEND",
        "wanted target MATMUL and segment 0",
    ),
    "mantissas by segment": ("QUANTISE n=8 segment=4 mantissa=1\nEND", "found MATMUL and 4"),
    "sequence": ("FETCH bytes=8 sequence=1\nEND", "wanted index LAYER, found NONE"),
    "odd activations": ("STORE bytes=6 payload=ACTIVATION\nEND", "a multiple of 4, found 6"),
    "stored before it is taken": (
        "FETCH bytes=16\nSTORE base=8 bytes=8 payload=VALUE\nMAP source=TAPE n=4\nEND",
        "0x00000008: wanted memory that no FETCH",
    ),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal_programs(case: str):
    text, message = ILLEGAL[case]
    memory = np.zeros(256, np.uint8)
    memory[64:] = 255
    interpreter = machine(text, memory)
    with pytest.raises(InterpreterError, match=message):
        interpreter.step(0, 0)


#: Arguments of `run`, and what is wrong with them.
MISUSED = {
    "tile": ({"entries": chunk(1), "tile": 8}, "TILE: wanted 1 to 4, found 8"),
    "no tokens": ({"entries": [], "tile": 1}, "TOKENS: wanted 1 to 128, found 0"),
    "many tokens": ({"entries": chunk(129), "tile": 1}, "TOKENS: wanted 1 to 128, found 129"),
    "a batch of two tiles": (
        {"entries": [Entry(1, 0), Entry(2, 0), Entry(3, 0)], "tile": 2, "batch": True},
        "one tile, at most 2 tokens, found 3",
    ),
    "a batch that continues": ({"entries": chunk(2), "tile": 2, "batch": True}, "of its own in a batch"),
    "a first entry that continues": (
        {"entries": [Entry(1, 0, 0, True)], "tile": 1},
        "entry 0: wanted a sequence of its own",
    ),
    "a gap": (
        {"entries": [Entry(1, 4), Entry(1, 6, 0, True)], "tile": 2},
        "entry 1 continues: wanted position 5 and base 0, found 6 and 0",
    ),
    "another base": ({"entries": [Entry(1, 4), Entry(1, 5, 1, True)], "tile": 2}, "found 5 and 1"),
    "a large token": ({"entries": [Entry(1 << 20, 4)], "tile": 1}, "token: wanted 20 bits, found 1048576"),
    "no steps": ({"entries": chunk(1), "tile": 1, "steps": 0}, "1 or more steps"),
    "stops": ({"entries": chunk(1), "tile": 1, "stops": range(5)}, "at most 4 stop tokens"),
    "steps without a head": ({"entries": chunk(1), "tile": 1, "steps": 2}, "a HEAD in each of several steps"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_misuse(case: str):
    arguments, message = MISUSED[case]
    with pytest.raises(InterpreterError, match=re.escape(message)):
        machine("END").run(**arguments)


def test_a_step_without_a_head_finds_nothing():
    assert machine("END").run(chunk(2), tile=2) == [[]]


def test_machine_errors():
    outside = machine("FETCH base=256 bytes=8\nEND", np.zeros(256, np.uint8))
    with pytest.raises(MachineError, match="answered a read"):
        outside.step(0, 0)
    unknown = Interpreter(CI, [63], np.zeros(256, np.uint8))
    with pytest.raises(MachineError, match="unknown opcode"):
        unknown.step(0, 0)


def test_one_token_of_a_tile_saturates():
    text = f"""LOOP count=3
      FETCH base={NUMBERS} stride=16 bytes=16 index=ENTRY tiled=1
      MAP source=TAPE n=4 statistics=1 grid=-54 tiled=1
      NORM normalise=1 tiled=1
    NEXT
    END"""
    machine(text).run(chunk(3), tile=4)  # 11 * 11 * 2**54 and smaller: below 2**63
    interpreter = machine(text)
    with pytest.raises(MachineError, match="saturated") as caught:
        interpreter.run(chunk(4), tile=4)
    assert (caught.value.code, caught.value.layer, interpreter.error) == (1, 0, 1)
