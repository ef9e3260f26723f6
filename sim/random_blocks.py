"""Blocks of random instructions: each reads only what was written, and writes only in the zones in use."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.isa import SCALARS, Dest, Function, Payload, Source, Target

from .random_rows import Rows

#: Activations of a MATMUL or HEAD begin at a multiple of this.
Q_STEP = 16


@dataclass(frozen=True)
class Zone:
    """Elements [low, low + size) of an on-chip memory, all written before the first block."""

    low: int
    size: int


@dataclass(frozen=True)
class Zones:
    """What a program uses of each memory; `mask` lies in constant memory, beside `const`."""

    act: Zone
    const: Zone
    acc: Zone
    q: Zone
    stat: Zone
    mask: Zone


class Blocks:
    """Emits blocks into `rows`; every choice is `rows.rng`'s, every operand `rows.values`'s."""

    def __init__(self, rows: Rows, zones: Zones, most_rows: int):
        self.rows, self.zones, self.most_rows = rows, zones, most_rows
        self.rng, self.values, self.machine = rows.rng, rows.values, rows.machine
        self.lanes = rows.machine.lanes

    # --- places -------------------------------------------------------------------------------------------

    def length(self, most: int, step: int = 0) -> int:
        """A multiple of `step` (the lanes) within 1..most; small ones, and the most itself, are frequent."""
        step = step or self.lanes
        words = most // step
        kind = self.rng.random()
        if kind < 0.4:
            words = self.rng.randint(1, min(4, words))
        elif kind < 0.85:
            words = self.rng.randint(1, words)
        return words * step

    def at(self, zone: Zone, n: int, step: int = 0) -> int:
        """First of n elements in a zone, a multiple of `step` (the lanes)."""
        step = step or self.lanes
        return zone.low + self.rng.randrange((zone.size - n) // step + 1) * step

    def apart(self, zone: Zone, n: int, read: list[tuple[int, int]]) -> int | None:
        """First of n elements that are those of each span read or touch none of it; None if no try works."""
        starts = [self.at(zone, n) for _ in range(12)] + [low for low, size in read if size == n]
        self.rng.shuffle(starts)
        for d in starts:
            if all((d, n) == span or d + n <= span[0] or span[0] + span[1] <= d for span in read):
                return d
        return None

    def segments(self, n: int, most: int) -> tuple[int, int]:
        """(segment, slots) for n elements: at most `most` slots; 0 and one longer than n are possible."""
        if self.rng.random() < 0.3:
            return 0, 1
        least = -(-n // (most * self.lanes))
        words = self.rng.randint(least, max(least, n // self.lanes + 1))
        return words * self.lanes, -(-n // (words * self.lanes))

    def junk(self) -> int:
        """For a field that the instruction ignores."""
        return self.rng.randrange(64) * self.lanes

    # --- MAP ----------------------------------------------------------------------------------------------

    def map(self, source: Source, n: int = 0, **fixed: int) -> dict[str, int]:
        """A MAP of n elements (0: any number), everything not `fixed` at random; returns its fields."""
        rng, zones = self.rng, self.zones
        dest = fixed.get("dest", rng.choices(list(Dest), (6, 2, 1))[0])
        into = {Dest.ACTIVATION: zones.act, Dest.CONSTANT: zones.const, Dest.SCALAR: Zone(0, SCALARS)}
        most = min(zones.act.size, into[Dest(dest)].size)
        if source == Source.ACCUMULATOR:
            most = min(most, zones.acc.size)
        if n > most:
            dest = Dest.ACTIVATION
        n = n or self.length(most)
        f = {
            "source": source,
            "dest": dest,
            "n": n,
            "function": fixed.get("function", rng.choice(list(Function))),
            "scaled": rng.randint(0, 1),
            "statistics": rng.randint(0, 1),
            "gain": 0,
            "grid": rng.randint(-60, 30),
        }
        if rng.random() < 0.03:
            f["grid"] = rng.choice((-128, 127))
        f |= {"segment": self.segments(n, zones.stat.size)[0], **fixed}
        slots = -(-n // f["segment"]) if f["segment"] else 1
        f["stat"] = zones.stat.low + rng.randint(0, zones.stat.size - slots)
        rope = f["function"] == Function.ROPE
        if rope and (f["segment"] or n) > zones.const.size:
            f["function"], rope = Function.ADD, False
        if not rope and n <= zones.const.size:
            f["gain"] = fixed.get("gain", rng.randint(0, 1))
        self._operands(f, source, into[Dest(dest)], fixed)
        self.rows.emit("MAP", **f)
        return f

    def _operands(self, f: dict[str, int], source: Source, into: Zone, fixed: dict[str, int]) -> None:
        """Addresses: what is written is what is read, element for element, or apart from it."""
        zones, rng, n, dest = self.zones, self.rng, f["n"], f["dest"]
        rope = f["function"] == Function.ROPE
        size_c = (f["segment"] or n) if rope else n
        read: dict[str, list[tuple[int, int]]] = {"act": [], "const": []}
        a, b, c = self.junk(), self.junk(), self.junk()
        if source == Source.ACTIVATION:
            a = fixed.get("a", self.at(zones.act, n))
            read["act"].append((a, n))
        elif source == Source.ACCUMULATOR:
            a = fixed.get("a", self.at(zones.acc, n))
        if f["function"] in (Function.ADD, Function.MULTIPLY, Function.SILU_MULTIPLY):
            b = self.at(zones.act, n)
            read["act"].append((b, n))
        if rope or (f["gain"] and f["statistics"]):
            c = self.at(zones.const, size_c)
            read["const"].append((c, size_c))
        touched = {Dest.ACTIVATION: read["act"], Dest.CONSTANT: read["const"]}.get(Dest(dest), [])
        d = fixed["d"] if "d" in fixed else self.apart(into, n, touched)
        if d is None and dest == Dest.ACTIVATION:  # two operands leave no room: all in place
            a = b = d = touched[0][0]
        elif d is None:  # nor does a short RoPE row: one of full length
            f["segment"], f["stat"] = 0, zones.stat.low
            c = d = self.at(zones.const, n)
        s1, s2 = (rng.randrange(SCALARS) for _ in range(2))
        while dest == Dest.SCALAR and n < SCALARS and (d <= s1 < d + n or d <= s2 < d + n):
            s1, s2 = (rng.randrange(SCALARS) for _ in range(2))
        if dest == Dest.SCALAR and n == SCALARS:
            f["scaled"] = 0
        f |= {"a": a, "b": b, "c": c, "d": d, "s1": fixed.get("s1", s1), "s2": fixed.get("s2", s2)}

    def load(self, **fixed: int) -> dict[str, int]:
        """A MAP from the tape and its operands."""
        at = len(self.rows.rows)
        f = self.map(Source.TAPE, **fixed)
        row = self.rows.rows.pop(at)
        self.rows.feed(4 * f["n"], lambda: self.values.floats(f["n"]).view(np.uint8))
        self.rows.rows.append(row)
        return f

    def load_values(self, make: Callable[[], np.ndarray], dest: Dest, d: int, **more: int) -> None:
        """A plain MAP of the floats that `make` gives."""
        n = len(make())
        self.rows.feed(4 * n, lambda: make().astype(np.float32).view(np.uint8))
        self.rows.emit("MAP", source=Source.TAPE, dest=dest, n=n, d=d, **more)

    # --- QUANTISE, NORM -----------------------------------------------------------------------------------

    def quantise(self, target: Target, n: int, d: int, segment: int, **fixed: int) -> None:
        """A QUANTISE of any n activations."""
        zones, rng = self.zones, self.rng
        slots = -(-n // segment) if segment else 1
        gain = int(n <= zones.const.size) and rng.randint(0, 1)
        f = {
            "gain": gain,
            "a": self.at(zones.act, n),
            "c": self.at(zones.const, n) if gain else self.junk(),
            "s1": rng.randrange(SCALARS),
            "stat": zones.stat.low + rng.randint(0, zones.stat.size - slots),
        }
        self.rows.emit("QUANTISE", **(f | {"target": target, "n": n, "d": d, "segment": segment} | fixed))

    def quantise_q(self) -> None:
        """To the matmul unit."""
        n = self.length(min(self.zones.act.size, self.zones.q.size))
        d = self.zones.q.low + self.rng.randrange((self.zones.q.size - n) // Q_STEP + 1) * Q_STEP
        self.quantise(Target.MATMUL, n, d, self.segments(n, self.zones.stat.size)[0])

    def norm(self) -> None:
        """A NORM; before one that normalises, ordinary numbers on a coarse grid, or seldom what is there."""
        rng, zones = self.rng, self.zones
        f = {"normalise": rng.randint(0, 1), "stat": zones.stat.low + rng.randrange(zones.stat.size)}
        if f["normalise"] and rng.random() > 0.2:
            n = self.length(zones.act.size)
            f["stat"] = zones.stat.low + rng.randrange(zones.stat.size)
            self.load_values(
                lambda: self.values.floats(n, tame=True),
                Dest.ACTIVATION,
                self.at(zones.act, n),
                statistics=1,
                stat=f["stat"],
                grid=rng.randint(-28, 20),
            )
        self.rows.emit(
            "NORM", **f, c=rng.randrange(SCALARS), eps=rng.randrange(SCALARS), d=rng.randrange(SCALARS)
        )

    def nothing(self) -> None:
        """A MAP or QUANTISE of no elements, or a STORE of no bytes."""
        rng = self.rng
        any_field = {"a": self.junk(), "d": Q_STEP * self.junk(), "segment": rng.choice((0, self.junk()))}
        match rng.randrange(3):
            case 0:
                source = rng.choice((Source.ACTIVATION, Source.ACCUMULATOR, Source.TAPE))
                self.rows.emit("MAP", source=source, statistics=1, scaled=rng.randint(0, 1), **any_field)
            case 1:
                self.rows.emit("QUANTISE", target=rng.choice(list(Target)), **any_field)
            case _:
                self.rows.store(rng.choice((Payload.KEY, Payload.VALUE)), 0)

    # --- MATMUL, HEAD -------------------------------------------------------------------------------------

    def matmul(self) -> None:
        """A MATMUL of any shape that fits."""
        acc, q = self.zones.acc, self.zones.q
        k = self.length(q.size, 1)
        rows = self.length(min(acc.size, self.most_rows), 1)
        size = rows * -(-k // 5)
        self.rows.feed(size, lambda: self.values.trits(size))
        self.rows.emit("MATMUL", rows=rows, k=k, q=self.at(q, k, Q_STEP), acc=self.at(acc, rows))

    def head(self, k: int = 0) -> None:
        """A HEAD, and a STORE of its logits exactly where it emits them."""
        rows, rng = self.rows, self.rng
        k = k or self.length(self.zones.q.size, self.machine.head_lanes)
        count = self.length(max(1, self.most_rows // 4), 1)
        emit, mine = rng.choice((rows.predicate, rng.randrange(16))), rows.predicate
        rows.feed(count * (k + 4), lambda: self.values.head_rows(count, k))
        rows.emit(
            "HEAD",
            rows=count,
            k=k,
            q=self.at(self.zones.q, k, Q_STEP),
            scale=rng.randrange(SCALARS),
            emit=emit,
        )
        wanted = rows.holds(mine) and rows.holds(emit)
        fit = [bit for bit in (mine, emit) if rows.holds(bit) == wanted]
        if wanted or (fit and rng.random() < 0.5):
            rows.predicate = rng.choice(fit)
            rows.store(Payload.LOGITS, 4 * count)
            rows.predicate = mine
