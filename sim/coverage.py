"""Functional coverage of programs: which of the things that the instruction set allows have been run.

A `Coverage` is a set of bins in groups, declared for a machine, and how often each was hit. `Watch` hits them
while the interpreter runs a program (it is its observer); `hit_counters` adds what only the RTL counts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from torch import Tensor

from hw.isa import (
    BY_NAME,
    COUNTERS,
    INSTRUCTIONS,
    MANY_TILES,
    NO_WAIT,
    PREDICATES,
    Feed,
    Function,
    Index,
    Loop,
    Payload,
    Source,
    Target,
    Unit,
    Width,
)
from hw.machine import MachineConfig
from models import numerics

from .coverage_fields import field_bins, field_classes
from .coverage_numbers import number_classes, numbers
from .entries import Entry
from .interpreter_chunk import sequences
from .interpreter_tape import Write
from .random_check import RandomCase

__all__ = ["GROUPS", "UNITS", "Coverage", "Watch", "watching"]

#: Units that are waited for.
UNITS: tuple[Unit, ...] = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: What each group is about.
GROUPS = {
    "fields": "fields of instructions: every value of an enumeration or flag, of a number its corners",
    "operations": "fields of an instruction that make what it does, combined",
    "acting": "instruction, `tiled` or not, live tokens of the tile",
    "predicates": "instruction and what its predicate said",
    "waits": "unit, unit waited for, bound that earlier instructions exceeded in program order",
    "stalled": "unit, unit waited for, bound: the RTL's issue queue (or a FETCH) stood still for it",
    "loops": "loops in and after one another, and what they turned",
    "runs": "FETCH: index and runs of memory; sequences of the tile and their older tokens",
    "chunks": "token table, tiles, batches, steps, how they ended",
    "numbers": "corner values that reached each memory",
    "counters": "counters, of work and of stalls, that were not zero",
}


class Coverage:
    """Bins of one machine, all 0 to begin with.

    Members
    -------
    bins: by group and name, how often each was hit.
    """

    def __init__(self, machine: MachineConfig):
        self.machine = machine
        self.bins: dict[str, dict[str, int]] = {
            group: dict.fromkeys(_declared(group, machine), 0) for group in GROUPS
        }

    def hit(self, group: str, name: str, count: int = 1) -> None:
        """A bin was hit; names that are none are left out."""
        if name in self.bins[group]:
            self.bins[group][name] += count

    def hit_counters(self, counters: dict[str, int]) -> None:
        """Counters after a run."""
        for name, value in counters.items():
            if value:
                self.hit("counters", name)

    def add(self, other: "Coverage") -> None:
        """Hits of another one, of a machine with bins of its own; all bins of both are bins."""
        for group, bins in other.bins.items():
            mine = self.bins[group]
            for name, count in bins.items():
                mine[name] = mine.get(name, 0) + count

    def covered(self, group: str) -> tuple[int, int]:
        """Bins hit, and all."""
        bins = self.bins[group].values()
        return sum(count > 0 for count in bins), len(bins)

    def missing(self) -> Iterator[tuple[str, str]]:
        """(group, bin) of those not hit."""
        for group, bins in self.bins.items():
            yield from ((group, name) for name, count in bins.items() if not count)


def _declared(group: str, machine: MachineConfig) -> Iterator[str]:
    passed_on = [one for one in INSTRUCTIONS if one.unit != Unit.CONTROL]
    live = range(1, machine.tile + 1)
    match group:
        case "fields":
            for instruction in INSTRUCTIONS:
                yield from (f"{instruction.name}.{text}" for text in field_bins(machine, instruction.name))
        case "operations":
            yield from _operations(machine)
        case "acting":
            for one in passed_on:
                yield from (f"{one.name} tiled, {n} live" for n in live)
                yield from (f"{one.name} not tiled, {n} live" for n in live)
        case "predicates":
            for one in passed_on:
                yield f"{one.name} always on"
                yield from (
                    f"{one.name} {bit} {said}" for bit in ("other", "MANY_TILES") for said in ("on", "off")
                )
            yield from (f"bit {bit} {said}" for bit in range(1, PREDICATES) for said in ("on", "off"))
        case "waits" | "stalled":
            for unit in UNITS:
                yield from (f"{unit.name} on {other.name} {n}" for other in UNITS for n in range(NO_WAIT))
            yield from (f"FETCH on STORE {n}" for n in range(NO_WAIT))
        case "loops":
            yield from ("LAYER", "TILE", "LAYER in TILE", "TILE in LAYER", "two of LAYER", "two of TILE")
            yield from ("one layer", "several layers", "one tile", "several tiles", "none")
            yield from ("END skipped", "END before the last", "unknown opcode skipped", "unknown opcode")
        case "runs":
            yield from (f"{index.name} not tiled" for index in Index)
            yield from (f"{index.name} tiled, {n} live" for index in Index for n in live)
            yield from (f"sequence, {n} of them" for n in live)
            yield from ("sequence, no older tokens", "sequence, some with none", "sequence, all with some")
            yield from (f"ahead {n}" for n in range(9))
            yield from ("crosses 4 KiB", "overlapping", "stride 0", "of what a STORE wrote in this run")
        case "chunks":
            yield from (f"tile {n}" for n in live)
            yield from (f"{n} tiles" for n in (1, 2, 3, "many"))
            yield from (f"last tile {n} of {t}" for t in live for n in range(1, t + 1))
            yield from (f"{n} sequences in a tile" for n in live)
            yield from (f"batch of {n}" for n in live)
            yield from (f"{n} steps" for n in (1, 2, 3, "many"))
            yield from ("one token", "all entries", "a sequence over two tiles", "position 0",
                        "position large", "base 0", "base large", "row beyond 20 bits", "memory base 0",
                        "memory base other", "MANY_TILES on, then off", "a stop token, not met",
                        "a stop token ends the run",
                        "batch: one stops, others go on", "batch: all have stopped", "output log wraps",
                        "no HEAD", "error 1", "error 4")  # fmt: skip
        case "numbers":
            yield from numbers(machine)
        case _:
            yield from (counter.name for counter in COUNTERS)


def _operations(machine: MachineConfig) -> Iterator[str]:
    for source in Source:
        for function in Function:
            for extra in ("plain", "scaled", "statistics", "scaled, statistics"):
                yield f"MAP {source.name} {function.name} {extra}"
    for function in Function:
        if function != Function.ROPE:
            yield f"MAP {function.name} gain"
        yield from (f"MAP {function.name} to {dest}" for dest in ("ACTIVATION", "CONSTANT", "SCALAR"))
    for target in Target:
        yield from (f"QUANTISE {target.name} {gain}" for gain in ("plain", "gain"))
    for half in ("KEY", "VALUE"):
        for feed in Feed:
            yield from (
                f"ATTEND {half} {feed.name} {ends}" for ends in ("first", "last", "first, last", "neither")
            )
    yield from (
        f"STORE {payload.name} {how}" for payload in Payload for how in ("in a LAYER loop", "outside")
    )
    yield from ("HEAD emits", "HEAD keeps", "HEAD fewer rows than top_k", "HEAD more rows than top_k")
    yield from (
        *(f"{name} {shape}" for name in ("LINEAR", "HEAD") for shape in _SHAPES),
        "NORM plain",
        "NORM normalise",
        "MATMUL one chunk",
        "MATMUL several chunks",
        "MATMUL last chunk short",
    )
    yield from (
        "MAP in place",
        "MAP part over what it does not read",
        "MAP nothing",
        "QUANTISE nothing",
        "STORE nothing",
    )

    if machine.activation_bits == 12:
        yield from ("QUANTISE mantissa plain", "QUANTISE mantissa gain", "NORM mantissa plain")
        yield "NORM mantissa normalise"


#: Shapes of LINEAR and HEAD.
_SHAPES = [
    f"{width.name}, {tails}" for width in Width for tails in ("no groups", "scales", "scales and minima")
]


class Watch:
    """Observer of one run of a case: hits bins of a `Coverage`."""

    def __init__(self, coverage: Coverage, case: RandomCase):
        self.coverage, self.case, self.machine = coverage, case, coverage.machine
        self.flushed = False
        self._chunk: Sequence[Entry] = case.entries
        self._stored: set[int] = set()
        self._issued = dict.fromkeys(UNITS, 0)
        self._ahead = 0
        self._static()

    # --- the program and its registers --------------------------------------------------------------------

    def _static(self) -> None:
        case, hit = self.case, self.coverage.hit
        depth: list[Loop] = []
        before: Loop | None = None
        for name, fields in case.rows:
            on = self._on(fields.get("predicate", 0), len(case.entries) > case.tile)
            if name == "LOOP":
                register = Loop(fields["register"])
                hit("loops", f"{register.name} in {depth[-1].name}" if depth else register.name)
                if not depth and before == register:
                    hit("loops", f"two of {register.name}")
                before = before if depth else register
                if register == Loop.LAYER:
                    hit("loops", "one layer" if fields["count"] == 1 else "several layers")
                else:
                    hit("loops", "one tile" if len(case.entries) <= case.tile else "several tiles")
                depth.append(register)
            elif name == "NEXT":
                depth.pop()
            elif name == "unknown":
                hit("loops", "unknown opcode" if on else "unknown opcode skipped")
            elif name == "END" and fields.get("predicate"):
                hit("loops", "END before the last" if on else "END skipped")
            elif name == "STORE":
                where = "in a LAYER loop" if Loop.LAYER in depth else "outside"
                hit("operations", f"STORE {Payload(fields['payload']).name} {where}")
        if not any(name == "LOOP" for name, _ in case.rows):
            hit("loops", "none")
        self._registers()

    def _registers(self) -> None:
        case, machine = self.case, self.machine

        def hit(name: str, when: bool = True) -> None:
            if when:
                self.coverage.hit("chunks", name)

        entries, tile = case.entries, case.tile
        tiles = [entries[i : i + tile] for i in range(0, len(entries), tile)]
        hit(f"tile {tile}")
        hit(f"{len(tiles)} tiles" if len(tiles) < 4 else "many tiles")
        hit(f"last tile {len(tiles[-1])} of {tile}")
        for one in tiles:
            hit(f"{len(sequences(one))} sequences in a tile")
        hit(f"batch of {len(entries)}", case.batch)
        hit(f"{case.steps} steps" if case.steps < 4 else "many steps")
        hit("one token", len(entries) == 1)
        hit("all entries", len(entries) == machine.max_chunk)
        hit("a sequence over two tiles", any(one[0].continues for one in tiles))
        for entry in entries:
            hit("position 0", entry.position == 0)
            hit("position large", entry.position >= machine.max_context)
            hit("base 0", entry.base == 0)
            hit("base large", entry.base >= machine.max_context)
            hit("row beyond 20 bits", entry.base + entry.position >= 1 << 20)
        hit("memory base 0" if case.memory_base == 0 else "memory base other")
        hit("MANY_TILES on, then off", len(tiles) > 1 and case.steps > 1)

    def end(self, error: int, found: Sequence[Sequence[int]]) -> None:
        """After the run: CSR ERROR and the tokens of each step."""
        case = self.case

        def hit(name: str, when: bool = True) -> None:
            if when:
                self.coverage.hit("chunks", name)

        hit(f"error {error & 0xFF}")
        if error:
            return
        hit("no HEAD", not case.found)
        if case.stops and case.found:
            ended = [any(step[i] in case.stops for step in found) for i in range(len(found[0]))]
            hit("a stop token, not met", not any(ended))
            hit("a stop token ends the run", all(ended) and len(found) < case.steps)
            if case.batch and len(ended) > 1:
                hit("batch: all have stopped", all(ended))
                early = [any(step[i] in case.stops for step in found[:-1]) for i in range(len(ended))]
                hit("batch: one stops, others go on", any(early))
        hit("output log wraps", sum(map(len, found)) > self.machine.max_context)

    def _on(self, predicate: int, many: bool) -> bool:
        if predicate == MANY_TILES:
            return many
        return bool((self.case.predicates | 1) >> predicate & 1)

    # --- as the interpreter goes --------------------------------------------------------------------------

    def __call__(
        self, at: int, name: str, f: dict[str, int], layer: int, first: int, more: int, writes: list[Write]
    ) -> None:
        hit = self.coverage.hit
        chunk = self._chunk
        live = chunk[first : first + self.case.tile]
        acting = live if f.get("tiled") else live[:1]
        for text in field_classes(self.machine, name, f, len(acting)):
            hit("fields", f"{name}.{text}")
        flushed, self.flushed = self.flushed, False
        if name == "END":
            self._step_ends()
            return
        unit = BY_NAME[name].unit
        if unit == Unit.CONTROL:
            return
        hit("acting", f"{name} {'tiled' if f['tiled'] else 'not tiled'}, {len(live)} live")
        self._waits(name, unit, f)
        for text in number_classes(name, f, writes, flushed):
            hit("numbers", text)
        if name == "FETCH":
            self._fetch(f, layer, first, acting)
        else:
            self._operation(name, f, acting)
            if name == "STORE":
                self._stored.add(f["base"])

    def _step_ends(self) -> None:
        chunk = self._chunk
        many = len(chunk) > self.case.tile
        for name, fields in self.case.rows:
            predicate = fields.get("predicate", 0)
            bit = {0: "always", MANY_TILES: "MANY_TILES"}.get(predicate, "other")
            said = "on" if self._on(predicate, many) else "off"
            self.coverage.hit("predicates", f"{name} {bit} {said}")
            self.coverage.hit("predicates", f"bit {predicate} {said}")
        going = chunk if self.case.batch else chunk[-1:]
        self._chunk = [Entry(0, entry.position + 1, entry.base) for entry in going]
        self._issued = dict.fromkeys(UNITS, 0)
        self._ahead = 0

    def _waits(self, name: str, unit: Unit, f: dict[str, int]) -> None:
        for other in UNITS if unit != Unit.FETCH else (Unit.STORE,):
            bound = f[f"wait_{other.name.lower()}"]
            if bound < NO_WAIT and self._issued[other] > bound:
                self.coverage.hit("waits", f"{unit.name} on {other.name} {bound}")
        if unit in UNITS:
            self._issued[unit] += 1
        takes = name in ("MATMUL", "LINEAR", "HEAD") or (
            name == "MAP" and f["source"] == Source.TAPE and f["n"]
        )
        takes = takes or (name == "ATTEND" and f["feed"] == Feed.TAPE)
        if takes:
            self.coverage.hit("runs", f"ahead {self._ahead}")
            self._ahead = 0
        elif name == "FETCH":
            self._ahead += 1

    def _fetch(self, f: dict[str, int], layer: int, first: int, acting: Sequence[Entry]) -> None:
        def hit(name: str, when: bool = True) -> None:
            if when:
                self.coverage.hit("runs", name)

        index = Index(f["index"])
        hit(f"{index.name} tiled, {len(acting)} live" if f["tiled"] else f"{index.name} not tiled")
        hit("stride 0", f["stride"] == 0 and index != Index.NONE)
        hit("overlapping", 0 < f["stride"] < f["bytes"] and index != Index.NONE and not f["sequence"])
        start = self.case.memory_base + f["base"] + (layer * f["stride"] if index == Index.LAYER else 0)
        plain = index in (Index.NONE, Index.LAYER) and not f["sequence"]
        hit("crosses 4 KiB", plain and f["bytes"] > 0 and start % 4096 + f["bytes"] > 4096)
        hit("of what a STORE wrote in this run", f["base"] in self._stored and f["bytes"] > 0)
        if f["sequence"]:
            older = [acting[tokens.start].position for tokens in sequences(acting)]
            hit(f"sequence, {len(older)} of them")
            hit("sequence, no older tokens", not any(older))
            hit("sequence, some with none", any(older) and not all(older))
            hit("sequence, all with some", all(older))

    def _operation(self, name: str, f: dict[str, int], acting: Sequence[Entry]) -> None:
        def hit(text: str, when: bool = True) -> None:
            if when:
                self.coverage.hit("operations", text)

        if name in ("LINEAR", "HEAD"):
            tails = "no groups" if not f["group"] else "scales and minima" if f["minima"] else "scales"
            hit(f"{name} {Width(f['width']).name}, {tails}")
        match name:
            case "MAP":
                self._map(f)
            case "QUANTISE":
                kind = "mantissa" if f["mantissa"] else Target(f["target"]).name
                hit(f"QUANTISE {kind} {'gain' if f['gain'] else 'plain'}", f["n"] > 0)
                hit("QUANTISE nothing", not f["n"])
            case "ATTEND":
                ends = ", ".join(end for end in ("first", "last") if f[end]) or "neither"
                hit(f"ATTEND {'VALUE' if f['half'] else 'KEY'} {Feed(f['feed']).name} {ends}")
            case "HEAD":
                hit("HEAD emits" if self._on(f["emit"], len(self._chunk) > self.case.tile) else "HEAD keeps")
                hit("HEAD fewer rows than top_k", f["rows"] < self.machine.top_k)
                hit("HEAD more rows than top_k", f["rows"] > self.machine.top_k)
            case "NORM":
                kind = "normalise" if f["normalise"] else "plain"
                hit(f"NORM mantissa {kind}" if f["mantissa"] else f"NORM {kind}")
            case "MATMUL":
                columns, tables = -(-f["k"] // numerics.TRITS_PER_BYTE), self.machine.tables
                hit("MATMUL one chunk" if columns <= tables else "MATMUL several chunks")
                hit("MATMUL last chunk short", columns > tables and columns % tables > 0)
            case "STORE":
                hit("STORE nothing", not f["bytes"])

    def _map(self, f: dict[str, int]) -> None:
        def hit(text: str) -> None:
            self.coverage.hit("operations", f"MAP {text}")

        if not f["n"]:
            return hit("nothing")
        function, n = Function(f["function"]), f["n"]
        extra = ", ".join(one for one in ("scaled", "statistics") if f[one]) or "plain"
        hit(f"{Source(f['source']).name} {function.name} {extra}")
        if f["gain"] and f["statistics"]:
            hit(f"{function.name} gain")
        hit(f"{function.name} to {('ACTIVATION', 'CONSTANT', 'SCALAR')[f['dest']]}")
        if f["source"] == Source.ACTIVATION and f["dest"] == 0:
            if f["a"] == f["d"]:
                hit("in place")
            elif abs(f["a"] - f["d"]) == n:
                hit("part over what it does not read")
        return None


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """While a case runs: tells `watch` of subnormal results and operands that count as zero."""
    flush = numerics.flush

    def told(x: Tensor) -> Tensor:
        if not watch.flushed:
            watch.flushed = bool(((x.abs() < numerics.MIN_NORMAL) & (x != 0)).any())
        return flush(x)

    with mock.patch.object(numerics, "flush", told):
        yield
