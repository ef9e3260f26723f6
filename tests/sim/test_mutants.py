"""The proof catches wrong machines: mutants of the RTL, drawn by seed, all in one simulator."""

import pytest

from tests.mutants.equivalent import proved_equal
from tests.mutants.plant import Mutant
from tests.mutants.run import build_mutants, checks, run
from tests.mutants.surroundings import NUMBER

#: Of the draw that `make bench-proof` runs the first ones, each of a component of its own.
COUNT = 30
#: The five that survive: a constant bit of `TritDecode` that changes no byte (proved); an enable that only
#: saves work; the high word of a counter of 2**32 cycles; in `hw.norm` the sign of a sum of two negative
#: numbers, which no program here has, and the bounds of a quotient that lies within 2**-64 and 2**64.
CAUGHT = 25
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


#: An adder whose carry nobody reads, with two mutants.
ADDER = f"""module overlay(a, b, o);
  input [3:0] a; input [3:0] b; output [3:0] o; wire [4:0] sum;
  \\overlay.adder inner(.a(a), .b(b), .sum(sum));
  assign o = sum[3:0];
endmodule
module \\overlay.adder (a, b, sum);
  input [3:0] a; input [3:0] b; output [4:0] sum; wire [4:0] sum; wire [4:0] \\$1 ;
  assign \\$1 = {NUMBER} == 1 ? b + a : a + b;
  assign sum = {NUMBER} == 2 ? \\$1 | 5'h1 : \\$1 ;
endmodule
"""


@pytest.mark.parametrize(("number", "module"), [(1, "overlay.adder"), (2, None)])
def test_only_a_mutant_that_changes_nothing_is_proved_equal(number: int, module: str | None):
    mutant = Mutant(number, "adder", "overlay.adder", "adder.py:1", 7, "operator", "a + b", "b + a")
    assert proved_equal(ADDER, mutant) == module
