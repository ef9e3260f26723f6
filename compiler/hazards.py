"""Wait bounds: the least waiting that keeps overlapped execution equal to program order.

Instructions are issued in program order. Before one is issued, every instruction whose results it reads, or
whose operands or results it overwrites, must be finished. Units finish their instructions in order, so "the
n-th of unit u is finished" follows from a bound on the number of unfinished instructions of u.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hw.isa import BY_NAME, NO_WAIT, Dest, Feed, Function, Pass, Payload, Source, Target, Unit

#: Units that are waited for, in the order of the `wait_*` fields.
UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: Shared things whose order a unit keeps by itself: no waiting among instructions of one unit.
UNIT_ORDERED = ("TAPE", "SCORES", "OUTPUT")
#: A stream between two instructions that run side by side: program order, but never a wait.
STREAMED = ("LOGITS",)


@dataclass(frozen=True)
class Access:
    """Elements [low, high) of one memory or other resource, read or written."""

    resource: str
    low: int
    high: int
    write: bool


def accesses(name: str, fields: dict[str, int]) -> list[Access]:
    """Everything an instruction reads and writes. Fields left out are 0."""
    f = _Fields(fields)
    found: list[Access] = []

    def read(resource: str, low: int = 0, size: int = 1) -> None:
        found.append(Access(resource, low, low + size, False))

    def write(resource: str, low: int = 0, size: int = 1) -> None:
        found.append(Access(resource, low, low + size, True))

    if name == "MATMUL":
        write("TAPE")
        read("Q", f.q, f.k)
        write("ACC", f.acc, f.rows)
    elif name == "HEAD":
        write("TAPE")
        read("Q", f.q, f.k)
        read("SCALAR", f.scale)
        write("LOGITS")
    elif name == "MAP":
        source = {Source.ACTIVATION: "ACT", Source.ACCUMULATOR: "ACC"}
        if f.source in source:
            read(source[Source(f.source)], f.a, f.n)
        elif f.source == Source.TAPE:
            write("TAPE")
        else:
            read("OUTPUT")
        if f.scaled:
            read("SCALAR", f.s1)
            read("SCALAR", f.s2)
        if f.function in (Function.ADD, Function.MULTIPLY, Function.SILU_MULTIPLY):
            read("ACT", f.b, f.n)
        elif f.function == Function.ROPE:
            read("CONST", f.c, f.segment or f.n)
        if f.statistics:
            if f.gain:
                read("CONST", f.c, f.n)
            write("STAT", f.stat, _segments(f))
        write({Dest.ACTIVATION: "ACT", Dest.CONSTANT: "CONST", Dest.SCALAR: "SCALAR"}[Dest(f.dest)], f.d, f.n)
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
        write("SCALAR", f.d)
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


def wait_bounds(program: list[tuple[str, dict[str, int]]]) -> list[dict[str, int]]:
    """`wait_*` fields of each instruction of a program with at most one loop.

    The loop is unrolled; a bound is the strictest that any of its turns needs. Turns after the fourth repeat
    the state of the fourth: each turn issues the same instructions.
    """
    bounds = [{unit: NO_WAIT for unit in UNITS} for _ in program]
    touched = [accesses(*row) for row in program]
    issued: dict[Unit, list[int]] = {unit: [] for unit in UNITS}  #: instructions of each unit, in order
    finished = dict.fromkeys(UNITS, 0)  #: of these, known to be finished
    for index in _unrolled(program):
        mine = BY_NAME[program[index][0]].unit
        if mine not in UNITS:
            continue
        for unit in UNITS:
            apart = (*STREAMED, *(UNIT_ORDERED if unit == mine else ()))
            needed = 0
            for order in range(len(issued[unit]) - 1, finished[unit] - 1, -1):
                if conflict(touched[index], touched[issued[unit][order]], apart):
                    needed = order + 1
                    break
            if needed > finished[unit]:
                certain = [
                    i for i in range(len(issued[unit])) if not program[issued[unit][i]][1].get("predicate")
                ]
                behind = min(sum(i >= needed for i in certain), NO_WAIT - 1)
                bounds[index][unit] = min(bounds[index][unit], behind)
                # All but the last `behind` certainly issued ones are finished, unless this one is skipped.
                if not program[index][1].get("predicate"):
                    finished[unit] = certain[-behind] if behind else len(issued[unit])
        issued[mine].append(index)
    return [{f"wait_{unit.name.lower()}": bound for unit, bound in row.items()} for row in bounds]


def _unrolled(program: list[tuple[str, dict[str, int]]]) -> list[int]:
    """Indices in order of execution, the loop turned at most five times."""
    names = [name for name, _ in program]
    if "LOOP" not in names:
        return list(range(len(program)))
    start, end = names.index("LOOP"), names.index("NEXT")
    turns = min(program[start][1].get("count", 1), 5)
    body = list(range(start + 1, end))
    return [*range(start), *body * turns, *range(end + 1, len(program))]


def _segments(f: Any) -> int:
    return -(-f.n // f.segment) if f.segment else 1


class _Fields:
    """Attribute access to fields, 0 where one is left out."""

    def __init__(self, fields: dict[str, int]):
        self._fields = fields

    def __getattr__(self, name: str) -> int:
        return self._fields.get(name, 0)
