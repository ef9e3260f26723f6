"""Blocks of random instructions: each reads only what was written, and writes only in the zones in use."""

from dataclasses import dataclass

import numpy as np

from hw.isa import SCALARS, TWO_OPERANDS, Dest, Function, Index, Payload, Source, Target

from .rows import Make, Region, Rows

#: Activations of a MATMUL or HEAD begin at a multiple of this.
Q_STEP = 16


@dataclass(frozen=True)
class Zone:
    """Elements [low, low + size) of an on-chip memory, all written before the first block."""

    low: int
    size: int


@dataclass(frozen=True)
class Zones:
    """What a program uses of each memory, each token of its own; `mask` lies beside `const`.

    `codes` and `mantissas` are what `q` consists of: only the latter holds activations of 12 bits, which
    MATMUL does not take, and there may be none.
    """

    act: Zone
    const: Zone
    acc: Zone
    q: Zone
    stat: Zone
    mask: Zone
    codes: Zone
    mantissas: Zone


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
        last = (zone.size - n) // step
        return zone.low + self.rng.choice((0, last, *(self.rng.randint(0, last) for _ in range(6)))) * step

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

    def tiled(self) -> int:
        """Whether an instruction acts for all tokens; mostly."""
        return int(self.rng.random() < 0.7)

    def live(self, tiled: int) -> int:
        """Tokens that it acts for at most."""
        return max(self.rows.live(tiled))

    def scalar(self) -> int:
        """Any scalar; the ends often."""
        return self.rng.choice((0, SCALARS - 1, *(self.rng.randrange(SCALARS) for _ in range(14))))

    def slot(self, slots: int = 1) -> int:
        """First of some statistics slots."""
        last = self.zones.stat.size - slots
        return self.zones.stat.low + self.rng.choice(
            (0, last, *(self.rng.randint(0, last) for _ in range(6)))
        )

    def junk(self) -> int:
        """For a field that the instruction ignores."""
        return self.rng.randrange(64) * self.lanes

    # --- MAP ----------------------------------------------------------------------------------------------

    def map(self, source: Source, n: int = 0, tiled: int | None = None, **fixed: int) -> dict[str, int]:
        """A MAP of n elements (0: any number), everything not `fixed` at random; returns its fields."""
        f = self._map(source, n, self.tiled() if tiled is None else tiled, fixed)
        self.rows.emit("MAP", **f)
        return f

    def load(self, tiled: int | None = None, **fixed: int) -> dict[str, int]:
        """A MAP from the tape and its operands."""
        f = self._map(Source.TAPE, 0, self.tiled() if tiled is None else tiled, fixed)
        self.feed_floats(f["n"], f["tiled"])
        self.rows.emit("MAP", **f)
        return f

    def feed_floats(self, n: int, tiled: int) -> None:
        """n numbers, for each token where `tiled`."""
        (self.rows.feed_each if tiled else self.rows.feed)(4 * n, self.values.float_bytes)

    def load_values(self, make: Make, n: int, dest: Dest, d: int, tiled: int = 0, **more: int) -> None:
        """A plain MAP of the n floats that `make` gives."""
        if tiled:
            self.rows.feed_each(4 * n, make)
        else:
            self.rows.feed(4 * n, make, uniform=False)
        self.rows.emit("MAP", source=Source.TAPE, dest=dest, n=n, d=d, tiled=tiled, **more)

    def _map(self, source: Source, n: int, tiled: int, fixed: dict[str, int]) -> dict[str, int]:
        rng, zones, live = self.rng, self.zones, self.live(tiled)
        dest = Dest(fixed.get("dest", rng.choices(list(Dest), (6, 2, 1))[0]))
        into = {Dest.ACTIVATION: zones.act, Dest.CONSTANT: zones.const, Dest.SCALAR: Zone(0, SCALARS)}
        room = {place: zone.size // (1 if place == Dest.ACTIVATION else live) for place, zone in into.items()}
        if max(n, self.lanes) > room[dest]:
            dest = Dest.ACTIVATION
        most = min(zones.act.size, room[dest])
        if source in (Source.ACCUMULATOR, Source.LINEAR):
            most = min(most, zones.acc.size)
        n = n or self.length(most)
        f = {
            "source": source,
            "dest": dest,
            "n": n,
            "tiled": tiled,
            "function": fixed.get("function", rng.choice(list(Function))),
            "scaled": rng.randint(0, 1),
            "statistics": rng.randint(0, 1),
            "gain": 0,
            "grid": rng.randint(-60, 30),
        }
        if rng.random() < 0.03:
            f["grid"] = rng.choice((-128, 127))
        f |= {"segment": self.segments(n, zones.stat.size)[0], **fixed, "dest": dest}
        slots = -(-n // f["segment"]) if f["segment"] else 1
        f["stat"] = fixed.get("stat", self.slot(slots))
        rope = f["function"] == Function.ROPE
        if rope and live * (f["segment"] or n) > zones.const.size:
            f["function"], rope = Function.ADD, False
        if not rope and n <= zones.const.size:
            f["gain"] = fixed.get("gain", rng.randint(0, 1))
        self._operands(f, source, into[dest], live, fixed)
        return f

    def _operands(self, f: dict[str, int], source: Source, into: Zone, live: int, fixed: dict) -> None:
        """Addresses: what is written is what is read, element for element, or apart from it."""
        zones, n, dest = self.zones, f["n"], f["dest"]
        rope = f["function"] == Function.ROPE
        size_c = live * (f["segment"] or n) if rope else n
        size_d = n if dest == Dest.ACTIVATION else live * n
        read: dict[str, list[tuple[int, int]]] = {"act": [], "const": []}
        a, b, c = self.junk(), self.junk(), self.junk()
        if source == Source.ACTIVATION:
            a = fixed.get("a", self.at(zones.act, n))
            read["act"].append((a, n))
        elif source in (Source.ACCUMULATOR, Source.LINEAR):
            a = fixed.get("a", self.at(zones.acc, n))
        if f["function"] in TWO_OPERANDS:
            b = self.at(zones.act, n)
            read["act"].append((b, n))
        if rope or (f["gain"] and f["statistics"]):
            c = self.at(zones.const, size_c)
            read["const"].append((c, size_c))
        touched = {Dest.ACTIVATION: read["act"], Dest.CONSTANT: read["const"]}.get(Dest(dest), [])
        d = fixed["d"] if "d" in fixed else self.apart(into, size_d, touched)
        if d is None and dest == Dest.ACTIVATION:  # two operands leave no room: all in place
            a = b = d = touched[0][0]
        elif d is None and rope:  # nor do short RoPE rows: those of full length
            f["segment"], f["stat"] = 0, zones.stat.low
            c = d = self.at(zones.const, size_d)
        elif d is None:  # nor does the gain
            f["gain"], d = 0, self.at(zones.const, size_d)
        written = {(d + i) % SCALARS for i in range(size_d)} if dest == Dest.SCALAR else set()
        s1, s2 = self.scalar(), self.scalar()
        for _ in range(50):
            if written.isdisjoint({s2, *((s1 + t) % SCALARS for t in range(live))}):
                break
            s1, s2 = self.scalar(), self.scalar()
        else:
            f["scaled"] = 0
        f |= {"a": a, "b": b, "c": c, "d": d, "s1": fixed.get("s1", s1), "s2": fixed.get("s2", s2)}

    # --- QUANTISE, NORM -----------------------------------------------------------------------------------

    def quantise(self, target: Target, n: int, d: int, segment: int, tiled: int, **fixed: int) -> None:
        """A QUANTISE of any n activations."""
        zones, rng = self.zones, self.rng
        slots = -(-n // segment) if segment else 1
        gain = int(n <= zones.const.size) and rng.randint(0, 1)
        f = {
            "gain": gain,
            "a": self.at(zones.act, n),
            "c": self.at(zones.const, n) if gain else self.junk(),
            "s1": self.scalar(),
            "stat": self.slot(slots),
            "tiled": tiled,
        }
        self.rows.emit("QUANTISE", **(f | {"target": target, "n": n, "d": d, "segment": segment} | fixed))

    def quantise_q(self) -> None:
        """To the matmul unit: codes, or where the program has them mantissas."""
        zones, rng = self.zones, self.rng
        mantissa = int(zones.mantissas.size > 0 and rng.random() < 0.5)
        zone = zones.mantissas if mantissa else zones.q
        n = self.length(min(zones.act.size, zone.size))
        d = zone.low + rng.randrange((zone.size - n) // Q_STEP + 1) * Q_STEP
        segment = 0 if mantissa else self.segments(n, zones.stat.size)[0]
        self.quantise(Target.MATMUL, n, d, segment, self.tiled(), mantissa=mantissa)

    def norm(self) -> None:
        """A NORM; before one that normalises, ordinary numbers on a coarse grid, or seldom what is there."""
        rng, zones, tiled = self.rng, self.zones, self.tiled()
        mantissa = int(self.machine.activation_bits == 12 and rng.random() < 0.5)
        f = {"normalise": rng.randint(0, 1), "stat": self.slot(), "mantissa": mantissa}
        if f["normalise"] and rng.random() > 0.2:
            n = self.length(zones.act.size)
            f["stat"] = self.slot()

            def make(size: int) -> np.ndarray:
                return self.values.floats(-(-size // 4), tame=True).view(np.uint8)[:size]

            self.load_values(
                make,
                n,
                Dest.ACTIVATION,
                self.at(zones.act, n),
                tiled,
                statistics=1,
                stat=f["stat"],
                grid=rng.randint(-28, 20),
            )
        d, live = self.scalar(), self.live(tiled)
        # Which of them a later token would find, an earlier one having written them, is nowhere said.
        read = [s for s in range(SCALARS) if live == 1 or (s - d) % SCALARS >= live]
        c, eps = (rng.choice((read[0], read[-1], *rng.choices(read, k=6))) for _ in range(2))
        self.rows.emit("NORM", **f, c=c, eps=eps, d=d, tiled=tiled)

    def nothing(self) -> None:
        """A MAP or QUANTISE of no elements, or a STORE of no bytes."""
        rng, tiled = self.rng, self.rng.randint(0, 1)
        any_field = {"a": self.junk(), "d": Q_STEP * self.junk(), "segment": rng.choice((0, self.junk()))}
        match rng.randrange(3):
            case 0:
                source = rng.choice((Source.ACTIVATION, Source.ACCUMULATOR, Source.TAPE, Source.LINEAR))
                self.rows.emit(
                    "MAP", source=source, statistics=1, scaled=rng.randint(0, 1), tiled=tiled, **any_field
                )
            case 1:
                self.rows.emit("QUANTISE", target=rng.choice(list(Target)), tiled=tiled, **any_field)
            case _:
                payload = rng.choice((Payload.KEY, Payload.VALUE, Payload.ACTIVATION))
                self.rows.store(payload, 0, tiled, a=self.junk())

    # --- STORE, and what a FETCH reads of it --------------------------------------------------------------

    def spill(self) -> None:
        """Activations to memory; before or after, a FETCH of them, by entry as the compiler has it.

        Nothing makes a STORE wait for the bytes that a FETCH before it reads: so it stores what these become.
        """
        rng, rows, zones, tiled = self.rng, self.rows, self.zones, self.tiled()
        n = self.length(zones.act.size)
        region = rows.region(Payload.ACTIVATION, 4 * n, tiled)
        size = 4 * n - rng.choice((0, 0, 4 * rng.randrange(n)))
        early, late = rng.choice(((0, 0), (0, 0), (1, 0), (0, 1), (1, 1)))
        if region.stride and rows.scope.layers != (0,):
            early = late = 0  # FETCH by entry knows no layers
        again = [self._map(Source.TAPE, self.length(n), tiled, {"dest": Dest.ACTIVATION}) for _ in range(2)]
        a = self.at(zones.act, n)
        if early or late:
            a = min(again[not early]["d"], zones.act.low + zones.act.size - n)
            size = 4 * n
        if early:
            self._reload(region, again[0])
        rows.store(Payload.ACTIVATION, size, tiled, region, a=a)
        if rng.random() < 0.2:
            rows.store(Payload.ACTIVATION, 4 * n, tiled, region, a=a)
        if late:
            self._reload(region, again[1])

    def _reload(self, region: Region, f: dict[str, int]) -> None:
        self.rows.feed_region(region, 4 * f["n"], Index.ENTRY, f["tiled"])
        self.rows.emit("MAP", **f)
