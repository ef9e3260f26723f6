"""Classes of the values of instruction fields: each of an enumeration or flag, corners of a number."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from hw.isa import (
    BY_NAME,
    HEADER,
    NO_WAIT,
    SCALARS,
    STATISTICS,
    TWO_OPERANDS,
    Dest,
    Field,
    Function,
    Loop,
    Payload,
    Source,
    Target,
    Unit,
    Width,
)
from hw.machine import MachineConfig

__all__ = ["field_bins", "field_classes"]

#: By name, functions from all fields of an instruction and the tokens it acts for to whether a value is one.
Class = Callable[[dict[str, int], int], bool]
Classes = dict[str, Any]


@cache
def _classes(machine: MachineConfig, name: str) -> dict[str, Classes]:
    """By field, the classes of its values; fields that mean nothing to the instruction are left out."""
    instruction = BY_NAME[name]
    found = {field.name: _enumerated(field) for field in instruction.fields if field.name != "descriptor"}
    if machine.activation_bits == 8 and "mantissa" in found:
        del found["mantissa"]["1"]
    found |= _NUMBERS.get(name, lambda _: {})(machine)
    waits = {f"wait_{unit.name.lower()}" for unit in Unit if unit not in (Unit.CONTROL, Unit.FETCH)}
    if instruction.unit == Unit.CONTROL:
        waits = set()
    elif instruction.unit == Unit.FETCH:
        waits = {"wait_store"}
    for field in HEADER:
        if field.name in waits:
            found[field.name] = {str(n): _is(field.name, n) for n in range(NO_WAIT + 1)}
    if instruction.unit != Unit.CONTROL:
        found["tiled"] = {str(n): _is("tiled", n) for n in (0, 1)}
    return found


def field_bins(machine: MachineConfig, name: str) -> Iterator[str]:
    """ "field class" of every class."""
    for field, classes in _classes(machine, name).items():
        yield from (f"{field} {text}" for text in classes)


def field_classes(machine: MachineConfig, name: str, f: dict[str, int], live: int) -> Iterator[str]:
    """ "field class" of every class that the values of one instruction are of."""
    for field, classes in _classes(machine, name).items():
        yield from (f"{field} {text}" for text, holds in classes.items() if holds(f, live))


def _is(field: str, value: int) -> Class:
    return lambda f, live: f[field] == value


def _enumerated(field: Field) -> Classes:
    if field.values is not None:
        return {value.name: _is(field.name, int(value)) for value in field.values}
    return {str(n): _is(field.name, n) for n in (0, 1)} if field.bits == 1 else {}


def _corners(field: str, least: int, step: int, most: int, used: Class = lambda f, live: True) -> Classes:
    """The least value, the next one, one between and the greatest, where the field is used."""
    values = {str(least): least, str(least + step): least + step, f"most, {most}": most}
    found: Classes = {text: (lambda f, n, v=v: f[field] == v and used(f, n)) for text, v in values.items()}
    found["between"] = lambda f, live: least + step < f[field] < most and used(f, live)
    return found


def _ends(field: str, most: int, used: Class = lambda f, live: True) -> Classes:
    """An index of a small memory: first and last."""
    return {
        "0": lambda f, live: f[field] == 0 and used(f, live),
        f"{most}": lambda f, live: f[field] == most and used(f, live),
    }


def _segment(lanes: int, used: Class) -> Classes:
    def of(test: Callable[[int, int], bool]) -> Class:
        return lambda f, live: f["n"] > 0 and used(f, live) and test(f["segment"], f["n"])

    return {
        "0": of(lambda s, n: s == 0),
        "a word": of(lambda s, n: s == lanes < n),
        "divides n": of(lambda s, n: lanes < s < n and n % s == 0),
        "does not divide n": of(lambda s, n: 0 < s < n and n % s > 0),
        "n": of(lambda s, n: s == n),
        "beyond n": of(lambda s, n: s > n),
    }


def _length(machine: MachineConfig, field: str) -> Classes:
    bus, burst = machine.bus_bytes, machine.burst_beats * machine.bus_bytes
    return {
        "0": _is(field, 0),
        "multiple of the bus": lambda f, live: f[field] > 0 and f[field] % bus == 0,
        "uneven": lambda f, live: f[field] % bus > 0,
        "more than a burst": lambda f, live: f[field] > burst,
    }


def _address(machine: MachineConfig) -> dict[str, Classes]:
    bus = machine.bus_bytes
    base: Classes = {"low": lambda f, n: f["base"] < 1 << 31, "high": lambda f, n: f["base"] >= 1 << 31}
    return {"base": base, "stride": _corners("stride", 0, bus, (1 << 28) - bus)}


def _loop(machine: MachineConfig) -> dict[str, Classes]:
    return {"count": _corners("count", 1, 1, (1 << 16) - 1, lambda f, live: f["register"] == Loop.LAYER)}


def _fetch(machine: MachineConfig) -> dict[str, Classes]:
    size = _length(machine, "bytes") | {
        "1": _is("bytes", 1),
        "less than the bus": lambda f, live: 0 < f["bytes"] < machine.bus_bytes,
        "most, 67108863": _is("bytes", (1 << 26) - 1),
    }
    return {**_address(machine), "bytes": size}


def _matmul(machine: MachineConfig) -> dict[str, Classes]:
    k = _corners("k", 1, 1, machine.quantised_words)
    k |= {f"{r} beyond a multiple of 5": (lambda f, n, r=r: f["k"] % 5 == r) for r in range(5)}
    return {
        "rows": _corners("rows", 1, 1, machine.accumulator_rows),
        "k": k,
        "q": _corners("q", 0, 16, machine.quantised_words - 16),
        "acc": _corners("acc", 0, machine.lanes, machine.accumulator_rows - machine.lanes),
    }


def _integer(machine: MachineConfig) -> dict[str, Classes]:
    """What LINEAR and HEAD have in common; their rows apart."""

    def unit(f: dict[str, int]) -> int:
        return machine.unit_codes(8 if f["width"] == Width.INT8 else 4)

    def grouped(test: Callable[[dict[str, int]], bool]) -> Class:
        return lambda f, live: f["group"] > 0 and test(f)

    k = _corners("k", 1, 1, machine.quantised_words)
    k["whole units"] = lambda f, live: f["k"] % unit(f) == 0
    k["fills a unit up"] = lambda f, live: f["k"] % unit(f) > 0
    group: Classes = {
        "0": _is("group", 0),
        "a unit": grouped(lambda f: f["group"] == unit(f) < f["k"]),
        "several units": grouped(lambda f: unit(f) < f["group"] < f["k"]),
        "divides k": grouped(lambda f: f["group"] < f["k"] and f["k"] % f["group"] == 0),
        "does not divide k": grouped(lambda f: f["group"] < f["k"] and f["k"] % f["group"] > 0),
        "k": grouped(lambda f: f["group"] == f["k"]),
        "beyond k": grouped(lambda f: f["group"] > f["k"]),
        "most": grouped(lambda f: f["group"] == 0xFFFF // unit(f) * unit(f)),
    }
    return {
        "k": k,
        "q": _corners("q", 0, 16, machine.quantised_words - 16),
        "scale": _ends("scale", SCALARS - 1) | {"wraps": lambda f, n: f["scale"] + n > SCALARS},
        "group": group,
    }


def _odd() -> Classes:
    """Whether the last pair of rows is filled up."""
    return {
        "even": lambda f, live: f["rows"] % 2 == 0,
        "odd": lambda f, live: f["rows"] > 1 and f["rows"] % 2 == 1,
    }


def _head(machine: MachineConfig) -> dict[str, Classes]:
    rows: Classes = {"1": _is("rows", 1), "2": _is("rows", 2), "many": lambda f, live: f["rows"] > 100}
    emit: Classes = {str(n): _is("emit", n) for n in range(16)}
    return {**_integer(machine), "rows": rows | _odd(), "emit": emit}


def _linear(machine: MachineConfig) -> dict[str, Classes]:
    return {
        **_integer(machine),
        "rows": _corners("rows", 1, 1, machine.accumulator_rows) | _odd(),
        "acc": _corners("acc", 0, machine.lanes, machine.accumulator_rows - machine.lanes),
    }


def _map(machine: MachineConfig) -> dict[str, Classes]:
    lanes, const = machine.lanes, machine.constant_words
    memories = {Dest.ACTIVATION: machine.activation_words, Dest.CONSTANT: const, Dest.SCALAR: SCALARS}
    d = {
        f"{dest.name} {text}": holds
        for dest, size in memories.items()
        for text, holds in _corners(
            "d", 0, lanes, size - lanes, lambda f, live, dest=dest: f["dest"] == dest and f["n"] > 0
        ).items()
    }
    a = {
        f"{source.name} {text}": holds
        for source, size in (
            (Source.ACTIVATION, machine.activation_words), (Source.ACCUMULATOR, machine.accumulator_rows),
            (Source.LINEAR, machine.accumulator_rows),
        )
        for text, holds in _corners(
            "a", 0, lanes, size - lanes, lambda f, live, source=source: f["source"] == source and f["n"] > 0
        ).items()
    }  # fmt: skip
    scaled: Class = lambda f, live: f["scaled"] == 1 and f["n"] > 0  # noqa: E731
    statistics: Class = lambda f, live: f["statistics"] == 1 and f["n"] > 0  # noqa: E731
    return {
        "n": _corners("n", 0, lanes, machine.activation_words),
        "a": a,
        "b": _corners(
            "b", 0, lanes, machine.activation_words - lanes, lambda f, n: f["function"] in TWO_OPERANDS
        ),
        "c": _corners(
            "c", 0, lanes, const - lanes,
            lambda f, n: f["function"] == Function.ROPE or (f["gain"] and f["statistics"]) == 1,
        ),
        "d": d,
        "s1": _ends("s1", SCALARS - 1, scaled)
        | {"wraps": lambda f, n: scaled(f, n) and f["s1"] + n > SCALARS},
        "s2": _ends("s2", SCALARS - 1, scaled),
        "stat": _ends("stat", STATISTICS - 1, statistics),
        "segment": _segment(
            lanes, lambda f, n: f["statistics"] == 1 or f["function"] == Function.ROPE
        ),
        "grid": {str(g): (lambda f, n, g=g: statistics(f, n) and f["grid"] == g) for g in (-128, 0, 127)}
        | {"below 0": lambda f, n: statistics(f, n) and -128 < f["grid"] < 0,
           "above 0": lambda f, n: statistics(f, n) and 0 < f["grid"] < 127},
    }  # fmt: skip


def _quantise(machine: MachineConfig) -> dict[str, Classes]:
    lanes = machine.lanes
    query: Class = lambda f, live: f["target"] == Target.QUERY and f["n"] > 0  # noqa: E731
    used: Class = lambda f, live: f["n"] > 0  # noqa: E731
    gain: Class = lambda f, live: f["gain"] == 1 and f["n"] > 0  # noqa: E731
    q: Class = lambda f, live: f["target"] == Target.MATMUL and f["n"] > 0  # noqa: E731
    return {
        "n": _corners("n", 0, lanes, machine.activation_words),
        "a": _corners("a", 0, lanes, machine.activation_words - lanes, used),
        "c": _corners("c", 0, lanes, machine.constant_words - lanes, gain),
        "d": _corners("d", 0, 16, machine.quantised_words - 16, q),
        "s1": _ends("s1", SCALARS - 1, query),
        "stat": _ends("stat", STATISTICS - 1, used),
        "segment": _segment(lanes, used),
    }  # fmt: skip


def _norm(machine: MachineConfig) -> dict[str, Classes]:
    normalise: Class = lambda f, live: f["normalise"] == 1  # noqa: E731
    return {
        "stat": _ends("stat", STATISTICS - 1),
        "c": _ends("c", SCALARS - 1, normalise),
        "eps": _ends("eps", SCALARS - 1, normalise),
        "d": _ends("d", SCALARS - 1) | {"wraps": lambda f, n: f["d"] + n > SCALARS},
    }


def _attend(machine: MachineConfig) -> dict[str, Classes]:
    step = machine.lanes
    return {
        "kv_heads": _corners("kv_heads", 1, 1, machine.max_heads),
        "group": _corners("group", 1, 1, machine.max_group),
        "head_size": _corners("head_size", step, step, min(machine.max_query, 1023 // step * step)),
    }


def _store(machine: MachineConfig) -> dict[str, Classes]:
    size = _length(machine, "bytes") | {"4": _is("bytes", 4)}
    if machine.bus_bytes == 4:
        del size["uneven"]
    most = machine.activation_words - machine.lanes
    spill: Class = lambda f, live: f["payload"] == Payload.ACTIVATION  # noqa: E731
    return {
        **_address(machine),
        "step": _corners("step", 0, machine.bus_bytes, (1 << 24) - machine.bus_bytes),
        "bytes": size,
        "a": _corners("a", 0, machine.lanes, most, spill),
    }


_NUMBERS: dict[str, Callable[[MachineConfig], dict[str, Classes]]] = {
    "LOOP": _loop, "FETCH": _fetch, "MATMUL": _matmul, "HEAD": _head, "LINEAR": _linear, "MAP": _map,
    "QUANTISE": _quantise, "NORM": _norm, "ATTEND": _attend, "STORE": _store,
}  # fmt: skip
