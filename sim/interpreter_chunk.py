"""The chunk of tokens that a step works on: what is legal, its tiles, and the chunk after it."""

from collections.abc import Sequence

from hw.machine import MachineConfig

from .entries import Entry
from .interpreter_tape import UsageError

#: Bits of token, position and base in the token table.
ENTRY_BITS = 20


class Chunk:
    """The live entries of the token table, cut into tiles of at most `tile`.

    Raises UsageError where the machine does not say what they mean.
    """

    def __init__(self, machine: MachineConfig, entries: Sequence[Entry], tile: int, batch: bool) -> None:
        self.entries, self.tile, self.batch = list(entries), tile, batch
        if not 1 <= tile <= machine.tile:
            raise UsageError(f"TILE: wanted 1 to {machine.tile}, found {tile}")
        if not 1 <= len(entries) <= machine.max_chunk:
            raise UsageError(f"TOKENS: wanted 1 to {machine.max_chunk}, found {len(entries)}")
        if batch and len(entries) > tile:
            raise UsageError(f"batch: wanted one tile, at most {tile} tokens, found {len(entries)}")
        for i, entry in enumerate(entries):
            self._check(i, entry)

    def _check(self, i: int, entry: Entry) -> None:
        for name in ("token", "position", "base"):
            if not 0 <= getattr(entry, name) < 1 << ENTRY_BITS:
                raise UsageError(f"entry {i}: {name}: wanted {ENTRY_BITS} bits, found {getattr(entry, name)}")
        if not entry.continues:
            return
        if i == 0 or self.batch:
            where = "the first entry" if i == 0 else "a batch"
            raise UsageError(f"entry {i}: wanted a sequence of its own in {where}, found one that continues")
        before = self.entries[i - 1]
        if (entry.position, entry.base) != (before.position + 1, before.base):
            raise UsageError(
                f"entry {i} continues: wanted position {before.position + 1} and base {before.base}, "
                f"found {entry.position} and {entry.base}"
            )

    def live(self, first: int) -> list[Entry]:
        """The entries of the tile that begins at `first`."""
        return self.entries[first : first + self.tile]

    def follow(self, found: Sequence[int]) -> None:
        """Become the chunk of the next step: `found` holds one token, or in a batch one for each entry."""
        old = self.entries if self.batch else self.entries[-1:]
        self.entries = [
            Entry(token, entry.position + 1, entry.base) for token, entry in zip(found, old, strict=True)
        ]


def sequences(entries: Sequence[Entry]) -> list[range]:
    """The tokens of each sequence of a tile, in order; the first token always begins one."""
    starts = [t for t, entry in enumerate(entries) if t == 0 or not entry.continues]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(entries)], strict=True)]
