"""Whether a mutant is caught: lockstep with recorded results, on a machine of small sizes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hw.artefact import Artefact
from hw.machine import CI

from .backend import KVRow, Outcome, Request
from .backends import Golden, Isa
from .dram import DramParams
from .errors import SimulationError
from .interpreter import MachineError
from .lockstep import run_lockstep
from .mutants import Mutant, plant
from .random_check import difference, measure, predict
from .random_program import MEMORY_BYTES, random_program
from .requests import one_token
from .rtl_backend import Rtl
from .session import RtlSession
from .verilate import Progress, build, overlay_verilog

#: Every unit, little of each: quick to build, and its FIFOs and queues run full.
MACHINE = dataclasses.replace(
    CI, name="mutated", bus_bytes=4, tables=3, head_lanes=8, attention_bytes=4, fifo_words=64, outstanding=4,
    burst_beats=16, activation_words=512, constant_words=256, accumulator_rows=256, quantised_words=128,
    score_words=256, max_heads=4, max_query=64, max_context=64, stage_bytes=128, program_words=128,
    queue_depth=16,
)  # fmt: skip
#: Slow, stalling, often refreshing.
ROUGH = DramParams(latency=40, write_latency=30, turn=5, refresh_every=150, refresh_cycles=30,
                   stall_r=200, stall_ar=300, stall_aw=300, stall_w=300)  # fmt: skip
#: The machine hangs that takes so many cycles for a token; the unmutated one takes a tenth.
LIMIT = 150_000
#: Verilator 5.48's data-flow optimiser mistranslates the text with its choices (mutant 0 then differs from
#: the design); without it mutant 0 is the design, as every run checks first.
OPTIONS = ("-fno-dfg",)


class Recorder(Isa):
    """The interpreter, which keeps what it gives."""

    def __init__(self, artefact: Artefact):
        super().__init__(artefact)
        self.outcomes: list[Outcome] = []
        self.tops: list[list[tuple[list[int], torch.Tensor]]] = []
        self.rows: dict[tuple[int, int], KVRow] = {}

    def run(self, request: Request) -> Outcome:
        outcome = super().run(request)
        self.outcomes.append(outcome)
        live = request.last_tile(len(outcome.tokens)) if request.head else 0
        self.tops.append([super(Recorder, self).top(token) for token in range(live)])
        return outcome

    def kv(self, layer: int, row: int) -> KVRow:
        found = super().kv(layer, row)
        self.rows[layer, row] = dataclasses.replace(
            found, k=found.k.copy(), v=found.v.copy(), s_k=found.s_k.copy(), s_v=found.s_v.copy()
        )
        return found


class Replay:
    """What a `Recorder` kept, as a backend: the same requests again."""

    name = "isa"

    def __init__(self, recorder: Recorder):
        self.recorder, self.at = recorder, -1

    def run(self, request: Request) -> Outcome:
        self.at += 1
        return self.recorder.outcomes[self.at]

    def top(self, token: int = 0) -> tuple[list[int], torch.Tensor]:
        return self.recorder.tops[self.at][token]

    def kv(self, layer: int, row: int) -> KVRow:
        return self.recorder.rows[layer, row]

    def restore(self, base: int, rows: Sequence[Sequence[KVRow]]) -> None:
        raise NotImplementedError("a recording has no state to change")

    def counters(self) -> dict[str, int]:
        return self.recorder.counters()

    def dram(self) -> np.ndarray | None:
        return self.recorder.dram()

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Check:
    """One text on one model, with what it must give; or the error that it must end with.

    chunk, tile, steps: as of `run_lockstep`.
    """

    artefact: Artefact
    dram: DramParams
    prompt: tuple[int, ...]
    count: int
    cut: dict[str, Any]
    expected: Recorder | int

    @classmethod
    def of(
        cls, artefact: Artefact, dram: DramParams, prompt: Sequence[int], count: int, **cut: Any
    ) -> "Check":
        """A text on which golden model and interpreter agree."""
        recorder = Recorder(artefact)
        result = run_lockstep([Golden(artefact), recorder], prompt, count, artefact.config["layers"], **cut)
        if result.difference is not None:
            raise SimulationError(f"golden model and interpreter differ: {result.difference}")
        return cls(artefact, dram, tuple(prompt), count, cut, recorder)

    @classmethod
    def of_error(cls, artefact: Artefact, dram: DramParams, token: int) -> "Check":
        """A first token at which the interpreter stops with an error."""
        try:
            Isa(artefact).run(one_token(token, 0))
        except MachineError as error:
            return cls(artefact, dram, (token,), 1, {}, error.code | error.layer << 8)
        raise SimulationError("wanted an error, found none")

    def verdict(self, executable: Path, number: int) -> str | None:
        """What shows that mutant `number` is not the design, or None."""
        try:
            with Rtl(self.artefact, self.dram, executable=executable, limit=LIMIT,
                     plusargs=[f"+mutant={number}"]) as rtl:  # fmt: skip
                if isinstance(self.expected, int):
                    rtl.run(one_token(self.prompt[0], 0))
                    return "no error"
                layers = self.artefact.config["layers"]
                result = run_lockstep(
                    [Replay(self.expected), rtl], self.prompt, self.count, layers, **self.cut
                )
        except SimulationError as error:
            text = str(error)
            if isinstance(self.expected, int):
                wanted = f"error {self.expected & 0xFF} at position 0, layer {self.expected >> 8}:"
                return None if wanted in text else text
            return text
        return None if result.difference is None else str(result.difference)


class RandomCheck:
    """Random programs of `sim.random_program`, `seeds` of them, in one session."""

    def __init__(self, seeds: Sequence[int]):
        cases = [random_program(seed, MACHINE) for seed in seeds]
        self.cases = [(case, predict(case, MACHINE)) for case in cases]

    def verdict(self, executable: Path, number: int) -> str | None:
        """What shows that mutant `number` is not the design, or None."""
        try:
            with RtlSession(executable, MEMORY_BYTES, ROUGH, plusargs=[f"+mutant={number}"]) as session:
                for case, predicted in self.cases:
                    found = difference(predicted, measure(case, session))
                    if found is not None:
                        return f"seed {case.seed}: {found}"
        except SimulationError as error:
            return str(error)
        return None


def build_mutants(count: int, seed: int, progress: Progress = lambda _: None) -> tuple[Path, list[Mutant]]:
    """The simulator that holds `count` mutants of `MACHINE`, and what they are."""
    progress("Verilog to mutants")
    text, mutants = plant(overlay_verilog(MACHINE, progress, sources=True), count, seed)
    return build(text, MACHINE.bus_bytes, progress, OPTIONS), mutants
