"""The cycle budgets of `compiler.cost` against the components that have them, and bytes exactly."""

import dataclasses

import numpy as np
import pytest

from compiler import cost
from compiler.compile import compile_program
from compiler.timeline import Timeline, decoded
from hw.attention_score import AttentionScore
from hw.attention_weight import AttentionWeight
from hw.entry_sum import EntrySum
from hw.fp32_div_pipelined import Fp32DivPipelined
from hw.fp32_from_int import Fp32FromInt
from hw.fp32_to_int import Fp32ToInt
from hw.integer_linear import IntegerLinear
from hw.isa import EMIT_LOGITS, WANT_HEAD
from hw.lane_timing import LaneTiming
from hw.machine import CI, NARROW, MachineConfig
from hw.norm import Norm
from hw.output_scale import OutputScale
from hw.ternary_engine import TernaryEngine
from hw.vector_memory import VectorMemory
from hw.vector_statistics import VectorStatistics
from sim.dram import DDR3
from sim.entries import Entry
from sim.interpreter import Interpreter
from sim.machine_grid import GRID
from tests.models.random_model import INTEGER_MODELS, random_model

MACHINES = list({machine.name: machine for machine, _ in GRID}.values())


@pytest.mark.parametrize("multiply", [3, 4])
def test_latencies_are_those_of_the_components(multiply: int) -> None:
    machine = dataclasses.replace(CI, multiply_cycles=multiply)
    timing, shape = LaneTiming(multiply), {"rows": 3, "k": 64, "width": 0}
    assert (cost.OPERAND, cost.WEIGHT) == (VectorMemory.LATENCY, AttentionWeight.LATENCY)
    assert cost.MAXIMUM == VectorStatistics.MAXIMUM_LATENCY
    assert (cost.DIVIDE, cost.FROM_INT, cost.TO_INT) == (
        Fp32DivPipelined.LATENCY, Fp32FromInt.LATENCY, Fp32ToInt.LATENCY,
    )  # fmt: skip
    assert {kind: cost.function(machine, kind) for kind in cost.FUNCTION} == timing.function
    assert (cost.FROM_INT, multiply + cost.TO_INT) == (timing.convert, timing.quantise)
    assert cost.norm(machine, {"normalise": 1}, 1).tail == Norm(multiply=multiply).latency
    assert cost.NORM_INTERVAL == Norm.INTERVAL
    assert cost.SCORE + 2 * multiply == AttentionScore(machine).latency
    assert cost.output_scale(machine) == OutputScale(machine).latency
    assert cost.linear(machine, "LINEAR", shape, 1).tail == IntegerLinear(machine).latency


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_engines_of_every_size(machine: MachineConfig) -> None:
    engine, integer = TernaryEngine(machine), IntegerLinear(machine)
    matmul = cost.matmul(machine, {"rows": 30, "k": 64, "q": 0, "acc": 0}, 1)
    few = engine.twice_k >= 64
    assert matmul.build == (engine.twice_cycles if few else engine.solo_cycles)
    assert matmul.tail == engine.latency + 1
    assert cost.build_cycles(machine, max(2, machine.tile), 1) == engine.build_cycles
    assert cost.build_cycles(machine, 1, engine.twice_k // 5 + 1) == engine.solo_cycles
    assert cost.build_cycles(machine, 1, engine.twice_k // 5) == engine.twice_cycles or not engine.twice_k
    assert matmul.bytes == 30 * 13 and max(matmul.chunks) <= machine.tables
    shape = {"rows": 3, "k": 64, "width": 0}
    assert cost.linear(machine, "LINEAR", shape, 1).tail == integer.latency
    assert cost.linear(machine, "HEAD", shape | {"rows": 4}, 1).tail == integer.latency + 3


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_byte_tables(family: str) -> None:
    machine = dataclasses.replace(CI, table_form="byte", family=family)
    engine = TernaryEngine(machine)
    matmul = cost.matmul(machine, {"rows": 1, "k": 5, "q": 0, "acc": 0}, 1)
    assert matmul.build == (engine.twice_cycles if engine.twice_k else engine.solo_cycles)
    slack = {"ecp5": (0,), "xcup": (0, 1)}[family]
    assert engine.latency + 1 - matmul.tail in slack
    for terms in (1, 2, 3, 7, 13, 20, 54, 77):
        assert EntrySum(terms, family).latency - cost.entry_tree(terms, family) in slack


@pytest.mark.parametrize("machine", [CI, NARROW], ids=lambda machine: machine.name)
@pytest.mark.parametrize("kind", ["ternary", *INTEGER_MODELS])
@pytest.mark.parametrize(("positions", "tile"), [((0,), 1), ((9,), 1), ((0, 1, 2, 3, 4), 2)])
def test_counts_are_those_of_the_interpreter(
    machine: MachineConfig, kind: str, positions: tuple[int, ...], tile: int
) -> None:
    """Every count that the timeline keeps, from FETCH and STORE fields alone, equals the machine's."""
    tile = min(tile, machine.tile)
    model = random_model(3, **INTEGER_MODELS.get(kind, {}))
    compiled = compile_program(model, machine)
    entries = [Entry(5 + p, p, 0, i > 0) for i, p in enumerate(positions)]
    memory = np.zeros(compiled.memory.total_bytes, np.uint8)
    memory[: compiled.image.size] = compiled.image
    interpreter = Interpreter(machine, compiled.program, memory)
    timeline = Timeline(machine, DDR3, decoded(compiled.program))
    for head in (False, True):
        interpreter.clear_counters()
        interpreter.run(entries, tile=tile, predicates=1 | head << WANT_HEAD | head << EMIT_LOGITS)
        run = timeline.step(entries, tile, head, logits=head)
        assert run.counters == {name: interpreter.counters[name] for name in run.counters}
        assert run.counters["read_beats"] > 0 and run.cycles > run.counters["read_beats"]


def test_more_work_takes_longer() -> None:
    program = decoded(compile_program(random_model(3), CI).program)
    cycles = [Timeline(CI, DDR3, program).step([Entry(1, p)]).cycles for p in (0, 5, 31)]
    assert cycles == sorted(cycles) and cycles[0] < cycles[2]
    slow = dataclasses.replace(DDR3, latency=200)
    assert Timeline(CI, slow, program).step([Entry(1, 5)]).cycles > cycles[1] + 120
    free = {
        name: Timeline(CI, DDR3, program, [name]).step([Entry(1, 5)]).cycles
        for name in ("memory", "latency", "vector")
    }
    # So small a model waits for latencies, not for the memory's bandwidth.
    assert free["memory"] <= cycles[1] and max(free["latency"], free["vector"]) < cycles[1], free
