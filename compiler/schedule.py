"""Order of issue: list scheduling (Graham, 1966) of each block against a coarse model of the machine.

The machine issues in program order, so an instruction that must wait holds back all behind it. At each step
the instruction that could be issued earliest comes next; among equals, the one that the graph has first.
Consumers of the tape keep their order, because that is the order of the bytes. Instructions with a predicate
stay where they are, before or after all others.
"""

from hw.integer_shape import IntegerShape
from hw.isa import BY_NAME, Feed, Unit
from hw.machine import MachineConfig

from . import cost
from .hazards import accesses, conflict, must_wait
from .lower import Step

#: Commands that wait beside a unit before issue stalls.
UNIT_QUEUE = 4
#: Cycles beyond those in which a unit takes something, where `compiler.cost` has none; about right is enough.
LATENCY = {"LINEAR": 40, "HEAD": 60, "STORE": 40}


def duration(step: Step, machine: MachineConfig, position: int, tile: int = 1) -> int:
    """Cycles that a step occupies its unit for `tile` tokens, the first of them at `position`."""
    each = tile if step.fields.get("tiled") else 1
    f = dict.fromkeys((item.name for item in BY_NAME[step.name].fields), 0) | step.fields
    if step.name == "MATMUL":
        # Rows of a chunk stream while the tables of the next one are built.
        c = cost.matmul(machine, f, each)
        return sum(max(f["rows"], c.load(size) + c.build) for size in c.chunks) + c.tail
    if step.name in ("LINEAR", "HEAD"):
        return IntegerShape.of(machine, f).cycles(each) + LATENCY[step.name]
    if step.name == "ATTEND":
        rows = each if f["feed"] == Feed.STAGE else position
        c = cost.attend(machine, f, f["feed"] == Feed.TAPE, each)
        return rows * c.row + c.tail
    if step.name == "STORE":
        return each * f["bytes"] // machine.bus_bytes + LATENCY["STORE"]
    if step.name == "NORM":
        c = cost.norm(machine, f, each)
    else:
        c = (cost.map_ if step.name == "MAP" else cost.quantise)(machine, f, each)
    return c.start + c.cycles + c.tail


def schedule(steps: list[Step], machine: MachineConfig, context: int, tile: int = 1) -> list[Step]:
    """The same steps in an order of issue that keeps every dependence of the given order.

    context: tokens of the longest sequence; the schedule is made for its middle.
    tile: tokens that it is made for; it is legal for all that the machine takes.
    """
    free = [i for i, step in enumerate(steps) if not step.fields.get("predicate")]
    first, end = (free[0], free[-1] + 1) if free else (0, 0)
    if len(free) != end - first:
        raise AssertionError("schedule: a step with a predicate among those without")
    return [*steps[:first], *_ordered(steps[first:end], machine, context // 2, tile), *steps[end:]]


def _ordered(steps: list[Step], machine: MachineConfig, position: int, tile: int) -> list[Step]:
    """List scheduling of steps without predicates."""
    touched = [accesses(step.name, step.fields, machine.tile) for step in steps]
    units = [BY_NAME[step.name].unit for step in steps]
    before = [
        [j for j in range(i) if (steps[i].content and steps[j].content) or conflict(touched[i], touched[j])]
        for i in range(len(steps))
    ]
    starts, ends = {}, {}  #: by step: when its unit begins and finishes it
    free = dict.fromkeys(Unit, 0)
    queued: dict[Unit, list[int]] = {unit: [] for unit in Unit}
    order: list[int] = []
    now = 0
    while len(order) < len(steps):
        ready = {
            i: _earliest(i, before[i], touched, units, ends, starts, queued[units[i]], now)
            for i in range(len(steps))
            if i not in ends and all(j in ends for j in before[i])
        }
        best = min(ready, key=lambda i: (ready[i], i))
        now, unit = ready[best], units[best]
        starts[best] = max(now, free[unit])
        ends[best] = free[unit] = starts[best] + duration(steps[best], machine, position, tile)
        queued[unit].append(best)
        order.append(best)
    return [steps[i] for i in order]


def _earliest(
    step: int,
    before: list[int],
    touched: list,
    units: list[Unit],
    ends: dict[int, int],
    starts: dict[int, int],
    queue: list[int],
    now: int,
) -> int:
    """First cycle in which `step` can be issued: queue room, and everything it waits for is finished."""
    waited = [ends[j] for j in before if must_wait(units[step], units[j], touched[step], touched[j])]
    room = starts[queue[-UNIT_QUEUE]] if len(queue) >= UNIT_QUEUE else 0
    return max([now, room, *waited])
