"""Blocks of random instructions around K, V and attention."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.isa import SCALARS, Dest, Feed, Index, Pass, Payload, Source, Target

from .products import ProductBlocks
from .rows import Region

#: Rows of K and V memory, all layers together, in bytes.
_LARGE = 1 << 15


@dataclass(frozen=True)
class Heads:
    """Shape of K and V rows."""

    kv_heads: int
    group: int
    size: int

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.kv_heads * self.size


class AttentionBlocks(ProductBlocks):
    """All blocks: those of `ProductBlocks`, the stage, and both passes of attention."""

    #: K and V memory of the last ATTEND from the tape: where (`Scope.number`), of what shape.
    _kept: tuple[int, Heads, dict[Pass, Region]] | None = None

    def stage(self) -> None:
        """The tokens' K and V by heads, then one row or both of them to memory."""
        heads_most = min(self.zones.stat.size, self.machine.max_heads, self.zones.act.size // self.lanes)
        step, tiled = max(1, self.lanes // 8), self.tiled()
        heads = self.length(heads_most, step)
        size = self.length(min((self.machine.stage_bytes - 8 * heads), self.zones.act.size) // heads)
        self._keys_and_values(heads, size, tiled)
        if self.rng.random() < 0.8:
            self._store_row(Payload.KEY, heads * (8 + size), tiled)
        if self.rng.random() < 0.6:
            self._store_row(Payload.VALUE, heads * size, tiled)

    def _store_row(self, payload: Payload, size: int, tiled: int) -> None:
        size = 4 * self.rng.randint(1, max(1, size // 4))
        region = self.rows.region(payload, size, tiled)
        self.rows.store(payload, size, tiled, region)
        if self.rng.random() < 0.2:
            self.rows.store(payload, size, tiled and self.rng.randint(0, 1), region)

    def _keys_and_values(self, heads: int, size: int, tiled: int) -> None:
        segment = size if heads > 1 else self.rng.choice((0, size))
        order = [(Target.KEY, 8 * heads), (Target.VALUE, 0)]
        self.rng.shuffle(order)
        for target, d in order:
            self.quantise(target, heads * size, d, segment, tiled)

    def attend(self, between: Callable[[], None]) -> None:
        """Both passes of attention over some feeds, and the MAP of the output; `between` fills gaps."""
        rng, rows, tiled = self.rng, self.rows, self.tiled()
        feeds = self._feeds(tiled)
        heads = self._heads(feeds, tiled)
        if heads is None:
            return
        n = heads.row * heads.group
        scale = rng.randrange(SCALARS // self.lanes) * self.lanes
        exponent = rng.choice((-40, -28, -24, -20, -16, -4))
        numbers = self.values.floats(self.lanes, exponent, exponent + 3)
        self.load_values(lambda _: numbers.view(np.uint8), self.lanes, Dest.SCALAR, scale)
        segment = heads.size if heads.kv_heads * heads.group > 1 else rng.choice((0, heads.size))
        every = tiled or rng.randint(0, 1)
        self.quantise(Target.QUERY, n, 0, segment, every, s1=scale + rng.randrange(self.lanes))
        staged = Feed.STAGE in feeds
        if staged:
            self._keys_and_values(heads.kv_heads, heads.size, every)
        memory = self._memory(heads) if Feed.TAPE in feeds else None
        geometry = {"kv_heads": heads.kv_heads, "group": heads.group, "head_size": heads.size}
        for half in Pass:
            for i, feed in enumerate(feeds):
                if memory is not None and feed == Feed.TAPE:
                    self._feed_rows(half, heads, memory, tiled)
                ends = {"first": int(i == 0), "last": int(i == len(feeds) - 1)}
                rows.emit("ATTEND", half=half, feed=feed, tiled=tiled, **ends, **geometry)
                if rng.random() < 0.2:
                    between()
        self.map(Source.ATTENTION, n, tiled)
        if staged and rng.random() < 0.8:
            self._store_rows(heads, memory or {}, tiled)

    def _feeds(self, tiled: int) -> list[Feed]:
        """Feeds of both passes; none from the tape where its rows are too many or too far apart."""
        turns, most = self.rows.turns(tiled), self.machine.score_words
        if max(sum(turn.older) for turn in turns) > most or self._span()[1] - self._span()[0] > 400:
            return [Feed.STAGE]
        return self.rng.choice(
            (
                [Feed.TAPE, Feed.STAGE],
                [Feed.TAPE, Feed.STAGE],
                [Feed.TAPE],
                [Feed.STAGE],
                [Feed.STAGE, Feed.TAPE],
                [Feed.TAPE, Feed.TAPE, Feed.STAGE],
                [Feed.TAPE, Feed.STAGE, Feed.TAPE],
                [Feed.STAGE, Feed.STAGE],
            )
        )

    def _heads(self, feeds: list[Feed], tiled: int) -> Heads | None:
        """A shape that fits; None where there is none."""
        rng, machine, staged = self.rng, self.machine, Feed.STAGE in feeds
        seen = 0
        for turn in self.rows.turns(tiled):
            ends = [*(turn.acting.index(entry) for entry in turn.starts[1:]), len(turn.acting)]
            longest = max(b - a for a, b in zip([0, *ends], ends, strict=False))
            older = max(turn.older)
            seen = max(seen, sum(older if feed == Feed.TAPE else longest for feed in feeds))
        heads_most = min(machine.max_heads, self.zones.stat.size, machine.score_words // max(1, seen))
        # A head has whole words of queries and sums, whatever its size.
        word, step = machine.attention_bytes, self.lanes
        heads_most = min(heads_most, self.zones.act.size // step, machine.max_query // max(word, step))
        group_most = min(machine.max_group, heads_most)
        if not group_most or seen > machine.max_context:
            return None
        kept = self._kept
        if kept is not None and Feed.TAPE in feeds and kept[0] == self.rows.scope.number:
            heads = kept[1]
            number = heads.kv_heads * heads.group
            if number <= heads_most and heads.size <= self._size_most(number):
                fits = heads.kv_heads * (8 + heads.size) <= machine.stage_bytes
                fits &= heads.kv_heads % max(1, self.lanes // 8) == 0
                if (fits or not staged) and rng.random() < 0.5:
                    return heads
        group = rng.randint(1, group_most)
        kv_step = max(1, self.lanes // 8) if staged else 1
        kv_most = heads_most // group
        if kv_most < kv_step:
            group, kv_most = 1, heads_most
        if kv_most < kv_step:
            return None
        kv_heads = self.length(kv_most, kv_step)
        row_most = self._size_most(kv_heads * group)
        if staged:
            row_most = min(row_most, (machine.stage_bytes - 8 * kv_heads) // kv_heads)
        return Heads(kv_heads, group, self.length(row_most, step)) if row_most >= step else None

    def _size_most(self, heads: int) -> int:
        """Elements of a head at most, where there are so many heads."""
        word = self.machine.attention_bytes
        filled = self.machine.max_query // heads // word * word
        return min(self.zones.act.size // heads, filled, 1023)

    def _span(self) -> tuple[int, int]:
        """Rows [low, high) of K and V memory that are read or written here, whatever the predicate."""
        entries = [entry for turn in self.rows.scope.turns(0, 1) for entry in turn.acting]
        return min(e.base for e in entries), max(e.base + e.position for e in entries) + 1

    def _row_bytes(self, heads: Heads, half: Pass) -> int:
        row, bus = heads.row + (8 * heads.kv_heads if half == Pass.KEY else 0), self.machine.bus_bytes
        return -(-row // bus) * bus

    def _memory(self, heads: Heads) -> dict[Pass, Region]:
        """K and V memory of all tokens here, full of rows; that of an ATTEND before, or a new one."""
        rows = self.rows
        kept = self._kept
        if kept is not None and kept[:2] == (rows.scope.number, heads) and self.rng.random() < 0.8:
            return kept[2]
        (low, high), layers, found = self._span(), rows.scope.layers, {}
        for half in Pass:
            row = self._row_bytes(heads, half)
            turns = max(layers) - min(layers) + 1
            if turns * (high - low) * row > _LARGE:
                turns = 1
            if (high - low) * row > 2 * _LARGE:
                raise MemoryError("wanted rows of K and V memory that fit, found too many of them")
            data = np.concatenate([self._kv_rows(high - low, heads, half) for _ in range(turns)])
            stride = (high - low) * row if turns > 1 else 0
            base = rows.place(data) - low * row - min(layers) * stride
            found[half] = Region(base % (1 << 32), stride, row, row)
        self._kept = rows.scope.number, heads, found
        return found

    def _kv_rows(self, count: int, heads: Heads, half: Pass) -> np.ndarray:
        keys = half == Pass.KEY
        return self.values.kv_rows(count, heads.kv_heads, heads.size, self.machine.bus_bytes, keys=keys)

    def _feed_rows(self, half: Pass, heads: Heads, memory: dict[Pass, Region], tiled: int) -> None:
        """The older tokens' rows: from K or V memory, or where their number never changes from elsewhere."""
        older, row = {sum(turn.older) for turn in self.rows.turns(tiled)}, self._row_bytes(heads, half)
        if len(older) == 1 and self.rng.random() < 0.2:
            count = older.pop()
            self.rows.feed(count * row, lambda _: self._kv_rows(count, heads, half), uniform=False)
        else:
            self.rows.feed_region(memory[half], row, Index.LAYER, tiled, sequence=1)

    def _store_rows(self, heads: Heads, memory: dict[Pass, Region], tiled: int) -> None:
        for payload, half, size in (
            (Payload.KEY, Pass.KEY, heads.kv_heads * (8 + heads.size)),
            (Payload.VALUE, Pass.VALUE, heads.row),
        ):
            if self.rng.random() < 0.1:
                size = 4 * self.rng.randint(1, max(1, size // 4))
            self.rows.store(payload, size, tiled, memory.get(half))
