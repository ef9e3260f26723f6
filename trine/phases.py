"""The figures of a report by phase (a decode token at a context, a prompt), from the estimate or from RTL.

A phase is a JSON object; its members are the same whatever it was made from (docs/cli.md has them).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.estimate import WALKED, Token, estimate
from compiler.timeline import Run, decoded
from compiler.timeline_layers import ACCOUNT, LayerTimeline
from hw.isa import Loop, decode
from hw.machine import MachineConfig
from models.config import ModelConfig
from sim import activity_account
from sim.activity_log import BUS
from sim.dram import DramParams
from sim.requests import prompt_requests
from sim.rtl_backend import Rtl

from .rtl_runs import CycleBar, decode_at, take

__all__ = ["Subject", "estimated", "simulated"]

#: Depths from which a long prompt on a deep model is extrapolated.
_DEPTHS = (3, 5)
_KINDS = {"MATMUL": "ternary", "LINEAR": "integer", "HEAD": "integer"}
_BINDS = {
    "memory": ("matmul_starved", "attention_starved", "vector_starved"), "matmul": ("matmul_active",),
    "attention": ("attention_active",), "vector": ("vector_only",), "latency": ("overhead",),
}  # fmt: skip
_READ = {"weights": "weight", "kv": "kv_read", "other": "other"}
_WRITTEN = ("kv_write_bytes", "logit_bytes", "spill_bytes")


@dataclass(frozen=True)
class Subject:
    """What is reported on: a compiled model on a machine with a memory, decode contexts, one prompt."""

    config: ModelConfig
    machine: MachineConfig
    dram: DramParams
    program: bytes
    contexts: Sequence[int]
    prompt: int
    tile: int
    chunk: int

    @property
    def timing(self) -> DramParams:
        """The plain model nearest to the memory, for the estimate."""
        return self.dram.plain(self.machine)


def estimated(subject: Subject) -> list[dict[str, Any]]:
    """Phases by the estimate."""
    phases = []
    for context in subject.contexts:
        timeline = _timeline(subject)
        run = timeline.step([Token(0, context - 1)])
        found = _of_run(timeline, run)
        phases.append(_phase(subject, "decode", [context - 1], found, _binds(subject, context)))
    return [*phases, _prompt(subject)]


def simulated(
    subject: Subject, rtl: Rtl, bar: CycleBar, guesses: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Phases by RTL, which was opened with `activity`; of `guesses`, the estimated ones, `binds` is taken."""
    phases = []
    for context, guess in zip(subject.contexts, guesses, strict=False):
        before = rtl.counters()
        decode_at(rtl, subject.config, context)
        phases.append(_phase(subject, "decode", [context - 1], _of_rtl(rtl, before), guess["binds"]))
        bar.ended(rtl.counters()["cycles"])
    before, ids = rtl.counters(), [1 + i * 7 % (subject.config.vocab - 1) for i in range(subject.prompt)]
    for request in prompt_requests(
        ids, chunk=subject.chunk, tile=subject.tile,
        most=lambda rows: rtl.machine.tile_at(subject.config.heads, rows),
    ):  # fmt: skip
        rtl.run(request)
        bar.ended(rtl.counters()["cycles"])
    found = _of_rtl(rtl, before)
    return [*phases, _phase(subject, "prompt", range(subject.prompt), found, _most(found["account"]))]


def _timeline(subject: Subject, depth: int = 0) -> LayerTimeline:
    return LayerTimeline(subject.machine, subject.timing, decoded(subject.program), depth)


def _binds(subject: Subject, context: int) -> str:
    found = estimate(subject.machine, subject.timing, subject.program, position=context - 1, prompt=1,
                     tile=1, chunk=1)  # fmt: skip
    return found.decode.binds


# --- from the estimate ------------------------------------------------------------------------------------


def _of_run(timeline: LayerTimeline, *runs: Run) -> dict[str, Any]:
    """Figures of walks that followed one another from cycle 0 on."""
    cycles = sum(run.cycles for run in runs)
    counters = {name: sum(run.counters[name] for run in runs) for name in runs[0].counters}
    layers = timeline.layers
    return {
        "cycles": cycles, "counters": counters, "layers": layers, "extrapolated_from_layers": 0,
        "account": {name: sum(row["account"][name] for row in layers.values()) for name in ACCOUNT},
        "bus": {"read_beats": counters["read_beats"], "bus_full": None, "bus_wait": None, "bus_idle": None},
        "macs": _macs((act.name, act.fields, act.tokens) for act in timeline.acts),
    }  # fmt: skip


def _prompt(subject: Subject) -> dict[str, Any]:
    """The prompt by the estimate; a long one on a deep model from two depths."""
    layers = next((f["count"] for name, f in decoded(subject.program)
                   if name == "LOOP" and f["register"] == Loop.LAYER), 1)  # fmt: skip

    def walked(depth: int) -> dict[str, Any]:
        timeline, runs = _timeline(subject, depth), []
        for at in range(0, subject.prompt, subject.chunk):
            length = min(subject.chunk, subject.prompt - at)
            entries = [Token(0, at + i, 0, i > 0) for i in range(length)]
            last = at + length == subject.prompt
            runs.append(timeline.step(entries, subject.tile, head=last))
        return _of_run(timeline, *runs)

    if -(-subject.prompt // subject.tile) * layers <= WALKED or layers <= max(_DEPTHS):
        found = walked(0)
    else:
        low, high = (walked(depth) for depth in _DEPTHS)
        found = _extrapolated(low, high, (layers - _DEPTHS[1]) / (_DEPTHS[1] - _DEPTHS[0]))
        found |= {"layers": {}, "extrapolated_from_layers": _DEPTHS[1]}
    return _phase(subject, "prompt", range(subject.prompt), found, _most(found["account"]))


def _extrapolated(low: Any, high: Any, by: float) -> Any:
    """Each number of `high`, and so much more of what it has over `low`."""
    if isinstance(high, dict):
        return {name: _extrapolated(low[name], value, by) for name, value in high.items() if name != "layers"}
    return None if high is None else high + (high - low) * by


# --- from RTL ---------------------------------------------------------------------------------------------


def _of_rtl(rtl: Rtl, before: dict[str, int]) -> dict[str, Any]:
    """Figures of the runs since the counters were `before`."""
    counters = {name: value - before[name] for name, value in rtl.counters().items()}
    activity = take(rtl)
    return {
        "cycles": counters["cycles"], "counters": counters,
        "layers": activity_account.by_layer(activity), "extrapolated_from_layers": 0,
        "account": {name: counters[name] for name in ACCOUNT}, "bus": {name: counters[name] for name in BUS},
        "macs": _macs((*decode(one.word), one.tokens) for one in activity.commands),
    }  # fmt: skip


# --- both -------------------------------------------------------------------------------------------------


def _macs(instructions: Iterable[tuple[str, Any, int]]) -> dict[str, int]:
    """Products that the model asks for, by engine, without what the machine adds to fill up units."""
    found = {"ternary": 0, "integer": 0}
    for name, fields, tokens in instructions:
        if name in _KINDS:
            found[_KINDS[name]] += fields["rows"] * fields["k"] * tokens
    return found


def _most(account: dict[str, Any]) -> str:
    """What took most of the cycles."""
    return max(_BINDS, key=lambda unit: sum(account[name] for name in _BINDS[unit]))


def _phase(
    subject: Subject, kind: str, positions: Sequence[int], found: dict[str, Any], binds: str
) -> dict[str, Any]:
    """The JSON object."""
    config, machine = subject.config, subject.machine
    tokens, cycles, counters = len(positions), found["cycles"], found["counters"]
    seconds = cycles / (machine.clock_mhz * 1e6)
    visible = sum(position + 1 for position in positions)
    macs = {**found["macs"], "attention": 2 * config.layers * config.dim * visible}
    read = {name: counters[f"{of}_bytes"] for name, of in _READ.items()}
    written = sum(counters[name] for name in _WRITTEN)
    moved = sum(read.values()) + written
    return {
        "name": f"decode at {positions[0] + 1}" if kind == "decode" else f"prompt of {tokens}",
        "kind": kind, "tokens": tokens, "context": positions[-1] + 1,
        "tile": 1 if kind == "decode" else subject.tile, "cycles": cycles, "seconds": seconds,
        "tokens_per_second": tokens / seconds, "binds": binds,
        "bytes": {**read, "written": written, "all": moved},
        "macs": {**macs, "all": sum(macs.values())},
        "intensity": sum(macs.values()) / moved, "macs_per_second": sum(macs.values()) / seconds,
        "bus": found["bus"], "bus_utilisation": found["bus"]["read_beats"] / cycles,
        "account": found["account"],
        "layers": [{"layer": layer, **row} for layer, row in found["layers"].items()],
        "extrapolated_from_layers": found["extrapolated_from_layers"],
    }  # fmt: skip
