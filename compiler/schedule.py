"""Order of issue: list scheduling (Graham, 1966) of each block against a coarse model of the machine.

The machine issues in program order, so an instruction that must wait holds back all behind it. At each step
the instruction that could be issued earliest comes next; among equals, the one that the graph has first.
Consumers of the tape keep their order, because that is the order of the bytes.
"""

from hw.isa import BY_NAME, Feed, Unit
from hw.machine import MachineConfig
from models.numerics import TRITS_PER_BYTE

from .hazards import STREAMED, accesses, conflict
from .lower import Step

#: Commands that wait beside a unit before issue stalls.
UNIT_QUEUE = 4
#: Cycles from first input to last output beyond one element group a cycle; about right is enough.
LATENCY = {"MATMUL": 20, "HEAD": 60, "MAP": 30, "QUANTISE": 50, "NORM": 80, "ATTEND": 40, "STORE": 40}


def duration(step: Step, machine: MachineConfig, tokens: int) -> int:
    """Cycles that a step occupies its unit, `tokens` being the position that the schedule is made for."""
    f = step.fields
    if step.name == "MATMUL":
        busy = f["rows"] * -(-f["k"] // TRITS_PER_BYTE) // machine.tables
    elif step.name == "HEAD":
        busy = f["rows"] * (f["k"] // machine.head_lanes + 1)
    elif step.name == "ATTEND":
        rows = 1 if f["feed"] == Feed.STAGE else tokens
        busy = rows * f["kv_heads"] * f["head_size"] // machine.attention_bytes
    elif step.name == "STORE":
        busy = f["bytes"] // machine.bus_bytes
    else:
        busy = f.get("n", 0) // machine.lanes
    return busy + LATENCY[step.name]


def schedule(steps: list[Step], machine: MachineConfig, context: int) -> list[Step]:
    """The same steps in an order of issue that keeps every dependence of the given order.

    context: tokens of the longest sequence; the schedule is made for its middle.
    """
    touched = [accesses(step.name, step.fields) for step in steps]
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
        ends[best] = free[unit] = starts[best] + duration(steps[best], machine, context // 2)
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
    waited = [
        ends[j]
        for j in before
        if conflict(touched[step], touched[j], (*STREAMED, *(("TAPE",) if units[j] == units[step] else ())))
    ]
    room = starts[queue[-UNIT_QUEUE]] if len(queue) >= UNIT_QUEUE else 0
    return max([now, room, *waited])
