"""The proof catches wrong machines: mutants of the RTL, drawn by seed, all in one simulator."""

import pytest

from tests.mutants.run import build_mutants, checks, run

#: Of the draw that `make bench-proof` runs the first ones, each of a component of its own.
COUNT = 30
#: The rest equals the design: `docs/mutants.md` says why.
CAUGHT = 28
PROGRAMS = 12


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the build of the mutants is in it
def test_mutants_are_caught_and_the_design_is_not():
    executable, mutants, _ = build_mutants()
    drawn = mutants[:COUNT]
    assert len({mutant.component for mutant in drawn}) == COUNT
    verdicts = run(
        executable, drawn, checks(PROGRAMS, corners=(1,))
    )  # exits where the design itself is caught
    survived = [str(verdict.mutant) for verdict in verdicts if verdict.by is None]
    assert len(survived) <= COUNT - CAUGHT, "\n".join(survived)
