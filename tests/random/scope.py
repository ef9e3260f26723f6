"""Where an instruction of a random program stands: what it may meet in LAYER, TILE and the token table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hw.isa import MANY_TILES, Index, Loop
from sim.entries import Entry
from sim.interpreter_chunk import sequences

from .plan import FOUND, Plan

#: The first tile, the last, or each.
FIRST, LAST, EACH = "first", "last", "each"


@dataclass(frozen=True)
class Turn:
    """One execution: the entry at which the tile begins, and the tokens that the instruction acts for."""

    first: int
    acting: tuple[Entry, ...]

    @property
    def older(self) -> list[int]:
        """Older tokens of each sequence."""
        return [self.acting[tokens.start].position for tokens in sequences(self.acting)]

    @property
    def starts(self) -> list[Entry]:
        """The first token of each sequence."""
        return [self.acting[tokens.start] for tokens in sequences(self.acting)]


class Scope:
    """The loops around the next instruction, and what that makes of a plan.

    Members
    -------
    layers: values that LAYER may have. tiles: tiles that may be the current one (`FIRST`, `LAST`, `EACH`).
    number: another one for each stretch of instructions between LOOPs and NEXTs.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.layers: tuple[int, ...] = (0,)
        self.tiles: frozenset[str] = frozenset((FIRST,))
        self.number = 0

    @property
    def at_last(self) -> bool:
        """The current tile is the last."""
        return self.plan.tiles == 1 or self.tiles == {LAST}

    @contextmanager
    def loop(self, register: Loop, count: int, inner: tuple[Loop, int] | None) -> Iterator[None]:
        """Inside of a loop, which holds another one, `inner`, or none."""
        self.number += 1
        if register == Loop.LAYER:
            self.layers = tuple(range(count))
            if inner:  # the second turn finds the TILE register at the last tile
                self.tiles |= {LAST}
        else:
            self.tiles = frozenset((EACH,))
            if inner and self.plan.tiles > 1:
                self.layers = tuple(sorted({*self.layers, inner[1]}))
        yield
        self.number += 1
        if register == Loop.LAYER:
            self.layers = (count,)
        else:
            self.tiles = frozenset((LAST,))

    def turns(self, predicate: int, tiled: int) -> list[Turn]:
        """What an instruction acts for, LAYER left aside; of all that may be if it is never executed."""
        found, all_ = [], []
        for chunk, on in zip(self.plan.chunks(), self.plan.truth(predicate), strict=True):
            starts = range(0, len(chunk), self.plan.tile)
            picked = {FIRST: starts[:1], LAST: starts[-1:], EACH: starts}
            for first in sorted({first for which in self.tiles for first in picked[which]}):
                live = chunk[first : first + self.plan.tile]
                turn = Turn(first, live if tiled else live[:1])
                all_.append(turn)
                if on or predicate != MANY_TILES:
                    found.append(turn)
        return found or all_

    def values(self, index: Index, turns: list[Turn]) -> list[int]:
        """What a FETCH multiplies its stride with."""
        if index == Index.NONE:
            return [0]
        if index == Index.LAYER:
            return list(self.layers)
        found: set[int] = set()
        for turn in turns:
            for t, entry in enumerate(turn.acting):
                if index == Index.POSITION:
                    found.add(entry.position)
                elif index == Index.ENTRY:
                    found.add(turn.first + t)
                else:
                    found |= set(range(self.plan.head_rows)) if entry.token == FOUND else {entry.token}
        return sorted(found)
