"""What one doorbell is given: the chunk, its tiles, the steps, predicates."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from hw.isa import MANY_TILES, STOP_TOKENS
from hw.machine import MachineConfig
from hw.ports import POSITION_BITS, TOKEN_ID_BITS
from sim.entries import Entry

#: Token of a step that the one before found; it is below the rows of the head.
FOUND = -1


@dataclass(frozen=True)
class Plan:
    """Registers of a run.

    Members
    -------
    head_rows: rows of each step's last HEAD. light: the chunk is long or the steps are many, so that what is
    done for each should be little.
    """

    entries: tuple[Entry, ...]
    tile: int
    steps: int
    batch: bool
    stops: tuple[int, ...]
    predicates: int
    memory_base: int
    head_rows: int
    light: bool

    @property
    def tiles(self) -> int:
        """Tiles of the first step, which has most."""
        return -(-len(self.entries) // self.tile)

    def chunks(self) -> Iterator[tuple[Entry, ...]]:
        """The chunk of each step."""
        yield self.entries
        going = self.entries if self.batch else self.entries[-1:]
        for step in range(1, self.steps):
            yield tuple(Entry(FOUND, entry.position + step, entry.base) for entry in going)

    def truth(self, predicate: int) -> tuple[bool, ...]:
        """Whether instructions under `predicate` are executed, for each step."""
        if predicate == MANY_TILES:
            return tuple(len(chunk) > self.tile for chunk in self.chunks())
        return (bool((self.predicates | 1) >> predicate & 1),) * self.steps


def draw_plan(rng: random.Random, machine: MachineConfig, size: str) -> Plan:
    """A legal one; `size` bounds what attention has to look at."""
    tile = rng.choice((machine.tile, rng.randint(1, machine.tile)))
    kind = rng.choices(("one", "tile", "tiles", "batch", "long"), (0.25, 0.25, 0.28, 0.18, 0.04))[0]
    if size == "maximal" and kind in ("tiles", "long"):
        kind = "tile"
    most = {
        "one": 1, "tile": tile, "tiles": min(machine.max_chunk, 3 * tile + 1), "batch": tile,
        "long": machine.max_chunk,
    }[kind]  # fmt: skip
    count = most if rng.random() < (0.5 if kind == "long" else 0.3) else rng.randint(1, most)
    if kind == "tiles" and tile < most:
        count = rng.randint(tile + 1, most)
    tiles = -(-count // tile)
    steps = 1
    if size == "tiny":
        steps = rng.choice((1, 1, 1, 1, 2, 2, 3, rng.randint(1, 5)))
        if kind in ("one", "batch") and rng.random() < (0.04 if count > 1 else 0.01):
            steps = rng.choice((rng.randint(6, 20), min(40, machine.max_context // count + 1)))
    head_rows = rng.choice((1, 2, 3, 5, rng.randint(1, 12), rng.randint(1, 60 if steps < 6 else 12)))
    stops: tuple[int, ...] = ()
    if rng.random() < 0.5:
        stops = tuple(rng.randrange(max(2, head_rows)) for _ in range(rng.randint(1, STOP_TOKENS)))
        if steps > 5:
            stops = tuple(stop + head_rows for stop in stops)
    return Plan(
        _entries(rng, count, kind == "batch", steps, 40 if size == "tiny" else 120),
        tile, steps, kind == "batch", stops, rng.randrange(1 << 16), 64 * rng.choice((0, rng.randrange(64))),
        head_rows, tiles > 5 or steps > 5,
    )  # fmt: skip


def _entries(rng: random.Random, count: int, batch: bool, steps: int, most: int) -> tuple[Entry, ...]:
    """Sequences of one token or more, anywhere in what fits the registers."""
    ends = (1 << POSITION_BITS) - 1
    far = rng.random() < 0.04
    origin = rng.choice((0, rng.randrange(1 << TOKEN_ID_BITS)))
    spread = rng.choice((1, 4, 40))
    lengths = [1] * count if batch else []
    while (room := count - sum(lengths)) > 0:
        lengths.append(min(room, rng.choice((1, 2, rng.randint(1, 8), count))))
    most = max(1, min(most, 2 * most // len(lengths)))
    positions = [rng.choice((0, 0, 1, 2, rng.randint(0, 12), rng.randint(0, most))) for _ in lengths]
    if far:  # too far for attention
        positions = [rng.choice((1000, ends - count - steps)) for _ in lengths]
    bases = _bases(rng, [a + b + steps - 1 for a, b in zip(positions, lengths, strict=True)], ends, far)
    found: list[Entry] = []
    for length, position, base in zip(lengths, positions, bases, strict=True):
        for i in range(length):
            token = (origin + rng.randrange(spread)) % (1 << TOKEN_ID_BITS)
            found.append(Entry(token, position + i, base, i > 0))
    return tuple(found)


def _bases(rng: random.Random, rows: list[int], most: int, far: bool) -> list[int]:
    """Where sequences of so many rows begin, in any order: no row belongs to two, unless `far`."""
    if far:
        return [rng.choice((0, most, rng.randint(0, most))) for _ in rows]
    order = list(range(len(rows)))
    if rng.random() < 0.5:
        rng.shuffle(order)
    gaps = [rng.choice((0, 0, 0, 1, rng.randint(0, 20))) for _ in rows]
    room = max(0, most - sum(rows) - sum(gaps))
    at = rng.choice((0, 0, rng.randint(0, 30), rng.randint(0, room), most if len(rows) == 1 else room))
    bases = [0] * len(rows)
    for i, gap in zip(order, gaps, strict=True):
        bases[i] = at
        at += rows[i] + gap
    return bases
