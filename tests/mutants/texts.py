"""Checks by models: chunks, tiles, steps, batches on a machine with a mutant, against software."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hw.artefact import Artefact
from hw.isa import COUNTERS
from sim.backend import KVRow, Outcome, Request
from sim.backends import Golden, Isa
from sim.dram import DramParams
from sim.errors import SimulationError
from sim.interpreter import MachineError
from sim.lockstep import compare
from sim.rtl_backend import Rtl

from . import observe
from .observe import Caught, Trace

__all__ = ["ErrorCheck", "TextCheck"]


@dataclass
class Step:
    """What the interpreter left behind after one request."""

    request: Request
    outcome: Outcome
    tops: list[tuple[list[int], torch.Tensor]]
    rows: dict[tuple[int, int], KVRow]
    counters: dict[str, int]


class _Recorder(Isa):
    """The interpreter, which keeps what it is asked."""

    def __init__(self, artefact: Artefact):
        super().__init__(artefact)
        self.tops: list[tuple[list[int], torch.Tensor]] = []
        self.rows: dict[tuple[int, int], KVRow] = {}

    def run(self, request: Request) -> Outcome:
        outcome = super().run(request)
        live = request.last_tile(len(outcome.tokens)) if request.head else 0
        self.tops, self.rows = [super(_Recorder, self).top(token) for token in range(live)], {}
        return outcome

    def kv(self, layer: int, row: int) -> KVRow:
        found = super().kv(layer, row)
        kept = {field.name: getattr(found, field.name).copy() for field in dataclasses.fields(found)}
        self.rows[layer, row] = KVRow(**kept)
        return found


class _Replay:
    """What the interpreter left behind, as the side of a comparison."""

    name = "isa"

    def __init__(self, step: Step):
        self.step = step

    def run(self, request: Request) -> Outcome:
        return self.step.outcome

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        return self.step.tops[token]

    def kv(self, layer: int, row: int) -> KVRow:
        return self.step.rows[layer, row]

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        raise NotImplementedError("a recording has no state to change")

    def counters(self) -> dict[str, int]:
        return self.step.counters

    def dram(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        pass


class TextCheck:
    """Requests on one model: results of each, exact counters of each, all of memory at the end."""

    def __init__(self, artefact: Artefact, dram: DramParams, requests: Sequence[Request]):
        self.artefact, self.dram, self.layers = artefact, dram, int(artefact.config["layers"])
        golden, isa = Golden(artefact), _Recorder(artefact)
        self.steps = []
        for request in requests:
            outcomes = [golden.run(request), isa.run(request)]
            difference = compare([golden, isa], request, outcomes, self.layers)
            if difference is not None:
                raise SimulationError(f"golden model and interpreter differ: {difference}")
            self.steps.append(Step(request, outcomes[1], isa.tops, isa.rows, isa.counters()))
        self.memory = isa.memory.copy()

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """As of `observe.Check`."""
        trace: Trace = []
        with (
            observe.simulation(),
            Rtl(self.artefact, self.dram, executable=executable, plusargs=[f"+mutant={number}"]) as rtl,
        ):
            before = rtl.counters()
            for i, step in enumerate(self.steps):
                rtl.limit = observe.most_cycles(design, i) // step.request.steps
                outcome = rtl.run(step.request)
                found = compare([_Replay(step), rtl], step.request, [step.outcome, outcome], self.layers)
                if found is not None:
                    raise Caught(observe.RESULT, str(found))
                after = rtl.counters()
                self._counters(step, after)
                trace.append({name: after[name] - before[name] for name in after})
                observe.account(trace[-1], f"request {i}")
                trace[-1]["interrupt"] = outcome.cycles or 0
                before = after
            at = np.flatnonzero(rtl.session.memory != self.memory)
            if len(at):
                raise Caught(observe.RESULT, f"memory at 0x{int(at[0]):06x}, {len(at)} bytes differ")
        return trace

    def _counters(self, step: Step, found: dict[str, int]) -> None:
        for counter in COUNTERS:
            if counter.exact and found[counter.name] != step.counters[counter.name]:
                wanted = step.counters[counter.name]
                raise Caught(observe.COUNTERS, f"{counter.name}: isa {wanted}, rtl {found[counter.name]}")


class ErrorCheck:
    """A request that the interpreter ends with an error."""

    def __init__(self, artefact: Artefact, dram: DramParams, request: Request):
        self.artefact, self.dram, self.request = artefact, dram, request
        try:
            Isa(artefact).run(request)
        except MachineError as error:
            self.code, self.layer = error.code, error.layer
        else:
            raise SimulationError("wanted an error, found none")

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """As of `observe.Check`; the trace is empty."""
        with (
            observe.simulation(),
            Rtl(self.artefact, self.dram, executable=executable, limit=100_000,
                plusargs=[f"+mutant={number}"]) as rtl,
        ):  # fmt: skip
            try:
                rtl.run(self.request)
            except SimulationError as error:
                if f"error {self.code} at" not in str(error) or f", layer {self.layer}:" not in str(error):
                    raise
            else:
                raise Caught(observe.RESULT, "no error")
        return []
