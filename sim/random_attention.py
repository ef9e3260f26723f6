"""Blocks of random instructions around K, V and attention."""

from collections.abc import Callable

import numpy as np

from hw.isa import SCALARS, Dest, Feed, Pass, Payload, Source, Target

from .random_blocks import Blocks


class AttentionBlocks(Blocks):
    """All blocks: those of `Blocks`, the stage, and both passes of attention."""

    def stage(self) -> None:
        """The token's K and V by heads, then one row or both of them to memory."""
        heads_most = min(self.zones.stat.size, self.machine.max_heads, self.zones.act.size // self.lanes)
        step = max(1, self.lanes // 8)
        heads = self.length(heads_most, step)
        size = self.length(min((self.machine.stage_bytes - 8 * heads), self.zones.act.size) // heads)
        self._keys_and_values(heads, size)
        if self.rng.random() < 0.8:
            self.rows.store(Payload.KEY, 4 * self.rng.randint(1, heads * (8 + size) // 4))
        if self.rng.random() < 0.6:
            self.rows.store(Payload.VALUE, 4 * self.rng.randint(1, heads * size // 4))

    def _keys_and_values(self, heads: int, size: int) -> None:
        segment = size if heads > 1 else self.rng.choice((0, size))
        order = [(Target.KEY, 8 * heads), (Target.VALUE, 0)]
        self.rng.shuffle(order)
        for target, d in order:
            self.quantise(target, heads * size, d, segment)

    def attend(self, between: Callable[[], None]) -> None:
        """Both passes of attention over some feeds, and the MAP of the output; `between` fills gaps."""
        rng, rows, machine = self.rng, self.rows, self.machine
        feeds = rng.choice(
            (
                [Feed.TAPE, Feed.STAGE],
                [Feed.TAPE, Feed.STAGE],
                [Feed.TAPE],
                [Feed.STAGE],
                [Feed.STAGE, Feed.TAPE],
                [Feed.TAPE, Feed.TAPE, Feed.STAGE],
            )
        )
        staged, last = Feed.STAGE in feeds, rows.position + rows.steps - 1
        tokens = sum(last if feed == Feed.TAPE else 1 for feed in feeds)
        heads_most = min(machine.max_heads, self.zones.stat.size, machine.score_words // max(1, tokens))
        step = max(machine.attention_bytes, self.lanes)
        elements = min(self.zones.act.size, machine.max_query)
        group = rng.randint(1, min(machine.max_group, heads_most, elements // step))
        kv_step = max(1, self.lanes // 8) if staged else 1
        kv_heads = (
            self.length(min(heads_most, elements // step) // group, kv_step)
            if heads_most // group >= kv_step
            else 1
        )
        row_most = elements // (kv_heads * group)
        if staged:
            row_most = min(row_most, (machine.stage_bytes - 8 * kv_heads) // kv_heads)
        if row_most < step:
            return
        size = self.length(row_most, step)
        heads = kv_heads * group

        n = heads * size
        scale = rng.randrange(SCALARS // self.lanes) * self.lanes
        exponent = rng.choice((-40, -28, -24, -20, -16, -4))
        self.load_values(lambda: self.values.floats(self.lanes, exponent, exponent + 3), Dest.SCALAR, scale)
        self.quantise(Target.QUERY, n, 0, size if heads > 1 else rng.choice((0, size)), s1=scale)
        if staged:
            self._keys_and_values(kv_heads, size)
        geometry = {"kv_heads": kv_heads, "group": group, "head_size": size}
        memory = self._kv_memory(kv_heads, size) if rows.steps > 1 and staged else None
        for half in Pass:
            for i, feed in enumerate(feeds):
                if feed == Feed.TAPE:
                    self._feed_kv(half, kv_heads, size, memory)
                ends = {"first": int(i == 0), "last": int(i == len(feeds) - 1)}
                rows.emit("ATTEND", half=half, feed=feed, **ends, **geometry)
                if rng.random() < 0.2:
                    between()
        self.map(Source.ATTENTION, n)
        if memory is not None:
            rows.store(Payload.KEY, kv_heads * (8 + size), memory[Pass.KEY])
            rows.store(Payload.VALUE, kv_heads * size, memory[Pass.VALUE])

    def _kv_memory(self, kv_heads: int, size: int) -> dict[Pass, tuple[int, int, int]]:
        """Rows of K and V for every position of every run: (start, bytes a layer, bytes a position)."""
        rows, places = self.rows, {}
        positions = rows.position + rows.steps
        for half in Pass:
            data = [
                self.values.kv_rows(positions, kv_heads, size, self.machine.bus_bytes, keys=half == Pass.KEY)
                for _ in range(rows.layers)
            ]
            stride = len(data[0]) if rows.layers > 1 else 0
            places[half] = rows.place(np.concatenate(data)), stride, len(data[0]) // positions
        return places

    def _feed_kv(
        self, half: Pass, kv_heads: int, size: int, memory: dict[Pass, tuple[int, int, int]] | None
    ) -> None:
        rows = self.rows
        if memory is None and rows.steps > 1:
            memory = self._kv_memory(kv_heads, size)
        if memory is not None:
            start, stride, row = memory[half]
            rows.feed_rows(start, stride, row)
        elif rows.position:

            def make() -> np.ndarray:
                return self.values.kv_rows(
                    rows.position, kv_heads, size, self.machine.bus_bytes, keys=half == Pass.KEY
                )

            rows.feed(len(make()), make)
