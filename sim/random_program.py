"""Random programs over the instruction table, legal by construction: `random_program`.

Everything that a program reads it has written before, in its prologue or later. It ends with an epilogue
that carries what lies in the on-chip memories out to DRAM, so that memory, NEXT_TOKEN, ERROR and the exact
counters show a wrong bit almost anywhere.
"""

import random
from dataclasses import dataclass

import numpy as np

from compiler.hazards import wait_bounds
from hw import isa
from hw.isa import (
    FETCH_AHEAD,
    INSTRUCTION_BITS,
    SCALARS,
    STATISTICS,
    Dest,
    Feed,
    Function,
    Payload,
    Source,
    Target,
)
from hw.machine import MachineConfig

from .random_attention import AttentionBlocks
from .random_blocks import Q_STEP, Blocks, Zone, Zones
from .random_rows import Row, Rows
from .random_values import Values

#: Bytes of memory that every random program runs in.
MEMORY_BYTES = 1 << 19
_RESERVE = 20  #: instructions of a long block


@dataclass(frozen=True)
class RandomCase:
    """One program with everything that decides what it does.

    Run `steps` times, at `position` and the positions after it; `memory` (uint8) is the image before that.
    """

    seed: int
    program: bytes
    rows: tuple[Row, ...]
    memory: np.ndarray
    memory_base: int
    token: int
    position: int
    predicates: int
    steps: int


def random_program(seed: int, machine: MachineConfig) -> RandomCase:
    """The program of a seed; the same seed and machine always give the same one."""
    for attempt in range(100):
        try:
            return _drawn(seed, attempt, machine)
        except MemoryError:  # too long for the program memory, or too large for the other: drawn again
            continue
    raise MemoryError(f"wanted a program that fits {machine.name!r}, found none for seed {seed}")


def _drawn(seed: int, attempt: int, machine: MachineConfig) -> RandomCase:
    rng, generator = random.Random(f"{seed} {attempt}"), np.random.default_rng((seed, attempt))
    size = rng.choices(("tiny", "middle", "maximal"), (0.9, 0.085, 0.015))[0]
    position = rng.choice((0, 1, 2, rng.randint(1, 12), rng.randint(1, 40 if size == "tiny" else 120)))
    steps = rng.choice((1, 1, 2)) if size != "maximal" else 1
    values = Values(generator, rng.choice((0, 0, 0.01, 0.1)))
    memory = generator.integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
    base, token, predicates = (
        64 * rng.choice((0, rng.randrange(64))),
        rng.randrange(1 << 20),
        rng.randrange(1 << 16),
    )
    rows = Rows(rng, values, machine, memory, base, token, position, predicates, steps)
    most_rows = {"tiny": 24, "middle": 100, "maximal": 1000}[size]
    blocks = AttentionBlocks(rows, _zones(rng, machine, size), most_rows)
    _prologue(blocks)
    _body(blocks, {"tiny": 10, "middle": 14, "maximal": 8}[size])
    _epilogue(blocks, 3 if size == "tiny" else 6)
    rows.emit("END")
    if len(rows.rows) > machine.program_words:
        raise MemoryError(f"wanted {machine.program_words} instructions at most, found {len(rows.rows)}")
    program = _hoisted(rows.rows, rng)
    words = [isa.encode(name, **(f | w)) for (name, f), w in zip(program, wait_bounds(program), strict=True)]
    code = b"".join(word.to_bytes(INSTRUCTION_BITS // 8, "little") for word in words)
    return RandomCase(seed, code, tuple(program), memory, base, token, position, rows.predicates, steps)


def _zones(rng: random.Random, machine: MachineConfig, size: str) -> Zones:
    """What the program uses of each memory, anywhere in it."""

    def zone(memory: int, tiny: int, middle: int, step: int) -> Zone:
        n = {"tiny": tiny, "middle": middle, "maximal": memory}[size]
        n = min(memory, -(-rng.randint(n // 2 + 1, n) // step) * step if size != "maximal" else n)
        return Zone(rng.randrange((memory - n) // step + 1) * step, n)

    lanes = machine.lanes
    dumped = _slots(machine) * lanes
    mask = Zone(rng.choice((0, machine.constant_words - dumped)), dumped)
    const = zone(machine.constant_words - dumped, 96, 300, lanes)
    if mask.low == 0:
        const = Zone(const.low + dumped, const.size)
    stat = zone(STATISTICS, 24, STATISTICS, 1)
    return Zones(
        zone(machine.activation_words, 160, 600, lanes),
        const,
        zone(machine.accumulator_rows, 64, 300, lanes),
        zone(machine.quantised_words, rng.choice((64, 160)), 512, max(Q_STEP, machine.head_lanes)),
        stat,
        mask,
    )


def _slots(machine: MachineConfig) -> int:
    """Words of `lanes` elements whose codes and absmax fit one staged K row."""
    step = max(1, machine.lanes // 8)
    return min(12, machine.stage_bytes // (8 + machine.lanes)) // step * step


def _prologue(blocks: Blocks) -> None:
    """Write everything in the zones, the scalars, and what `_dump` needs."""
    zones, rows, values, lanes = blocks.zones, blocks.rows, blocks.values, blocks.lanes
    load = blocks.load_values
    load(lambda: values.floats(SCALARS, -3, 3), Dest.SCALAR, 0)
    load(lambda: _mask(values, zones.mask.size, lanes), Dest.CONSTANT, zones.mask.low)
    load(lambda: values.floats(zones.const.size, -2, 2), Dest.CONSTANT, zones.const.low)
    load(lambda: values.floats(zones.act.size), Dest.ACTIVATION, zones.act.low)
    for low in range(0, zones.stat.size, zones.act.size // lanes):
        n = min(zones.stat.size - low, zones.act.size // lanes) * lanes
        rows.emit(
            "MAP",
            n=n,
            a=zones.act.low,
            d=zones.act.low,
            statistics=1,
            stat=zones.stat.low + low,
            segment=lanes,
            grid=10,
        )
    for low in range(0, zones.q.size, zones.act.size // Q_STEP * Q_STEP):
        n = min(zones.q.size - low, zones.act.size // Q_STEP * Q_STEP)
        rows.emit("QUANTISE", n=n, d=zones.q.low + low, a=zones.act.low, stat=zones.stat.low)
    k = blocks.rng.randint(1, min(12, zones.q.size))
    size = zones.acc.size * -(-k // 5)
    rows.feed(size, lambda: values.trits(size))
    rows.emit("MATMUL", rows=zones.acc.size, k=k, q=zones.q.low, acc=zones.acc.low)
    slots = min(_slots(rows.machine), zones.stat.size)
    for target, d in ((Target.VALUE, 0), (Target.KEY, 8 * slots)):
        rows.emit(
            "QUANTISE",
            target=target,
            n=slots * lanes,
            d=d,
            a=zones.act.low,
            stat=zones.stat.low,
            segment=lanes,
        )


def _mask(values: Values, n: int, lanes: int) -> np.ndarray:
    """In each word of `lanes`, all elements or one of them: whose absmax a dump shows bit for bit."""
    mask = np.zeros((n // lanes, lanes), np.float32)
    mask[np.arange(n // lanes), values.rng.integers(0, lanes, n // lanes)] = 1
    mask[values.rng.random(n // lanes) < 0.3] = 1
    return mask.reshape(-1)


def _body(blocks: AttentionBlocks, most: int) -> None:
    """Blocks before, in and after a loop, or without one."""
    rng, rows = blocks.rng, blocks.rows
    turns = rng.choice((0, 1, 2, 2, 3))
    bits = {
        "on": max(p for p in range(16) if rows.holds(p)),
        "off": next((p for p in range(16) if not rows.holds(p)), 1),
    }
    for part in range(3 if turns else 1):
        inside = turns > 0 and part == 1
        if inside:
            rows.emit("LOOP", count=turns)
            rows.layers = turns
        for _ in range(rng.randint(1, most) if not inside else rng.randint(1, most // 2)):
            if len(rows.rows) > rows.machine.program_words - 5 * _RESERVE:
                break
            with rows.under(rng.choice((0, 0, 0, rng.randrange(16)))):
                _block(blocks)
        if inside:
            rows.emit("NEXT")
            rows.layers, rows.layer = 1, turns
            if rng.random() < 0.1:
                rows.rows.append(("END", {"predicate": rng.choice((bits["off"], bits["off"], bits["on"]))}))


def _simple(blocks: Blocks) -> None:
    """A block that may stand between the passes of attention."""
    choice = blocks.rng.choices(
        (
            blocks.load,
            lambda: blocks.map(Source.ACTIVATION),
            lambda: blocks.map(Source.ACCUMULATOR),
            blocks.quantise_q,
            blocks.norm,
            blocks.matmul,
            blocks.head,
            blocks.rows.empty_fetch,
            blocks.nothing,
        ),
        (4, 8, 6, 6, 4, 8, 2, 2, 1),
    )
    choice[0]()


def _block(blocks: AttentionBlocks) -> None:
    kind = blocks.rng.random()
    if kind < 0.1:
        blocks.stage()
    elif kind < 0.3:
        blocks.attend(lambda: _simple(blocks))
    else:
        _simple(blocks)


def _epilogue(blocks: Blocks, most: int) -> None:
    """Activations, and partial sums, constants and scalars through them, to memory; int8 by a HEAD."""
    zones, rows, rng, lanes = blocks.zones, blocks.rows, blocks.rng, blocks.lanes
    blocks.head(zones.q.size // blocks.machine.head_lanes * blocks.machine.head_lanes)
    _dump(blocks, zones.act.size, most)
    n = min(zones.act.size, zones.acc.size)
    rows.emit("MAP", source=Source.ACCUMULATOR, n=n, a=blocks.at(zones.acc, n), d=zones.act.low)
    _dump(blocks, n, most)
    n = min(zones.act.size, zones.const.size)
    unit = np.tile(np.array([1, 0], np.float32), n // 2)
    blocks.load_values(
        lambda: unit, Dest.ACTIVATION, zones.act.low, function=Function.ROPE, c=blocks.at(zones.const, n)
    )
    _dump(blocks, n, most)
    shown = min(6, zones.act.size // lanes)
    written = [f["d"] for name, f in rows.rows if name == "NORM"] or [0]
    for i in range(shown):
        blocks.load_values(
            lambda: np.ones(lanes, np.float32),
            Dest.ACTIVATION,
            zones.act.low + i * lanes,
            scaled=1,
            s1=rng.choice(written),
            s2=rng.randrange(SCALARS),
        )
    _dump(blocks, shown * lanes, 1)


def _dump(blocks: Blocks, n: int, most: int) -> None:
    """The first n activations of the zone, at most `most` K rows: int8 codes, and absmaxes exactly."""
    zones, rows, lanes = blocks.zones, blocks.rows, blocks.lanes
    step = max(1, lanes // 8)
    slots = min(_slots(rows.machine), zones.stat.size) // step * step
    parts = list(range(0, n, slots * lanes))
    for low in sorted(blocks.rng.sample(parts, min(most, len(parts)))):
        heads = min(slots, (n - low) // lanes) // step * step
        at = zones.act.low + low
        common = {"n": heads * lanes, "a": at, "segment": lanes, "stat": zones.stat.low}
        if heads and len(rows.rows) < rows.machine.program_words - _RESERVE:
            rows.emit("MAP", **common, d=at, statistics=1, gain=1, c=zones.mask.low, grid=10)
            rows.emit("QUANTISE", **common, target=Target.KEY, d=8 * heads)
            rows.store(Payload.KEY, heads * (8 + lanes))


def _hoisted(rows: list[Row], rng: random.Random) -> list[Row]:
    """FETCH instructions at times earlier than needed, in their order, not across the ends of the loop."""
    rows, fences = list(rows), ("FETCH", "LOOP", "NEXT", "END")
    eager, ahead, own = rng.choice((0.0, 0.3, 0.9)), {}, 0
    for i, row in enumerate(rows):
        if row[0] != "FETCH":
            ahead[id(row)], own = own, own if not _takes(row) else 0
            continue
        own += 1
        while i and rows[i - 1][0] not in fences and rng.random() < eager:
            over = rows[i - 1]
            if _takes(over) and ahead[id(over)] >= FETCH_AHEAD:
                break
            ahead[id(over)] += 1
            rows[i - 1], rows[i] = rows[i], over
            i -= 1
    return rows


def _takes(row: Row) -> bool:
    """Whether an instruction takes from the tape."""
    name, f = row
    return (
        name in ("MATMUL", "HEAD")
        or (name == "MAP" and f.get("source", 0) == Source.TAPE)
        or (name == "ATTEND" and f["feed"] == Feed.TAPE)
    )
