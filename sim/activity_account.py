"""Which instruction each cycle of a run belongs to, and from that, which layer."""

from collections import defaultdict
from dataclasses import dataclass

from .activity_log import ACCOUNT, UNITS, Activity, Command

__all__ = ["Share", "by_layer", "shares"]

#: The unit that a cycle of each kind of `ACCOUNT` belongs to; None: whichever has the oldest instruction.
OWNER = tuple(next((unit for unit in UNITS if name.startswith(unit)), None) for name in ACCOUNT)


@dataclass(frozen=True)
class Share:
    """A command and its own cycles, by `ACCOUNT`; all shares add up to the cycles of the runs."""

    command: Command
    cycles: tuple[int, ...]


def shares(activity: Activity) -> list[Share]:
    """Every cycle given to one command, in the order of `Activity.commands`.

    A cycle in which a unit took or lacked tape belongs to that unit's oldest instruction; any other one to
    the oldest instruction under way; where there is none, to the one that finished last (the first one,
    before any has).
    """
    commands = activity.commands
    if not commands:
        return []
    sums = [[0] * len(ACCOUNT) for _ in commands]
    queues = {unit: [i for i, one in enumerate(commands) if one.unit == unit] for unit in UNITS}
    at: dict[str, int] = dict.fromkeys(UNITS, 0)
    last, latest = 0, -1
    for sample in activity.samples:
        under: dict[str, int] = {}
        for unit, queue in queues.items():
            while at[unit] < len(queue) and commands[queue[at[unit]]].done < sample.start:
                if commands[queue[at[unit]]].done > latest:
                    last, latest = queue[at[unit]], commands[queue[at[unit]]].done
                at[unit] += 1
            if at[unit] < len(queue) and commands[queue[at[unit]]].accepted <= sample.start:
                under[unit] = queue[at[unit]]
        oldest = min(under.values(), default=last)
        for kind, (count, owner) in enumerate(zip(sample.account, OWNER, strict=True)):
            if count:
                mine = oldest if owner is None else under.get(owner, oldest)
                sums[mine][kind] += count
    return [Share(command, tuple(cycles)) for command, cycles in zip(commands, sums, strict=True)]


def by_layer(activity: Activity) -> dict[int, dict[str, dict[str, int]]]:
    """By layer: `account`, cycles by `ACCOUNT`; `occupied`, cycles in which a unit had an instruction of it.

    What comes before the loop over layers counts as layer 0, what comes after has the number of layers.
    """
    found: dict[int, dict[str, dict[str, int]]] = defaultdict(
        lambda: {"account": dict.fromkeys(ACCOUNT, 0), "occupied": dict.fromkeys(UNITS, 0)}
    )
    for share in shares(activity):
        account = found[share.command.layer]["account"]
        for name, cycles in zip(ACCOUNT, share.cycles, strict=True):
            account[name] += cycles
    for unit in UNITS:
        for command, span, _ in activity.in_turn(unit):
            found[command.layer]["occupied"][unit] += span.end - span.start
    return dict(sorted(found.items()))
