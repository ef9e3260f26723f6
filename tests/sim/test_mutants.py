"""The proof catches wrong machines: mutants of the RTL, drawn by seed, all in one simulator."""

import pytest

from bench.mutants import model_checks, run
from sim.mutant_run import build_mutants

COUNT, SEED = 30, 1
#: Some of any draw equal the design or differ in time only; `make bench-proof` says which, and tries harder.
CAUGHT = 21


@pytest.mark.slow
def test_mutants_are_caught_and_the_design_is_not():
    executable, mutants = build_mutants(COUNT, SEED)
    assert len({mutant.component for mutant in mutants}) == COUNT
    verdicts = run(executable, mutants, model_checks(), workers=1)  # exits where the design itself is caught
    survived = [str(verdict.mutant) for verdict in verdicts if verdict.by is None]
    assert len(survived) <= COUNT - CAUGHT, "\n".join(survived)
