"""Random legal programs: interpreter and RTL agree on memory, registers, counters; the check can fail."""

import dataclasses
import functools
import random

import numpy as np
import pytest

from hw import isa
from hw.machine import CI, MACHINES
from sim.random_check import Checker, difference, predict
from sim.random_program import RandomCase, random_program

COUNT, PART = 300, 50


@functools.cache
def case_of(seed: int) -> RandomCase:
    return random_program(seed, CI)


@pytest.mark.parametrize("first", range(0, COUNT, PART))
def test_interpreter_and_rtl_agree(first: int):
    with Checker(CI) as checker:
        found = [checker.check(seed) for seed in range(first, first + PART)]
    assert [text for text in found if text] == []
    assert checker.errors <= PART // 5, "programs that end early prove little"


def test_a_seed_gives_one_program():
    a, b = random_program(7, CI), random_program(7, CI)
    assert a.program == b.program
    assert np.array_equal(a.memory, b.memory)
    assert a.program != random_program(8, CI).program


@pytest.mark.parametrize("name", MACHINES)
def test_programs_are_legal_on_every_machine(name: str):
    """The interpreter refuses what is not; a machine error is legal."""
    outcomes = [predict(random_program(seed, MACHINES[name]), MACHINES[name]) for seed in range(400, 420)]
    assert sum(outcome.error == 0 for outcome in outcomes) > 15


def test_everything_in_the_instruction_table_occurs():
    """Each instruction, each value of each enumeration and flag; predicates met and not met."""
    seen: dict[tuple[str, str], set[int]] = {}
    skipped: set[tuple[str, bool]] = set()
    for seed in range(COUNT):
        case = case_of(seed)
        for name, fields in case.rows:
            for item in isa.BY_NAME[name].fields:
                seen.setdefault((name, item.name), set()).add(int(fields.get(item.name, 0)))
            skipped.add((name, bool(case.predicates >> fields.get("predicate", 0) & 1)))
    for instruction in isa.INSTRUCTIONS:
        for item in instruction.fields:
            wanted = set(map(int, item.values)) if item.values else {0, 1} if item.bits == 1 else set()
            if item.name == "descriptor":
                wanted = {0}
            assert wanted <= seen[instruction.name, item.name], (instruction.name, item.name)
        if instruction.unit != isa.Unit.CONTROL:
            assert {(instruction.name, True), (instruction.name, False)} <= skipped
    chunk = CI.tables * 5
    assert {1, 2, 3} <= seen["LOOP", "count"]
    assert min(seen["MATMUL", "k"]) < 5
    assert max(seen["MATMUL", "k"]) > 3 * chunk
    assert {n % 5 for n in seen["MATMUL", "k"]} == set(range(5))
    assert {0, 1} < {n % CI.bus_bytes for n in seen["FETCH", "bytes"]}
    assert {0, CI.lanes} <= seen["MAP", "n"]
    assert max(seen["MAP", "n"]) >= CI.activation_words // 2


def test_a_wrong_bit_is_seen():
    """A few bytes of one fetched operand are not those that the interpreter saw."""
    rng, missed, tried = random.Random(5), 0, 0
    with Checker(CI) as checker:
        for seed in range(40):
            case = case_of(seed)
            predicted = predict(case, CI)
            plain = [
                f
                for name, f in case.rows
                if name == "FETCH"
                and f["bytes"]
                and f["index"] == isa.Index.NONE
                and not f.get("per_position")
                and not f.get("predicate")
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
    outcome = predict(case_of(3), CI)
    counters = {**outcome.counters, "lookups": outcome.counters["lookups"] + 1}
    memory = outcome.memory.copy()
    memory[77] ^= 4
    for changed, text in (
        (dataclasses.replace(outcome, error=0x201), "ERROR: isa none, rtl 1 in layer 2"),
        (dataclasses.replace(outcome, memory=memory), "memory at 0x00004d"),
        (dataclasses.replace(outcome, next_token=outcome.next_token + 1), "NEXT_TOKEN"),
        (dataclasses.replace(outcome, counters=counters), "counter lookups"),
    ):
        found = difference(outcome, changed)
        assert found is not None
        assert text in found
    assert difference(outcome, outcome) is None
