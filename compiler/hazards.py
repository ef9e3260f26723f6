"""Wait bounds: the least waiting that keeps overlapped execution equal to program order.

Instructions are issued in program order. Before one is issued, every instruction whose results it reads, or
whose operands or results it overwrites, must be finished, but for what units see to themselves (`must_wait`).
Units finish their instructions in order, so "the n-th of unit u is finished" follows from a bound on the
number of unfinished instructions of u.

FETCHes begin in an earlier order of their own and wait only for STOREs that write what they read
(`compiler.hazards_memory`). A STORE never waits for a FETCH: what both name is taken from the tape before it
is overwritten, which the interpreter checks.

How many tiles a chunk has is not known here, so bounds hold for 1, 2 and many: the loop over tiles is turned
once, with what stands under MANY_TILES left out, and twice and three times, with all of that executed. More
tiles put more instructions between a later tile and what it depends on, never fewer. Other predicates may be
on or off: what stands under them may conflict, but counts as an instruction in between only for those under
the same one.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from hw.isa import (
    BY_NAME,
    MANY_TILES,
    NO_WAIT,
    SCALARS,
    TWO_OPERANDS,
    Dest,
    Feed,
    Function,
    Loop,
    Pass,
    Payload,
    Source,
    Target,
    Unit,
)

from .hazards_memory import place, same_bytes

#: Units that are waited for, in the order of the `wait_*` fields.
UNITS: tuple[Unit, ...] = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: Shared things whose order a unit keeps by itself: no waiting among instructions of one unit.
UNIT_ORDERED = ("TAPE", "SCORES", "OUTPUT")
#: An ATTEND takes nothing from the tape before all that was issued to the matmul unit earlier has taken its
#: bytes (`hw.attention`).
BEHIND_MATMUL = ("TAPE",)
#: A stream between two instructions that run side by side: program order, but never a wait.
STREAMED: tuple[str, ...] = ("LOGITS",)
#: Turns that stand for all: of the loop over layers, and of that over tiles. Later ones repeat their state.
LAYERS, TILES = 5, 3

#: One instruction: its name and the values of its fields.
Row = tuple[str, dict[str, int]]


@dataclass(frozen=True)
class Access:
    """Elements [low, high) of one memory or other resource, read or written."""

    resource: str
    low: int
    high: int
    write: bool


def accesses(name: str, fields: dict[str, int], tile: int = 1) -> list[Access]:
    """Everything on chip that an instruction reads and writes, on a machine of `tile`. Fields left out are 0.

    Memories that each token has one of are taken as one: the same elements conflict, whatever the token.
    """
    f = _Fields(fields)
    tokens = tile if f.tiled else 1
    found: list[Access] = []

    def read(resource: str, low: int = 0, size: int = 1) -> None:
        found.append(Access(resource, low, low + size, False))

    def write(resource: str, low: int = 0, size: int = 1) -> None:
        found.append(Access(resource, low, low + size, True))

    def scalars(first: int, access: Callable[[str, int, int], None]) -> None:
        """SCALAR[first + t] of each token."""
        access("SCALAR", first, min(tokens, SCALARS - first))
        if first + tokens > SCALARS:
            access("SCALAR", 0, first + tokens - SCALARS)

    if name == "MATMUL":
        write("TAPE")
        read("Q", f.q, f.k)
        write("ACC", f.acc, f.rows)
    elif name in ("LINEAR", "HEAD"):
        write("TAPE")
        read("Q", f.q, f.k)
        scalars(f.scale, read)
        if name == "HEAD":
            write("LOGITS")
        else:
            write("ACC", f.acc, f.rows)
    elif name == "MAP":
        source = {Source.ACTIVATION: "ACT", Source.ACCUMULATOR: "ACC", Source.LINEAR: "ACC"}
        if f.source in source:
            read(source[Source(f.source)], f.a, f.n)
        elif f.source == Source.TAPE:
            write("TAPE")
        else:
            read("OUTPUT")
        if f.scaled:
            scalars(f.s1, read)
            read("SCALAR", f.s2)
        if f.function in TWO_OPERANDS:
            read("ACT", f.b, f.n)
        elif f.function == Function.ROPE:
            read("CONST", f.c, tokens * (f.segment or f.n))
        if f.statistics:
            if f.gain:
                read("CONST", f.c, f.n)
            write("STAT", f.stat, _segments(f))
        if f.dest == Dest.ACTIVATION:
            write("ACT", f.d, f.n)
        else:
            write("CONST" if f.dest == Dest.CONSTANT else "SCALAR", f.d, tokens * f.n)
    elif name == "QUANTISE":
        read("ACT", f.a, f.n)
        read("STAT", f.stat, _segments(f))
        if f.gain:
            read("CONST", f.c, f.n)
        if f.target == Target.QUERY:
            read("SCALAR", f.s1)
            write("QUERY_SCALE", 0, _segments(f))
        elif f.target in (Target.KEY, Target.VALUE):
            write(f"{Target(f.target).name}_SCALE", 0, _segments(f))
        memory = {Target.MATMUL: "Q", Target.QUERY: "QUERY", Target.KEY: "STAGE_K", Target.VALUE: "STAGE_V"}
        write(memory[Target(f.target)], f.d, f.n)
    elif name == "NORM":
        read("STAT", f.stat)
        read("SCALAR", f.c)
        read("SCALAR", f.eps)
        scalars(f.d, write)
    elif name == "ATTEND":
        heads, row = f.kv_heads * f.group, f.kv_heads * f.head_size
        if f.half == Pass.KEY:
            read("QUERY", 0, heads * f.head_size)
            read("QUERY_SCALE", 0, heads)
            write("SCORES")
        else:
            read("SCORES")
        if (f.half == Pass.KEY and f.first) or (f.half == Pass.VALUE and f.last):
            write("OUTPUT")
        if f.feed == Feed.TAPE:
            write("TAPE")
        elif f.half == Pass.KEY:
            read("STAGE_K", 8 * f.kv_heads, row)
            read("KEY_SCALE", 0, f.kv_heads)
            read("VALUE_SCALE", 0, f.kv_heads)
        else:
            read("STAGE_V", 0, row)
    elif name == "STORE":
        if f.payload == Payload.LOGITS:
            read("LOGITS")
        elif f.payload == Payload.ACTIVATION:
            read("ACT", f.a, f.bytes // 4)
        elif f.payload == Payload.KEY:
            read("STAGE_K", 0, f.bytes)
            read("KEY_SCALE", 0, f.bytes)
            read("VALUE_SCALE", 0, f.bytes)
        else:
            read("STAGE_V", 0, f.bytes)
    return found


def conflict(a: Iterable[Access], b: Iterable[Access], apart: Iterable[str] = ()) -> bool:
    """Whether some element is in both and written by one, resources `apart` left out."""
    return any(
        x.resource == y.resource
        and (x.write or y.write)
        and x.low < y.high
        and y.low < x.high
        and x.resource not in apart
        for x in a
        for y in b
    )


def must_wait(
    later: Unit, earlier: Unit, accesses_of_later: list[Access], accesses_of_earlier: list[Access]
) -> bool:
    """Whether an instruction of unit `later` may be issued only when one of unit `earlier` is finished.

    The vector unit begins an instruction when the one before it is finished: there none waits for another.
    """
    if later == earlier == Unit.VECTOR:
        return False
    apart = STREAMED
    if later == earlier:
        apart += UNIT_ORDERED
    elif (later, earlier) == (Unit.ATTENTION, Unit.MATMUL):
        apart += BEHIND_MATMUL
    return conflict(accesses_of_later, accesses_of_earlier, apart)


def wait_bounds(program: list[Row], tile: int = 1) -> list[dict[str, int]]:
    """`wait_*` fields of each instruction of a program, for a machine of `tile` and chunks of any length.

    A bound is the strictest that any turn of any loop needs. ValueError where a LOOP or NEXT has a predicate.
    """
    if any(name in ("LOOP", "NEXT") and fields.get("predicate") for name, fields in program):
        raise ValueError("wanted loops without predicates, found one with")
    touched = [accesses(*row, tile) for row in program]

    @cache
    def on_chip(later: int, earlier: int) -> bool:
        units = _unit(program[later]), _unit(program[earlier])
        return must_wait(*units, touched[later], touched[earlier])

    bounds = [dict.fromkeys(UNITS, NO_WAIT) for _ in program]
    for tiles in range(1, TILES + 1):
        for predicate in {0, *(fields.get("predicate", 0) for _, fields in program)} - {MANY_TILES}:
            for index, unit, bound in _waits(program, tiles, predicate, on_chip):
                bounds[index][unit] = min(bounds[index][unit], bound)
    return [{f"wait_{unit.name.lower()}": bound for unit, bound in row.items()} for row in bounds]


class _Turn(NamedTuple):
    """One execution of an instruction: its index, and what the registers held."""

    index: int
    layer: int
    tile: int


def _waits(
    program: list[Row], tiles: int, predicate: int, on_chip: Callable[[int, int], bool]
) -> Iterator[tuple[int, Unit, int]]:
    """(instruction, unit, bound) for each time that one under `predicate` must wait, `tiles` tiles.

    Predicate 0 stands for MANY_TILES too.
    """
    always = (0, MANY_TILES)
    issued: dict[Unit, list[_Turn]] = {unit: [] for unit in UNITS}
    #: Places in `issued` of those that are executed whatever the other predicates.
    surely: dict[Unit, list[int]] = {unit: [] for unit in UNITS}
    #: Of these, how many are known to be finished: to a FETCH (True), and to the others.
    finished = {True: dict.fromkeys(UNITS, 0), False: dict.fromkeys(UNITS, 0)}

    def certain(turn: _Turn) -> bool:
        return program[turn.index][1].get("predicate", 0) in (*always, predicate)

    def conflicts(later: _Turn, earlier: _Turn) -> bool:
        if program[later.index][0] != "FETCH":
            return on_chip(later.index, earlier.index)
        return same_bytes(*(place(*program[turn.index], turn.layer, turn.tile) for turn in (later, earlier)))

    for turn in _unrolled(program, tiles):
        asked = certain(turn) and (not predicate or program[turn.index][1].get("predicate") == predicate)
        mine = _unit(program[turn.index])
        known = finished[mine == Unit.FETCH]
        for unit in (Unit.STORE,) if mine == Unit.FETCH else UNITS:
            before = issued[unit]
            needed = next(
                (i + 1 for i in range(len(before) - 1, known[unit] - 1, -1) if conflicts(turn, before[i])), 0
            )
            if needed:
                sure = surely[unit]
                behind = min(len(sure) - bisect_left(sure, needed), NO_WAIT - 1)
                if asked:
                    yield turn.index, unit, behind
                # All but the last `behind` certainly issued ones are finished, unless this one is skipped.
                if certain(turn):
                    known[unit] = sure[-behind] if behind else len(before)
        if mine in UNITS:
            if certain(turn):
                surely[mine].append(len(issued[mine]))
            issued[mine].append(turn)


def _unrolled(program: list[Row], tiles: int) -> Iterator[_Turn]:
    """What is executed, in order, of a chunk of `tiles` tiles and at most `LAYERS` layers."""
    start, count, value = {}, {}, dict.fromkeys(Loop, 0)
    at = 0
    while at < len(program):
        name, fields = program[at]
        register = Loop(fields.get("register", 0))
        at += 1
        if name == "LOOP":
            turns = tiles if register == Loop.TILE else min(fields.get("count", 1), LAYERS)
            start[register], count[register], value[register] = at, turns, 0
        elif name == "NEXT":
            again = value[register] + 1 < count[register]
            value[register] += again or register == Loop.LAYER
            at = start[register] if again else at
        elif name != "END" and (tiles > 1 or fields.get("predicate") != MANY_TILES):
            yield _Turn(at - 1, value[Loop.LAYER], value[Loop.TILE])


def _unit(row: Row) -> Unit:
    return BY_NAME[row[0]].unit


def _segments(f: Any) -> int:
    return -(-f.n // f.segment) if f.segment else 1


class _Fields:
    """Attribute access to fields, 0 where one is left out."""

    def __init__(self, fields: dict[str, int]):
        self._fields = fields

    def __getattr__(self, name: str) -> int:
        return self._fields.get(name, 0)
