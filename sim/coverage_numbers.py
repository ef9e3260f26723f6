"""Classes of the numbers that instructions write."""

from collections.abc import Iterator

import numpy as np

from hw.machine import MachineConfig
from models.numerics import INT8_LEVELS, INT16_LEVELS, MANTISSA_LEVELS, SQUARE_SUM_MAX

from .interpreter_tape import Write

__all__ = ["NUMBERS", "number_classes", "numbers"]

_FLOAT = ("+0", "-0", "normal", "infinite", "NaN")
_CODES = ("0", "largest", "smallest", "between")
#: By memory, the classes.
NUMBERS: dict[str, tuple[str, ...]] = {
    "ACT": (*_FLOAT, "a subnormal flushed"),
    "CONST": (*_FLOAT, "a subnormal flushed"),
    "SCALAR": (*_FLOAT, "a subnormal flushed"),
    "STAT_TOTAL": ("0", "between", "saturated"),
    "STAT_MAXIMUM": ("+0", "below 2^-100", "normal", "infinite", "NaN"),
    "ACC": ("0", "positive", "negative"),
    "ACC of LINEAR": (*_FLOAT, "a subnormal flushed"),
    "Q": _CODES,
    "Q mantissas": _CODES,
    "QUERY": _CODES,
    "QUERY_SCALE": ("+0", "normal", "infinite", "NaN"),
    "STAGE_K": _CODES,
    "STAGE_V": _CODES,
    "STAGE scale": ("+0", "normal", "infinite", "NaN"),
    "TOP": (*_FLOAT, "equal ones"),
}
_INFINITY, _SIGN, _LIVE = 0x7F80_0000, 0x8000_0000, 0x0D80_0000


def numbers(machine: MachineConfig) -> Iterator[str]:
    """ "memory class" of all that a machine can have."""
    for memory, names in NUMBERS.items():
        if memory != "Q mantissas" or machine.activation_bits == 12:
            yield from (f"{memory} {name}" for name in names)


def number_classes(name: str, f: dict[str, int], writes: list[Write], flushed: bool) -> Iterator[str]:
    """ "memory class" of what an instruction wrote; `flushed`: it met a subnormal."""
    for memory, _, first, values in writes:
        if memory == "TOP":
            yield from (f"TOP {text}" for text in _floats(values[:, 1]))
            if len(np.unique(values[:, 1])) < len(values):
                yield "TOP equal ones"
        elif memory in ("STAGE_K", "STAGE_V"):
            if first == f["d"] and values.size > 4:
                yield from (f"{memory} {text}" for text in _codes(values.view(np.int8), INT8_LEVELS))
            elif values.size == 4:
                yield from (f"STAGE scale {text}" for text in _floats(values.view(np.uint32)))
        elif memory in ("Q", "QUERY"):
            levels = INT16_LEVELS if memory == "QUERY" else INT8_LEVELS
            if f["mantissa"]:
                memory, levels = "Q mantissas", MANTISSA_LEVELS
            yield from (f"{memory} {text}" for text in _codes(values, levels))
        elif memory == "ACC" and name == "LINEAR":
            yield from (f"ACC of LINEAR {text}" for text in _floats(values))
            if flushed:
                yield "ACC of LINEAR a subnormal flushed"
        elif memory == "ACC":
            tests = {"0": values == 0, "positive": values > 0, "negative": values < 0}
            yield from (f"ACC {text}" for text, test in tests.items() if test.any())
        elif memory == "STAT_TOTAL":
            tests = {"0": values == 0, "saturated": values == SQUARE_SUM_MAX}
            tests["between"] = ~tests["0"] & ~tests["saturated"]
            yield from (f"STAT_TOTAL {text}" for text, test in tests.items() if test.any())
        elif memory == "STAT_MAXIMUM":
            small = (values > 0) & (values < _LIVE)
            if small.any():
                yield "STAT_MAXIMUM below 2^-100"
            yield from (f"STAT_MAXIMUM {text}" for text in _floats(values[~small]))
        elif memory in NUMBERS:
            yield from (f"{memory} {text}" for text in _floats(values))
            if flushed and name == "MAP":
                yield f"{memory} a subnormal flushed"


def _floats(bits: np.ndarray) -> Iterator[str]:
    bits = (bits & 0xFFFF_FFFF).astype(np.uint32)
    magnitude = bits & ~np.uint32(_SIGN)
    tests = {
        "+0": bits == 0,
        "-0": bits == _SIGN,
        "normal": (magnitude > 0) & (magnitude < _INFINITY),
        "infinite": magnitude == _INFINITY,
        "NaN": magnitude > _INFINITY,
    }
    yield from (text for text, test in tests.items() if test.any())


def _codes(values: np.ndarray, levels: int) -> Iterator[str]:
    tests = {"0": values == 0, "largest": values == levels, "smallest": values == -levels}
    tests["between"] = ~(tests["0"] | tests["largest"] | tests["smallest"])
    yield from (text for text, test in tests.items() if test.any())
