"""The walk of `compiler.timeline`, with what each instruction did: the estimate's kind of activity log.

Cycles have the names of the machine's counters (``matmul_active`` .. ``overhead``), so that a report has the
same form whichever it is made from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hw.isa import BY_NAME, Unit
from hw.machine import MachineConfig

from .cost_memory import Memory
from .timeline import Place, Run, Timeline
from .timeline_units import UNITS

__all__ = ["ACCOUNT", "Act", "LayerTimeline", "by_layer"]

#: Where a cycle went, each to the first that holds (`hw.isa.COUNTERS`).
ACCOUNT = ("matmul_active", "attention_active", "matmul_starved", "attention_starved", "vector_starved",
           "vector_only", "overhead")  # fmt: skip


@dataclass(frozen=True)
class Act:
    """One instruction: tokens it acts for, the cycles in which its unit took it and finished it, cycles in
    which the unit worked, and in which it lacked tape."""

    name: str
    fields: Mapping[str, int]
    layer: int
    tokens: int
    accepted: float
    done: float
    busy: float
    starved: float

    @property
    def unit(self) -> Unit:
        """Who executes it."""
        return BY_NAME[self.name].unit


class LayerTimeline(Timeline):
    """A `Timeline` that keeps what it walks; parameters as there.

    Members
    -------
    acts: instructions of all steps, in program order.
    layers: what `by_layer` makes of each step, added up.
    """

    def __init__(
        self,
        machine: MachineConfig,
        memory: Memory,
        program: Sequence[tuple[str, dict[str, int]]],
        layers: int = 0,
    ) -> None:
        super().__init__(machine, memory, program, layers=layers)
        self.acts: list[Act] = []
        self.layers: dict[int, dict[str, dict[str, float]]] = {}

    def step(self, entries: Sequence[Place], tile: int = 1, head: bool = True, logits: bool = False) -> Run:
        """As there."""
        start, first = self._time, len(self.acts)
        run = super().step(entries, tile, head, logits)
        for layer, row in by_layer(self.acts[first:], start, self._time).items():
            sums = self.layers.setdefault(layer, {})
            for member, values in row.items():
                old = sums.get(member, {})
                sums[member] = {name: value + old.get(name, 0.0) for name, value in values.items()}
        return run

    def _command(self, name: str, f: dict[str, int], acting: Sequence[Place]) -> None:
        unit = BY_NAME[name].unit
        work, starved = dict(self._busy), self._tape.starved
        super()._command(name, f, acting)
        busy = self._busy.get(unit.name.lower(), 0.0) - work.get(unit.name.lower(), 0.0)
        queue = self._units[unit]
        self.acts.append(
            Act(name, f, self._layer_now, len(acting), queue.accepted[-1], queue.done[-1], busy,
                self._tape.starved - starved)
        )  # fmt: skip


def by_layer(acts: Sequence[Act], start: float, end: float) -> dict[int, dict[str, dict[str, float]]]:
    """One step by layer: `account`, cycles by `ACCOUNT`; `occupied`, cycles in which a unit had an
    instruction of it.

    A layer ends with its last instruction other than a STORE; what comes before the loop counts as layer 0,
    what comes after it has the number of layers. The division within a layer is approximate: units that
    overlap are counted in the order of `ACCOUNT` until the layer's cycles are used up.
    """
    layers = sorted({act.layer for act in acts})
    ends = {
        layer: max((act.done for act in acts if act.layer == layer and act.unit != Unit.STORE), default=start)
        for layer in layers
    }
    found, before = {}, start
    for number, layer in enumerate(layers):
        until = end if number + 1 == len(layers) else max(before, ends[layer])
        mine = [act for act in acts if act.layer == layer]
        found[layer] = {"account": _divided(mine, until - before), "occupied": _occupied(acts, layer)}
        before = until
    return found


def _divided(acts: Sequence[Act], cycles: float) -> dict[str, float]:
    def total(unit: Unit, member: str) -> float:
        return sum(getattr(act, member) for act in acts if act.unit == unit)

    wanted = {
        "matmul_active": total(Unit.MATMUL, "busy"),
        "attention_active": total(Unit.ATTENTION, "busy"),
        "matmul_starved": total(Unit.MATMUL, "starved"),
        "attention_starved": total(Unit.ATTENTION, "starved"),
        "vector_starved": total(Unit.VECTOR, "starved"),
        "vector_only": total(Unit.VECTOR, "busy"),
    }
    account, left = {}, cycles
    for name, value in wanted.items():
        account[name] = min(value, left)
        left -= account[name]
    return {**account, "overhead": left}


def _occupied(acts: Sequence[Act], layer: int) -> dict[str, float]:
    """Cycles in which an instruction of the layer was the oldest in its unit."""
    found = {}
    for unit in UNITS:
        before, cycles = 0.0, 0.0
        for act in (one for one in acts if one.unit == unit):
            cycles += max(0.0, act.done + 1 - max(act.accepted, before)) if act.layer == layer else 0.0
            before = act.done + 1
        found[unit.name.lower()] = cycles
    return found
