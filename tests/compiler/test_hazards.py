"""Wait bounds: overlapped execution under random timing never departs from program order."""

import random

import pytest

from compiler.assembler import INSTRUCTION_BYTES
from compiler.compile import compile_program
from compiler.hazards import STREAMED, UNIT_ORDERED, UNITS, accesses, conflict, wait_bounds
from hw import isa
from hw.isa import BY_NAME, NO_WAIT, Unit
from hw.machine import MACHINES

from ..models.random_model import random_model

Row = tuple[str, dict[str, int]]
WAITS = {unit: f"wait_{unit.name.lower()}" for unit in UNITS}


def expand(program: list[Row], taken: int) -> list[Row]:
    """The instructions of one token in order; predicated ones are there where their bit of `taken` is 1."""
    names = [name for name, _ in program]
    order = list(range(len(program)))
    if "LOOP" in names:
        start, end = names.index("LOOP"), names.index("NEXT")
        order = [
            *range(start),
            *list(range(start + 1, end)) * program[start][1]["count"],
            *range(end + 1, len(program)),
        ]
    rows = [program[i] for i in order]
    return [(n, f) for n, f in rows if BY_NAME[n].unit in UNITS and (taken | 1) >> f.get("predicate", 0) & 1]


def play(rows: list[Row], seed: int) -> list[tuple[int, int]]:
    """(issue, finish) times: in-order issue under the waits, in-order finish in a unit, random durations."""
    rng = random.Random(seed)
    speed = {unit: rng.choice([1, 3, 30, 300]) for unit in UNITS}
    finishes: dict[Unit, list[int]] = {unit: [] for unit in UNITS}
    times, now = [], 0
    for name, fields in rows:
        for unit in UNITS:
            bound = fields.get(WAITS[unit], NO_WAIT)
            if bound != NO_WAIT and len(finishes[unit]) > bound:
                now = max(now, finishes[unit][len(finishes[unit]) - bound - 1])
        mine = finishes[BY_NAME[name].unit]
        end = max([now, *mine[-1:]]) + rng.randint(1, speed[BY_NAME[name].unit])
        mine.append(end)
        times.append((now, end))
    return times


def violations(rows: list[Row], times: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) that touch the same element, the later issued before the earlier finished."""
    touched = [accesses(name, fields) for name, fields in rows]
    found = []
    for later, (start, _) in enumerate(times):
        for earlier in range(max(0, later - 80), later):
            if times[earlier][1] > start:
                same = BY_NAME[rows[earlier][0]].unit == BY_NAME[rows[later][0]].unit
                if conflict(touched[earlier], touched[later], (*STREAMED, *(UNIT_ORDERED if same else ()))):
                    found.append((earlier, later))
    return found


def with_waits(program: list[Row]) -> list[Row]:
    return [
        (name, fields | waits) for (name, fields), waits in zip(program, wait_bounds(program), strict=True)
    ]


def decoded(program: bytes) -> list[Row]:
    words = range(0, len(program), INSTRUCTION_BYTES)
    return [isa.decode(int.from_bytes(program[at : at + INSTRUCTION_BYTES], "little")) for at in words]


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("gains", [False, True])
def test_compiled_programs(layers: int, gains: bool):
    program = decoded(compile_program(random_model(layers=layers, gains=gains), MACHINES["ci"]).program)
    for taken in (0, 2):
        rows = expand(program, taken)
        for seed in range(15):
            assert violations(rows, play(rows, seed)) == []


def test_the_check_notices_a_missing_wait():
    """Taking any one wait out of a compiled program breaks program order under some timing."""
    program = decoded(compile_program(random_model(layers=3), MACHINES["ci"]).program)
    waits = [
        (i, wait)
        for i, (_, f) in enumerate(program)
        for wait in WAITS.values()
        if f.get(wait, NO_WAIT) != NO_WAIT
    ]
    assert len(waits) > 25
    for index, wait in waits:
        name, fields = program[index]
        weaker = [*program[:index], (name, {**fields, wait: NO_WAIT}), *program[index + 1 :]]
        rows = expand(weaker, 2)
        assert any(violations(rows, play(rows, seed)) for seed in range(200)), (index, name, wait)


def random_program(seed: int) -> list[Row]:
    """Any mixture of instructions on small memories, some predicated, most in a loop."""
    rng = random.Random(seed)

    def place() -> int:
        return rng.randrange(0, 24, 4)

    def row() -> Row:
        predicate = {"predicate": rng.choice([0, 0, 0, 1, 2])}
        kind = rng.randrange(5)
        if kind == 0:
            return "MATMUL", {"rows": 8, "k": 8, "q": place(), "acc": place(), **predicate}
        if kind == 1:
            return "MAP", {
                "source": rng.choice([0, 1, 3]),
                "n": 8,
                "a": place(),
                "d": place(),
                "dest": rng.randrange(2),
                "statistics": rng.randrange(2),
                "stat": rng.randrange(3),
                **predicate,
            }
        if kind == 2:
            return "QUANTISE", {"target": rng.randrange(4), "n": 8, "a": place(), "d": place(), **predicate}
        if kind == 3:
            return "STORE", {"payload": rng.randrange(2), "bytes": 8, **predicate}
        feed = rng.randrange(2)
        return "ATTEND", {"half": 0, "feed": feed, "kv_heads": 1, "group": 1, "head_size": 8, **predicate}

    body = [row() for _ in range(rng.randint(1, 9))]
    return [
        *[row() for _ in range(3)],
        ("LOOP", {"count": rng.randint(1, 8)}),
        *body,
        ("NEXT", {}),
        *[row() for _ in range(3)],
        ("END", {}),
    ]


def test_random_programs():
    for seed in range(150):
        program = with_waits(random_program(seed))
        for taken in range(0, 8, 2):
            rows = expand(program, taken)
            for timing in range(4):
                assert violations(rows, play(rows, timing)) == [], seed


#: Programs as rows, and the waits that the last row must have.
CASES = {
    "independent": ([("MATMUL", {"rows": 4, "k": 4}), ("NORM", {"d": 1})], {}),
    "partial sums": ([("MATMUL", {"rows": 4, "k": 4}), ("MAP", {"source": 1, "n": 4})], {"matmul": 0}),
    "one behind": (
        [
            ("MATMUL", {"rows": 4, "k": 4}),
            ("MATMUL", {"rows": 4, "k": 4, "acc": 4}),
            ("MAP", {"source": 1, "n": 4}),
        ],
        {"matmul": 1},
    ),
    "a skipped instruction is not counted": (
        [
            ("MATMUL", {"rows": 4, "k": 4}),
            ("MATMUL", {"rows": 4, "k": 4, "acc": 4, "predicate": 2}),
            ("MAP", {"source": 1, "n": 4}),
        ],
        {"matmul": 0},
    ),
    "far behind is clipped": (
        [
            ("MATMUL", {"rows": 4, "k": 4}),
            *[("MATMUL", {"rows": 4, "k": 4, "acc": 4 * i}) for i in range(1, 6)],
            ("MAP", {"source": 1, "n": 4}),
        ],
        {"matmul": 2},
    ),
    "tape between units": ([("MATMUL", {"rows": 4, "k": 4}), ("MAP", {"source": 3, "n": 4})], {"matmul": 0}),
    "tape in one unit": ([("MATMUL", {"rows": 4, "k": 4}), ("MATMUL", {"rows": 4, "k": 4, "acc": 4})], {}),
    "logits stream": (
        [("HEAD", {"rows": 4, "k": 16, "emit": 1}), ("STORE", {"payload": 2, "bytes": 16})],
        {},
    ),
    "attention output": (
        [("ATTEND", {"half": 1, "last": 1, "feed": 1}), ("MAP", {"source": 2, "n": 8, "a": 0})],
        {"attention": 0},
    ),
    "output taken before new keys": (
        [
            ("MAP", {"source": 2, "n": 8}),
            ("ATTEND", {"first": 1, "feed": 1, "kv_heads": 1, "group": 1, "head_size": 8}),
        ],
        {"vector": 0},
    ),
    "stage scales": (
        [("QUANTISE", {"target": 3, "n": 8}), ("STORE", {"payload": 0, "bytes": 16})],
        {"vector": 0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bounds(case: str):
    program, wanted = CASES[case]
    found = {
        name.removeprefix("wait_"): bound
        for name, bound in wait_bounds(program)[-1].items()
        if bound != NO_WAIT
    }
    assert found == wanted


def test_back_edge():
    """The first instruction of the body waits for the last one of the turn before."""
    body = [("QUANTISE", {"n": 8}), ("MATMUL", {"rows": 4, "k": 8})]
    waits = wait_bounds([("LOOP", {"count": 2}), *body, ("NEXT", {}), ("END", {})])
    assert waits[1]["wait_matmul"] == 0
    waits = wait_bounds([("LOOP", {"count": 1}), *body, ("NEXT", {}), ("END", {})])
    assert waits[1]["wait_matmul"] == NO_WAIT
