"""Program and memory map of a model without its weights: graph, passes, places, schedule, layout, code."""

from dataclasses import dataclass

from hw.machine import MachineConfig
from models.config import MATRICES

from .check import check
from .codegen import generate
from .fit import Places, place
from .fit_integers import Planned, fit_forms
from .graph import Integers, attach_statistics, build, fuse
from .lower import PARTS, lower
from .memory_map import MemoryMap, map_memory
from .schedule import schedule
from .tape_layout import Run, runs

__all__ = ["Plan", "Planned", "plan_program"]


@dataclass(frozen=True)
class Plan:
    """Everything about a compiled program but the bytes of its image.

    fetches: by part of the program; tapes: bytes of each block, of one layer of the body.
    """

    program: bytes
    memory: MemoryMap
    places: Places
    fetches: dict[str, list[Run]]
    tapes: dict[str, int]


def plan_program(model: Planned, machine: MachineConfig, kv_rows: int | None = None) -> Plan:
    """Schedule, program and memory map of a model; CompileError where it does not fit the machine.

    kv_rows: as for `compiler.compile.compile_program`. No weight is looked at.
    """
    config = model.config
    places = place(config, machine)
    fit_forms(model, machine)
    forms = {name: model.form(name) for name in MATRICES} | {"head": model.form("head")}
    integers = {name: Integers(**form) for name, form in forms.items() if form is not None}
    graph = check(build(config, integers, model.activations))
    graph = check(attach_statistics(graph, model.grids["attention"] == model.grids["final"]), statistics=True)
    graph = check(fuse(graph), statistics=True)
    lowered = lower(graph, places, model.grids)
    # The layout of the tape follows the order of lowering, which scheduling keeps among its consumers.
    fetches: dict[str, list[Run]] = {}
    tapes = dict.fromkeys(PARTS.values(), 0)  #: bytes by block
    for part, block in PARTS.items():
        fetches[part], tapes[block] = runs(machine, lowered[part], tapes[block])
    memory = map_memory(config, machine, *tapes.values(), kv_rows=kv_rows)
    parts = {part: schedule(lowered[part], machine, config.context) for part in PARTS}
    program = generate(config, machine, parts, fetches, memory)
    return Plan(program, memory, places, fetches, tapes)
