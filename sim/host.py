"""What a host does with the registers of a machine: program, chunk, results."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from hw.isa import (
    CONTINUES,
    COUNTER_BASE,
    COUNTERS,
    CSR_INDEX,
    INSTRUCTION_WORDS,
    STOP_ENABLE,
    STOP_TOKENS,
)
from hw.sequencer import PROGRAM_STRIDE

from .entries import Entry

__all__ = [
    "COUNTER_READS",
    "Registers",
    "chunk_writes",
    "counters_of",
    "output_token",
    "program_writes",
    "table",
    "top",
]


class Registers(Protocol):
    """The CSRs of a machine, simulated or on a board."""

    def write(self, addr: int, value: int) -> None:
        """One write."""
        ...

    def read_all(self, addrs: Sequence[int]) -> list[int]:
        """Reads in order."""
        ...


#: Registers that `counters_of` needs.
COUNTER_READS = range(COUNTER_BASE, COUNTER_BASE + 2 * len(COUNTERS))
#: TOP_TOKEN where HEAD had fewer rows.
_NONE = 0xFFFF_FFFF
#: What is read at an address appears in the cycle after it, and behind ENTRY, OUTPUT and TOP stand memories:
#: a second read is of the new place.
_TWICE = 2


def program_writes(program: bytes) -> list[tuple[int, int]]:
    """Program memory, through PROGRAM_ADDRESS and PROGRAM_DATA."""
    writes = []
    for i, row in enumerate(np.frombuffer(program, "<u4").reshape(-1, INSTRUCTION_WORDS)):
        writes.append((CSR_INDEX["PROGRAM_ADDRESS"], PROGRAM_STRIDE * i))
        writes += [(CSR_INDEX["PROGRAM_DATA"], int(word)) for word in row]
    return writes


def chunk_writes(
    entries: Iterable[Entry],
    *,
    tile: int,
    steps: int = 1,
    stops: Sequence[int] = (),
    batch: bool = False,
    predicates: int = 1,
) -> list[tuple[int, int]]:
    """The token table and all registers that say what a doorbell runs on."""
    csr, entries = CSR_INDEX, list(entries)
    writes = [(csr["ENTRY"], 0)]
    for entry in entries:
        base = entry.base | entry.continues << CONTINUES
        writes += [(csr["ENTRY_TOKEN"], entry.token), (csr["ENTRY_POSITION"], entry.position),
                   (csr["ENTRY_BASE"], base)]  # fmt: skip
    marks = [1 << STOP_ENABLE | token for token in stops]
    marks += [0] * (STOP_TOKENS - len(marks))
    return [
        *writes, (csr["TOKENS"], len(entries)), (csr["TILE"], tile), (csr["STEPS"], steps),
        (csr["BATCH"], int(batch)), *((csr[f"STOP_{i}"], mark) for i, mark in enumerate(marks)),
        (csr["PREDICATES"], predicates),
    ]  # fmt: skip


def counters_of(reads: Mapping[int, int]) -> dict[str, int]:
    """All counters by name, from what stood in `COUNTER_READS`."""
    return {
        counter.name: reads[COUNTER_BASE + 2 * i] | reads[COUNTER_BASE + 2 * i + 1] << 32
        for i, counter in enumerate(COUNTERS)
    }


def output_token(session: Registers, index: int) -> int:
    """A token of the output log."""
    session.write(CSR_INDEX["OUTPUT"], index)
    return session.read_all([CSR_INDEX["OUTPUT_TOKEN"]] * _TWICE)[-1]


def top(session: Registers, token: int, most: int) -> tuple[list[int], np.ndarray]:
    """TOP of a token of the last HEAD's tile: ids, and logits (binary32), at most `most`."""
    ids, values = [], []
    for rank in range(most):
        session.write(CSR_INDEX["TOP"], token << 8 | rank)
        *_, index, value = session.read_all([CSR_INDEX["TOP_TOKEN"]] * _TWICE + [CSR_INDEX["TOP_LOGIT"]])
        if index == _NONE:
            break
        ids.append(index)
        values.append(value)
    return ids, np.array(values, "<u4").view("<f4")


def table(session: Registers, count: int) -> list[Entry]:
    """The first entries of the token table."""
    csr, found = CSR_INDEX, []
    for i in range(count):
        session.write(csr["ENTRY"], i)
        *_, token, position, base = session.read_all(
            [csr["ENTRY_TOKEN"]] * _TWICE + [csr["ENTRY_POSITION"], csr["ENTRY_BASE"]]
        )
        found.append(Entry(token, position, base & (1 << CONTINUES) - 1, bool(base >> CONTINUES)))
    return found
