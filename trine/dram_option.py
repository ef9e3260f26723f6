"""The option `--dram`: timing of the memory as text."""

import dataclasses
import re
from typing import Any

from sim.ddr4 import DDR4_2400
from sim.dram import DDR3, DramParams

from .errors import UsageError

__all__ = ["parse_dram"]


def parse_dram(text: str) -> DramParams:
    """`latency=40,stall_r=100` over the default timing, or `ddr4-2400` with such changes after it."""
    parts = list(filter(None, text.split(",")))
    base: DramParams = DDR3
    if parts[:1] == ["ddr4-2400"]:
        base = DDR4_2400
        del parts[0]
    known = {field.name for field in dataclasses.fields(base)}
    changes: dict[str, Any] = {}
    for part in parts:
        name, _, value = part.partition("=")
        pattern = "[bcgr]{4}" if name == "order" else r"-?[0-9]{1,9}"
        if name not in known or name in changes or not re.fullmatch(pattern, value, re.ASCII):
            raise UsageError(
                f"--dram: wanted NAME=NUMBER with NAME one of {', '.join(sorted(known))}, each once, and "
                f"NUMBER of at most 9 digits, found {part[:80]!r}"
            )
        changes[name] = value if name == "order" else int(value)
    try:
        return dataclasses.replace(base, **changes)
    except ValueError as error:
        raise UsageError(f"--dram: {error}") from error
