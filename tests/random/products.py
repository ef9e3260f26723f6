"""Blocks of random instructions for the matmul unit: MATMUL, LINEAR and HEAD."""

from hw.integer_shape import IntegerShape
from hw.isa import Payload, Width

from .blocks import Q_STEP, Blocks


class ProductBlocks(Blocks):
    """`Blocks`, and those that take matrices from the tape."""

    def matmul(self) -> None:
        """A MATMUL of any shape that fits."""
        acc, q = self.zones.acc, self.zones.codes
        k = self.length(q.size, 1)
        rows = self.length(min(acc.size, self.most_rows), 1)
        self.rows.feed(rows * -(-k // 5), self.values.trits)
        self.rows.emit(
            "MATMUL", rows=rows, k=k, q=self.at(q, k, Q_STEP), acc=self.at(acc, rows), tiled=self.tiled()
        )

    def linear(self) -> None:
        """A LINEAR of any shape that fits."""
        acc, q = self.zones.acc, self.zones.q
        k = self.length(q.size, 1)
        f = self._integer(self.length(min(acc.size, max(2, self.most_rows // 2)), 1), k)
        place = {"q": self.at(q, k, Q_STEP), "scale": self.scalar(), "acc": self.at(acc, f["rows"])}
        self.rows.emit("LINEAR", **f, **place, tiled=self.tiled())

    def _integer(self, rows: int, k: int) -> dict[str, int]:
        """The shape of a LINEAR or HEAD, and FETCHes of such a matrix."""
        rng, width = self.rng, self.rng.choice(list(Width))
        unit = self.machine.unit_codes(8 if width == Width.INT8 else 4)
        units = -(-k // unit)
        group = unit * rng.choice((1, 1, 2, rng.randint(1, units), units, units + 1, ((1 << 16) - 1) // unit))
        group = rng.choice((0, group, group))
        f = {
            "rows": rows,
            "k": k,
            "width": width,
            "group": group,
            "minima": rng.randint(0, 1) if group else 0,
        }
        shape = IntegerShape.of(self.machine, f)
        self.rows.feed(shape.bytes, lambda _: self.values.integer_rows(shape), uniform=False)
        return f

    def head(self, k: int = 0, count: int = 0, tiled: int | None = None) -> None:
        """A HEAD, and a STORE of its logits exactly where it emits them."""
        rows, rng, plan = self.rows, self.rng, self.rows.plan
        if not k and not count and rng.random() < 0.05:
            k, count = rng.randint(1, 2 * self.machine.head_lanes), rng.randint(100, 300)
            k = min(k, self.zones.q.size)
        k = k or self.length(self.zones.q.size, 1)
        count = count or self.length(max(1, self.most_rows // 4), 1)
        tiled = self.tiled() if tiled is None else tiled
        mine = rows.predicate
        emit = rng.choice((mine, mine, rng.randrange(16)))
        both = tuple(a and b for a, b in zip(plan.truth(mine), plan.truth(emit), strict=True))
        fit = [bit for bit in (mine, emit) if plan.truth(bit) == both]
        if not fit and any(both):
            emit, fit, both = mine, [mine], plan.truth(mine)
        region = None
        if any(both) or (fit and rng.random() < 0.5):
            region = rows.region(Payload.LOGITS, 4 * count, tiled)
        rows.emit(
            "HEAD",
            **self._integer(count, k),
            q=self.at(self.zones.q, k, Q_STEP),
            scale=self.scalar(),
            emit=emit,
            tiled=tiled,
        )
        if region is not None:
            rows.predicate = rng.choice(fit)
            rows.store(Payload.LOGITS, 4 * count, tiled, region)
            rows.predicate = mine
