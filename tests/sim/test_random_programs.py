"""Random legal programs: interpreter and RTL agree on memory, tokens, counters; the check can fail."""

import dataclasses
import functools
import random

import numpy as np
import pytest

from compiler.assembler import assemble
from hw import isa
from hw.machine import CI, MACHINES, MachineConfig
from sim.entries import Entry
from sim.machine_grid import BYTES, GRID
from sim.random_check import Checker, Found, RandomCase, difference, predict
from tests.random.program import random_program
from tests.random.show import show

COUNT, PART = 300, 50
EVERY = MACHINES | {machine.name: machine for machine, _ in GRID}


@functools.cache
def case_of(seed: int) -> RandomCase:
    return random_program(seed, CI)


@pytest.mark.parametrize("first", range(0, COUNT, PART))
def test_interpreter_and_rtl_agree(first: int):
    with Checker(CI) as checker:
        found = [checker.check(random_program(seed, CI)) for seed in range(first, first + PART)]
    assert [text for text in found if text] == []
    assert checker.errors <= PART // 5, "programs that end early prove little"


def test_they_agree_on_a_machine_with_byte_tables():
    """As kv260 has them, with few bytes, which two tables share, and with more."""
    cases = [random_program(seed, BYTES) for seed in range(1000, 1000 + PART)]
    few = 5 * (BYTES.tables // 4 * 2)
    chunks = [f["k"] for case in cases for name, f in case.rows if name == "MATMUL"]
    assert sum(5 < k <= few for k in chunks) > 10 and any(k > few for k in chunks)
    with Checker(BYTES) as checker:
        assert [text for text in map(checker.check, cases) if text] == []


def test_a_seed_gives_one_program():
    a, b = random_program(7, CI), random_program(7, CI)
    assert dataclasses.replace(a, memory=b.memory) == b
    assert np.array_equal(a.memory, b.memory)
    assert a.program != random_program(8, CI).program


def test_a_program_is_shown_whole():
    case = next(
        case
        for seed in range(100)
        if len((case := case_of(seed)).entries) > 1 and "unknown" not in dict(case.rows)
    )
    text = show(case)
    assert assemble(text) == case.program
    assert f"TOKENS {len(case.entries)}, TILE {case.tile}" in text
    assert sum(line.startswith("# ") for line in text.splitlines()) == 2 + len(case.entries)


@pytest.mark.parametrize("name", EVERY)
def test_programs_are_legal_on_every_machine(name: str):
    """The interpreter refuses what is not; a machine error is legal."""
    machine: MachineConfig = EVERY[name]
    outcomes = [predict(random_program(seed, machine), machine) for seed in range(400, 415)]
    assert sum(outcome.error == 0 for outcome in outcomes) > 10


def test_integers_of_every_kind_are_drawn():
    """On a machine of int8 activations there are no mantissas, on another one there are."""
    rows: list[tuple[str, dict[str, int]]] = [row for seed in range(60) for row in case_of(seed).rows]
    for name in ("LINEAR", "HEAD"):
        shapes = [f for one, f in rows if one == name]
        for holds in (
            lambda f: f["width"] == isa.Width.INT4 and f["minima"] and f["rows"] % 2,
            lambda f: f["width"] == isa.Width.INT8 and f["group"] and f["k"] % 8,
            lambda f: not f["group"],
            lambda f: f["group"] > f["k"],
            lambda f: f["group"] < f["k"] and f["group"] and f["k"] % f["group"],
        ):
            assert any(holds(f) for f in shapes), name
    assert any(f.get("source") == isa.Source.LINEAR for name, f in rows if name == "MAP")
    for name in ("QUANTISE", "NORM"):
        assert any(f.get("mantissa") for one, f in rows if one == name)
    small = dataclasses.replace(CI, activation_bits=8)
    for seed in range(20):
        case = random_program(seed, small)
        assert not any(f.get("mantissa") for _, f in case.rows)
        predict(case, small)


def test_a_wrong_bit_is_seen():
    """A few bytes of one fetched operand are not those that the interpreter saw."""
    rng, missed, tried = random.Random(5), 0, 0
    with Checker(CI) as checker:
        for seed in range(50):
            case = case_of(seed)
            predicted = predict(case, CI)
            plain = [
                f
                for name, f in case.rows
                if name == "FETCH" and f["bytes"] and f["index"] == isa.Index.NONE and not f.get("predicate")
            ]
            if predicted.error or not plain:
                continue
            fetch = rng.choice(plain)
            memory = case.memory.copy()
            for _ in range(4):  # one alone is often rounded or clipped away
                at = case.memory_base + fetch["base"] + rng.randrange(fetch["bytes"])
                memory[at] = 1 if case.memory[at] == 0 else 0  # a legal byte whatever it is
                # The byte itself lies in memory on both sides.
                predicted.memory[at] = memory[at]
            changed = dataclasses.replace(case, memory=memory)
            tried += 1
            missed += checker.compare(changed, predicted) is None
    assert tried >= 20
    print(f"{missed} of {tried} changed operands were not seen")
    assert missed <= tried // 2, f"{missed} of {tried} changed operands were not seen"


def test_every_kind_of_difference_is_named():
    seed = next(seed for seed in range(100) if predict(case_of(seed), CI).found)
    outcome = predict(case_of(seed), CI)
    found = outcome.found
    assert found is not None

    def other(**change: object) -> Found:
        return dataclasses.replace(found, **change)  # type: ignore[arg-type]

    counters = {**outcome.counters, "lookups": outcome.counters["lookups"] + 1}
    memory = outcome.memory.copy()
    memory[77] ^= 4
    ids, bits = found.tops[0]
    for changed, text in (
        (dataclasses.replace(outcome, error=0x201), "ERROR: isa none, rtl 1 in layer 2"),
        (dataclasses.replace(outcome, memory=memory), "memory at 0x00004d"),
        (dataclasses.replace(outcome, found=other(generated=found.generated + 1)), "GENERATED"),
        (dataclasses.replace(outcome, found=other(output=[found.output[0] + 1])), "OUTPUT 0"),
        (dataclasses.replace(outcome, found=other(table=[Entry(1, 2), *found.table[1:]])), "entry 0"),
        (
            dataclasses.replace(outcome, found=other(tops=[(ids, [bits[0] ^ 1, *bits[1:]])])),
            "TOP of token 0 rank 0",
        ),
        (dataclasses.replace(outcome, found=other(tops=[(ids[:-1], bits[:-1])])), "rtl none"),
        (dataclasses.replace(outcome, counters=counters), "counter lookups"),
    ):
        named = difference(outcome, changed)
        assert named is not None
        assert text in named
    assert difference(outcome, outcome) is None
