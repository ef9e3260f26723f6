"""Wait bounds: overlapped execution under random timing never departs from program order."""

import dataclasses
import random
from typing import NamedTuple

import pytest

from compiler.assembler import INSTRUCTION_BYTES, assemble
from compiler.compile import compile_program
from compiler.hazards import STREAMED, UNIT_ORDERED, UNITS, accesses, conflict, wait_bounds
from hw import isa
from hw.isa import BY_NAME, MANY_TILES, NO_WAIT, Loop, Unit
from hw.machine import CI
from sim.entries import Entry
from sim.interpreter_memory import fetch_runs, store_runs

from ..models.random_model import random_model

Row = tuple[str, dict[str, int]]
WAITS = {unit: f"wait_{unit.name.lower()}" for unit in UNITS}
TILE = 2
MACHINE = dataclasses.replace(CI, tile=TILE)


class Done(NamedTuple):
    """An executed instruction, and the bytes of memory that it touches: (first, last + 1)."""

    index: int
    name: str
    fields: dict[str, int]
    memory: list[tuple[int, int]]


def expand(program: list[Row], taken: int, tiles: int = 1) -> list[Done]:
    """What one step executes, in order; predicated instructions where their bit of `taken` is 1.

    The chunk has `tiles` tiles of TILE tokens, one sequence whose first token is at position 3.
    """
    taken = (taken | 1) & ~(1 << MANY_TILES) | (tiles > 1) << MANY_TILES
    registers, starts, found, at = {Loop.LAYER: 0, Loop.TILE: 0}, {}, [], 0
    while at < len(program):
        name, fields = program[at]
        at += 1
        register = Loop(fields.get("register", 0))
        if name == "LOOP":
            starts[register], registers[register] = (at, fields.get("count", 0)), 0
        elif name == "NEXT":
            start, count = starts[register]
            turns = tiles if register == Loop.TILE else count
            if registers[register] + 1 < turns:
                at = start
            registers[register] += at == start or register == Loop.LAYER
        elif name != "END" and taken >> fields.get("predicate", 0) & 1:
            full = isa.decode(isa.encode(name, **fields))[1]
            first = registers[Loop.TILE] * TILE
            live = [Entry(7, 3 + first + t, 0, first + t > 0) for t in range(TILE if full["tiled"] else 1)]
            runs = {"FETCH": fetch_runs, "STORE": store_runs}.get(name, lambda *_: [])
            memory = [(a, a + n) for a, n in runs(full, registers[Loop.LAYER], first, live)]
            found.append(Done(at - 1, name, fields, memory))
    return found


def play(rows: list[Done], seed: int) -> list[tuple[int, int]]:
    """(begin, finish) times under the waits: FETCHes in their order, the others issued in theirs.

    Instructions of a unit finish in order, after random times; one of the vector unit begins when that before
    it is finished. Nobody waits for the tape.
    """
    rng = random.Random(seed)
    speed = {unit: rng.choice([1, 3, 30, 300]) for unit in Unit}
    finishes: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    times, clock = [], {True: 0, False: 0}
    for _, name, fields, _ in rows:
        mine = BY_NAME[name].unit
        fetch = mine == Unit.FETCH
        for unit in (Unit.STORE,) if fetch else UNITS:
            bound = fields.get(WAITS[unit], NO_WAIT)
            if bound != NO_WAIT and len(finishes[unit]) > bound:
                clock[fetch] = max(clock[fetch], finishes[unit][len(finishes[unit]) - bound - 1])
        free = max([clock[fetch], *finishes[mine][-1:]])
        end = free + rng.randint(1, speed[mine])
        finishes[mine].append(end)
        times.append((free if mine == Unit.VECTOR else clock[fetch], end))
    return times


def violations(rows: list[Done], times: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) that touch the same, the later begun before the earlier finished."""
    touched = {row.index: accesses(row.name, row.fields, TILE) for row in rows}
    found = []
    for later, (start, _) in enumerate(times):
        for earlier in range(max(0, later - 80), later):
            a, b = rows[earlier], rows[later]
            if times[earlier][1] <= start:
                continue
            if b.name == "FETCH":
                shared = a.name == "STORE" and any(x < z and y < w for x, w in a.memory for y, z in b.memory)
            else:
                units = BY_NAME[a.name].unit, BY_NAME[b.name].unit
                apart = (*STREAMED, *(UNIT_ORDERED if units[0] == units[1] else ()))
                if units == (Unit.MATMUL, Unit.ATTENTION):  # the attention unit waits by itself
                    apart += ("TAPE",)
                shared = conflict(touched[a.index], touched[b.index], apart)
            if shared:
                found.append((earlier, later))
    return found


def with_waits(program: list[Row]) -> list[Row]:
    return [
        (name, fields | waits)
        for (name, fields), waits in zip(program, wait_bounds(program, TILE), strict=True)
    ]


def decoded(program: bytes) -> list[Row]:
    words = range(0, len(program), INSTRUCTION_BYTES)
    return [isa.decode(int.from_bytes(program[at : at + INSTRUCTION_BYTES], "little")) for at in words]


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("gains", [False, True])
def test_compiled_programs(layers: int, gains: bool):
    program = decoded(compile_program(random_model(layers=layers, gains=gains), MACHINE).program)
    for taken in (0, 2, 10):
        for tiles in (1, 2, 3, 5):
            rows = expand(program, taken, tiles)
            for seed in range(3):
                assert violations(rows, play(rows, seed)) == []


def test_the_check_notices_a_missing_wait():
    """Weakening any one wait of a compiled program by one breaks program order under some timing.

    Not so those of FETCHes: where there are many tiles one covers the next.
    """
    program = decoded(compile_program(random_model(layers=3), MACHINE).program)
    waits = [
        (i, wait)
        for i, (name, f) in enumerate(program)
        if name != "FETCH"
        for wait in WAITS.values()
        if f.get(wait, NO_WAIT) != NO_WAIT
    ]
    assert len(waits) > 20
    for index, wait in waits:
        name, fields = program[index]
        weaker = [*program[:index], (name, {**fields, wait: fields[wait] + 1}), *program[index + 1 :]]
        cases = [expand(weaker, 10, tiles) for tiles in (1, 2, 4)]
        assert any(violations(rows, play(rows, seed)) for seed in range(100) for rows in cases), (index, wait)


def random_row(rng: random.Random) -> Row:
    """Any instruction on small memories."""

    def place() -> int:
        return rng.randrange(0, 24, 4)

    f = {"predicate": rng.choice([0, 0, 0, 1, 2, 3]), "tiled": rng.randrange(2)}
    layers, at = {"stride": 4096 * rng.randrange(2)}, {"base": 65536 * rng.randrange(2)}
    kind = rng.randrange(8)
    if kind == 0:
        return "MATMUL", f | {"rows": 8, "k": 8, "q": place(), "acc": place()}
    if kind == 1:
        more = {"statistics": rng.randrange(2), "stat": rng.randrange(3), "scaled": rng.randrange(2)}
        where = {"a": place(), "d": place(), "s1": rng.randrange(128), "dest": rng.randrange(2)}
        return "MAP", f | more | where | {"source": rng.choice([0, 1, 3]), "n": 8}
    if kind == 2:
        return "QUANTISE", f | {"target": rng.randrange(4), "n": 8, "a": place(), "d": place()}
    if kind == 3:
        return "NORM", f | {"stat": rng.randrange(3), "c": rng.randrange(128), "d": rng.randrange(128)}
    if kind == 4:
        return "STORE", f | at | layers | {"payload": rng.randrange(2), "bytes": 8, "step": 8}
    if kind == 5:
        rows = {"payload": 3, "bytes": 8, "step": rng.choice([8, 8, 4]), "a": place()}
        return "STORE", f | {"base": 131072, "stride": 0} | rows
    if kind == 6:
        rows = [
            {**layers, **at, "index": 1, "sequence": 1},
            {**layers, **at, "index": 1},
            {"base": 131072, "stride": rng.choice([8, 8, 4]), "index": 4},
        ]
        return "FETCH", f | rng.choice(rows) | {"bytes": 8}
    feed = rng.randrange(2)
    return "ATTEND", f | {"half": 0, "feed": feed, "kv_heads": 1, "group": 1, "head_size": 8}


def random_program(seed: int) -> list[Row]:
    """Any mixture of instructions, some predicated, most in loops."""
    rng = random.Random(seed)

    def rows(most: int) -> list[Row]:
        return [random_row(rng) for _ in range(rng.randint(0, most))]

    layer = ("LOOP", {"count": rng.randint(1, 8)}), ("NEXT", {})
    tile = ("LOOP", {"register": 1}), ("NEXT", {"register": 1})
    outer, inner = (layer, tile) if rng.random() < 0.7 else (tile, layer)
    nest = [outer[0], *rows(4), inner[0], *rows(8), inner[1], *rows(3), outer[1]]
    ahead = [tile[0], *rows(3), tile[1]] if rng.random() < 0.5 else []
    return [*rows(3), *ahead, *nest, *rows(3), ("END", {})]


@pytest.mark.parametrize("block", range(4))
def test_random_programs(block: int):
    for seed in range(20 * block, 20 * block + 20):
        program = with_waits(random_program(seed))
        for taken in (0, 2, 8):
            for tiles in (1, 2, 3, 5):
                rows = expand(program, taken, tiles)
                for timing in range(2):
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
    "one under the same predicate is": (
        [
            ("MATMUL", {"rows": 4, "k": 4}),
            ("MATMUL", {"rows": 4, "k": 4, "acc": 4, "predicate": 3}),
            ("MAP", {"source": 1, "n": 4, "predicate": 3}),
        ],
        {"matmul": 1},
    ),
    "and its waiting": (
        [
            ("MATMUL", {"rows": 4, "k": 4}),
            ("MAP", {"source": 1, "n": 4, "predicate": 3}),
            ("MAP", {"source": 1, "n": 4, "d": 4, "predicate": 3}),
        ],
        {},
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
    "tape of attention behind weights": (
        [("MATMUL", {"rows": 4, "k": 4}), ("ATTEND", {"kv_heads": 1, "group": 1, "head_size": 8})],
        {},
    ),
    "tape of attention behind a MAP": (
        [("MAP", {"source": 3, "n": 8}), ("ATTEND", {"kv_heads": 1, "group": 1, "head_size": 8})],
        {"vector": 0},
    ),
    "tape of weights behind attention": (
        [("ATTEND", {"kv_heads": 1, "group": 1, "head_size": 8}), ("MATMUL", {"rows": 4, "k": 4})],
        {"attention": 0},
    ),
    "the vector unit keeps its order": (
        [
            ("MAP", {"n": 8, "d": 8}),
            ("QUANTISE", {"n": 8, "a": 8}),
            ("NORM", {"d": 1}),
            ("MAP", {"n": 8, "a": 8}),
        ],
        {},
    ),
    "tape in one unit": ([("MATMUL", {"rows": 4, "k": 4}), ("MATMUL", {"rows": 4, "k": 4, "acc": 4})], {}),
    "results of integers": (
        [("LINEAR", {"rows": 8, "k": 8, "acc": 4}), ("MAP", {"source": 4, "n": 4, "a": 8})],
        {"matmul": 0},
    ),
    "results that are still read": (
        [("MAP", {"source": 4, "n": 4, "a": 8}), ("LINEAR", {"rows": 1, "k": 8, "acc": 11})],
        {"vector": 0},
    ),
    "results apart": (
        [("LINEAR", {"rows": 4, "k": 8, "acc": 4}), ("MAP", {"source": 4, "n": 4, "a": 8})],
        {},
    ),
    "activations of integers": (
        [("QUANTISE", {"n": 8, "d": 16, "mantissa": 1}), ("LINEAR", {"rows": 4, "k": 7, "q": 16})],
        {"vector": 0},
    ),
    "scales of a tile": (
        [("NORM", {"d": 8, "tiled": 1}), ("LINEAR", {"rows": 4, "k": 8, "scale": 9})],
        {"vector": 0},
    ),
    "scales read by a tile": (
        [("LINEAR", {"rows": 4, "k": 8, "scale": 127, "tiled": 1}), ("NORM", {"d": 0})],
        {"matmul": 0},
    ),
    "integers behind trits": (
        [("MATMUL", {"rows": 4, "k": 4}), ("LINEAR", {"rows": 4, "k": 4, "acc": 4})],
        {},
    ),
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
    "activations to memory": (
        [("MAP", {"n": 8, "d": 8}), ("STORE", {"payload": 3, "a": 12, "bytes": 16})],
        {"vector": 0},
    ),
    "activations that are being stored": (
        [("STORE", {"payload": 3, "a": 12, "bytes": 16}), ("MAP", {"n": 4, "a": 20, "d": 12})],
        {"store": 0},
    ),
    "stage scales": (
        [("QUANTISE", {"target": 3, "n": 8}), ("STORE", {"payload": 0, "bytes": 16})],
        {"vector": 0},
    ),
}


#: Two rows, and whether they touch the same: of a tiled one the values of all tokens.
SHARED = {
    "scalars of a tile": (
        ("NORM", {"d": 10, "tiled": 1}), ("MAP", {"n": 4, "scaled": 1, "s1": 11, "s2": 9}), True,
    ),
    "scalars wrap": (
        ("NORM", {"d": 127, "tiled": 1}), ("MAP", {"n": 4, "scaled": 1, "s1": 0, "s2": 9}), True,
    ),
    "scalars beyond the tile": (
        ("NORM", {"d": 10, "tiled": 1}), ("MAP", {"n": 4, "scaled": 1, "s1": 12, "s2": 9}), False,
    ),
    "one scalar": (("NORM", {"d": 10}), ("MAP", {"n": 4, "scaled": 1, "s1": 11, "s2": 9}), False),
    "rope rows of a tile": (
        ("MAP", {"source": 3, "dest": 1, "n": 8, "d": 0, "tiled": 1}),
        ("MAP", {"function": 3, "n": 8, "c": 8, "a": 16, "d": 16}),
        True,
    ),
    "rope rows read by a tile": (
        ("MAP", {"source": 3, "dest": 1, "n": 8, "d": 8}),
        ("MAP", {"function": 3, "n": 16, "segment": 8, "a": 16, "d": 16, "tiled": 1}),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SHARED)
def test_accesses_of_a_tile(case: str):
    earlier, later, wanted = SHARED[case]
    assert conflict(accesses(*later, TILE), accesses(*earlier, TILE)) == wanted


@pytest.mark.parametrize("case", CASES)
def test_bounds(case: str):
    program, wanted = CASES[case]
    found = {
        name.removeprefix("wait_"): bound
        for name, bound in wait_bounds(program, TILE)[-1].items()
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


#: For each layer and tile: older rows, then K, V and residual stream, as the compiler has them.
SPILLING = """
LOOP register=TILE
  MAP n=8 d=0 tiled=1
  STORE base=0x20000 step=32 bytes=32 payload=ACTIVATION predicate=2 tiled=1
NEXT register=TILE
LOOP count=3
  LOOP register=TILE
    FETCH base=0x20000 stride=32 bytes=32 index=ENTRY predicate=2 tiled=1
    MAP source=TAPE n=8 d=0 predicate=2 tiled=1
    FETCH base=0 stride=4096 bytes=16 index=LAYER sequence=1 kind=KV tiled=1
    FETCH base=0x10000 stride=4096 bytes=8 index=LAYER sequence=1 kind=KV tiled=1
    QUANTISE target=KEY n=8 d=8 tiled=1
    QUANTISE target=VALUE n=8 tiled=1
    ATTEND half=KEY feed=TAPE first=1 kv_heads=1 group=1 head_size=8 tiled=1
    ATTEND half=KEY feed=STAGE last=1 kv_heads=1 group=1 head_size=8 tiled=1
    STORE base=0 stride=4096 step=16 bytes=16 payload=KEY tiled=1
    STORE base=0x10000 stride=4096 step=8 bytes=8 payload=VALUE tiled=1
    ATTEND half=VALUE feed=TAPE first=1 kv_heads=1 group=1 head_size=8 tiled=1
    ATTEND half=VALUE feed=STAGE last=1 kv_heads=1 group=1 head_size=8 tiled=1
    MAP source=ATTENTION n=8 d=0 tiled=1
    STORE base=0x20000 step=32 bytes=32 payload=ACTIVATION predicate=2 tiled=1
  NEXT register=TILE
NEXT
END
"""


def test_fetches_wait_for_what_is_stored():
    """Between the K row of a tile and the next tile's FETCH: V and the residual stream."""
    program = decoded(assemble(SPILLING))
    bounds = wait_bounds(program, TILE)
    fetches = [i for i, (name, _) in enumerate(program) if name == "FETCH"]
    assert [bounds[i]["wait_store"] for i in fetches] == [1, 2, 1]
    assert all(bounds[i][wait] == NO_WAIT for i in fetches for wait in WAITS.values() if wait != "wait_store")
    waiting = with_waits(program)
    hasty = [(name, f | {"wait_store": NO_WAIT} if name == "FETCH" else f) for name, f in waiting]
    for tiles in (1, 2, 3, 5):
        right, wrong = expand(waiting, 0, tiles), expand(hasty, 0, tiles)
        assert not any(violations(right, play(right, seed)) for seed in range(30))
        broken = {wrong[pair[1]].index for seed in range(30) for pair in violations(wrong, play(wrong, seed))}
        assert broken == (set(fetches) if tiles > 1 else set())


def test_fetches_of_other_layers_do_not_wait():
    text = """LOOP count=4
      FETCH stride={0} bytes=8 index=LAYER sequence=1
      STORE stride={0} step=8 bytes=8
    NEXT
    END"""
    for stride, wanted in ((4096, NO_WAIT), (0, 0)):
        assert wait_bounds(decoded(assemble(text.format(stride))), TILE)[1]["wait_store"] == wanted


def test_a_skipped_store_does_not_stand_between():
    text = """LOOP register=TILE
      FETCH bytes=8 index=LAYER sequence=1 tiled=1
      STORE step=8 bytes=8 tiled=1
      STORE base=4096 step=8 bytes=8 tiled=1 predicate={}
    NEXT register=TILE
    END"""
    for predicate, wanted in ((0, 1), (MANY_TILES, 1), (3, 0)):
        assert wait_bounds(decoded(assemble(text.format(predicate))), TILE)[1]["wait_store"] == wanted


def test_loops_have_no_predicate():
    with pytest.raises(ValueError, match="without predicates"):
        wait_bounds([("LOOP", {"count": 2, "predicate": 3}), ("NEXT", {}), ("END", {})])
