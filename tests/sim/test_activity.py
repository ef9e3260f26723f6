"""The activity log: events made by hand, and what a machine on RTL says of itself in both of its logs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.timeline import decoded
from compiler.timeline_layers import ACCOUNT as ESTIMATED
from compiler.timeline_layers import LayerTimeline
from hw.isa import BY_NAME, Kind, Unit, encode
from hw.machine import CI
from sim.activity_account import by_layer, shares
from sim.activity_log import (
    ACCOUNT,
    BUS,
    BUS_STATE,
    COMMAND,
    DONE,
    EVENT,
    FETCH,
    SAMPLE,
    STEP,
    UNITS,
    Activity,
    Sample,
    Span,
)
from sim.backend import Request
from sim.dram import DDR3
from sim.entries import Entry
from sim.errors import SimulationError
from sim.machine_grid import ROUGH
from sim.requests import continued
from sim.rtl_backend import Rtl
from sim.session import RtlSession
from sim.trace_ports import DONE as TRACE_DONE
from tests.models.random_model import random_model

NORM = encode("NORM", stat=3, d=9)


def event(kind: int, cycle: int, length: int = 0, which: int = 0, layer: int = 0, a: int = 0, b: int = 0,
          data: Sequence[int] = ()) -> np.ndarray:  # fmt: skip
    found = np.zeros(1, EVENT)
    found[0] = (cycle, length, kind, which, layer, a, b, [*data, *[0] * (24 - len(data))])
    return found


def command(unit: str, cycle: int, layer: int = 0, more: int = 0) -> np.ndarray:
    data = list(NORM.to_bytes(24, "little"))
    return event(COMMAND, cycle, which=UNITS.index(unit), layer=layer, a=8, b=more, data=data)


def done(unit: str, cycle: int) -> np.ndarray:
    return event(DONE, cycle, which=UNITS.index(unit))


def sample(start: int, end: int, **account: int) -> np.ndarray:
    counts = [account.get(name, 0) for name in ACCOUNT]
    assert sum(counts) == end - start
    return event(SAMPLE, start, end - start, a=7, data=[*counts, 5, 6])


#: Two MATMULs, the second begun behind the first, a NORM beside them, an idle end.
EVENTS = [
    command("matmul", 2, layer=1), command("matmul", 6, layer=2), command("vector", 4, layer=1, more=3),
    done("matmul", 9), done("vector", 11), done("matmul", 15),
    sample(0, 2, overhead=2), sample(2, 4, matmul_starved=1, matmul_active=1), sample(4, 6, matmul_active=2),
    sample(6, 10, vector_only=3, matmul_active=1), sample(10, 12, overhead=1, matmul_starved=1),
    sample(12, 16, matmul_active=4), sample(16, 20, overhead=4),
]  # fmt: skip


def test_commands() -> None:
    found = Activity.of(np.concatenate(EVENTS))
    assert [(one.unit, one.accepted, one.done, one.layer) for one in found.commands] == [
        ("matmul", 2, 9, 1), ("vector", 4, 11, 1), ("matmul", 6, 15, 2),
    ]  # fmt: skip
    assert found.commands[1].tokens == 4 and found.commands[1].first == 8
    assert found.commands[0].decoded() == ("NORM", found.commands[0].decoded()[1])
    assert found.commands[0].decoded()[1]["d"] == 9
    spans = [(span, ahead) for _, span, ahead in found.in_turn("matmul")]
    assert spans == [(Span(2, 10), None), (Span(10, 16), Span(6, 10))]
    assert found.samples[0] == Sample(0, 2, 7, 5, 6, (0, 0, 0, 0, 0, 0, 2))


def test_every_cycle_belongs_to_one_instruction() -> None:
    found = Activity.of(np.concatenate(EVENTS))
    own = {(one.command.unit, one.command.layer): dict(zip(ACCOUNT, one.cycles, strict=True))
           for one in shares(found)}  # fmt: skip
    first, vector, second = own["matmul", 1], own["vector", 1], own["matmul", 2]
    # overhead before any instruction: the first one's; after all: that of the last to finish.
    assert (first["overhead"], first["matmul_starved"], first["matmul_active"]) == (2, 1, 4)
    assert vector == dict.fromkeys(ACCOUNT, 0) | {"vector_only": 3, "overhead": 1}
    assert second == dict.fromkeys(ACCOUNT, 0) | {"matmul_starved": 1, "matmul_active": 4, "overhead": 4}
    layers = by_layer(found)
    assert {layer: sum(row["account"].values()) for layer, row in layers.items()} == {1: 11, 2: 9}
    assert layers[1]["occupied"] == {"matmul": 8, "vector": 8, "attention": 0, "store": 0}
    assert layers[2]["occupied"]["matmul"] == 6
    assert found.account() == {name: sum(row["account"][name] for row in layers.values()) for name in ACCOUNT}


def test_bus_fetches_and_steps() -> None:
    asked = list((77).to_bytes(8, "little"))
    found = Activity.of(np.concatenate([
        event(FETCH, 90, 4, int(Kind.KV), layer=5, a=4096, b=30, data=asked), event(BUS_STATE, 80, 10, 2),
        event(BUS_STATE, 90, 4), event(STEP, 1, 99),
    ]))  # fmt: skip
    (fetch,) = found.fetches
    assert (fetch.asked, fetch.start, fetch.end, fetch.kind) == (77, 90, 94, Kind.KV)
    assert (fetch.layer, fetch.address, fetch.bytes) == (5, 4096, 30)
    assert found.bus == [(2, Span(80, 90)), (0, Span(90, 94))] and found.steps == [Span(1, 100)]


def test_run_that_did_not_end() -> None:
    with pytest.raises(SimulationError, match="unit vector took 1 instructions and finished 0"):
        Activity.of(np.concatenate([one for one in EVENTS if one["cycle"][0] != 11]))


def test_nothing() -> None:
    assert shares(Activity.of(np.zeros(0, EVENT))) == []


def test_simulator_without_a_log(simulator) -> None:
    with pytest.raises(SimulationError, match=r"found no activity log"):
        RtlSession(simulator, 1 << 14, activity=True)


def test_names_are_those_of_the_estimate() -> None:
    assert ESTIMATED == ACCOUNT


@pytest.mark.parametrize("params", [DDR3, ROUGH], ids=["ddr3", "rough"])
def test_on_rtl(params) -> None:
    """A prompt in tiles and two decode steps: against counters, program and the other log of the same run."""
    model = random_model(3, dim=64, hidden=96, layers=3, vocab=70, context=64, tied=False)
    artefact = compile_model(model, b"", CI, vectors=False)
    requests = [Request(continued(range(1, 8)), tile=4), Request([Entry(3, 7)], steps=2)]
    with Rtl(artefact, params, trace=True, activity=True) as rtl:
        for request in requests:
            rtl.run(request)
        counters, session = rtl.counters(), rtl.session
        assert session.trace is not None and session.activity is not None
        trace, found = session.trace.take(), Activity.of(session.activity.take())

    # The bus: no cycle twice, none left out, and each state as often as the machine says.
    for (_, one), (_, other) in pairwise(found.bus):
        assert one.start < one.end <= other.start
    states = {name: sum(span.end - span.start for state, span in found.bus if BUS[state] == name)
              for name in BUS}  # fmt: skip
    assert states == {name: counters[name] for name in BUS}
    assert found.account() == {name: counters[name] for name in ACCOUNT}
    assert sum(found.account().values()) == counters["cycles"]
    own = np.array([one.cycles for one in shares(found)]).sum(0)
    assert dict(zip(ACCOUNT, own.tolist(), strict=True)) == found.account()
    assert sum(one.read_beats for one in found.samples) == counters["read_beats"]
    beats = counters["kv_write_bytes"] + counters["logit_bytes"] + counters["spill_bytes"]
    assert sum(one.write_beats for one in found.samples) * CI.bus_bytes >= beats > 0
    assert all(one.end - one.start <= 64 and one.level <= CI.fifo_words for one in found.samples)

    # Instructions: those of the program, unit by unit in order; begin and end as the other log has them.
    timeline = LayerTimeline(CI, DDR3, decoded(artefact.program))
    timeline.step(requests[0].entries, 4)
    for position in (7, 8):
        timeline.step([Entry(3, position)])
    assert len(found.commands) == counters["instructions"]
    for number, unit in enumerate((Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)):
        mine = [one for one in found.commands if one.unit == unit.name.lower()]
        wanted = [act for act in timeline.acts if BY_NAME[act.name].unit == unit]
        assert [(*one.decoded(), one.layer, one.tokens) for one in mine] == [
            (act.name, act.fields, act.layer, act.tokens) for act in wanted
        ]
        dones = trace["cycle"][trace["kind"] == TRACE_DONE + number]
        assert [one.done for one in mine] == dones.tolist()
        assert all(one.accepted < one.done for one in mine)

    # Fetches: in order, beat by beat, all bytes.
    assert len(found.fetches) <= counters["fetches"] * 4
    for fetch, after in pairwise(found.fetches):
        assert fetch.asked < fetch.start < fetch.end <= after.start and fetch.asked < after.asked
    for kind, name in ((Kind.WEIGHTS, "weight"), (Kind.KV, "kv_read"), (Kind.OTHER, "other")):
        assert sum(one.bytes for one in found.fetches if one.kind == kind) == counters[f"{name}_bytes"]
    assert sum(-(-one.bytes // CI.bus_bytes) for one in found.fetches) == counters["read_beats"]
    assert [span.start < span.end for span in found.steps] == [True] * 3
    assert all(one.end <= other.start for one, other in pairwise(found.steps))
