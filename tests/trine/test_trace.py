"""The verb `trace`: a Perfetto file of a run on RTL whose intervals agree with the machine's counters."""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hw.machine import CI
from trine.cli import main
from trine.perfetto import ROWS

ACCOUNT = ("matmul_active", "attention_active", "matmul_starved", "attention_starved", "vector_starved",
           "vector_only", "overhead")  # fmt: skip
UNITS = ("matmul", "vector", "attention", "store")
NS = 1000 / CI.clock_mhz


def traced(tmp_path: Path, *argv: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file's content and the verb's JSON."""
    target, summary = tmp_path / "out.json", tmp_path / "summary.json"
    assert main(["trace", *map(str, argv), "-o", str(target), "--json", str(summary)]) == 0
    return json.loads(target.read_text()), json.loads(summary.read_text())


def rows(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Slices by row, as they stand in the file."""
    names = {e["tid"]: e["args"]["name"] for e in content["traceEvents"] if e["name"] == "thread_name"}
    assert tuple(names[tid] for tid in sorted(names)) == ROWS
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in content["traceEvents"]:
        assert event["ph"] in "MXC" and event["pid"] == 1
        if event["ph"] == "X":
            found[names[event["tid"]]].append(event)
    return found


@pytest.fixture(scope="module", params=["prompt", "context"])
def run(
    request: pytest.FixtureRequest, artefact_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prompt in tiles and two tokens; two tokens at a context."""
    prompt = ["--prompt", "once upon a time there was", "--chunk", "8", "--tile", "2"]
    options = prompt if request.param == "prompt" else ["--context", "20"]
    return traced(tmp_path_factory.mktemp("trace"), artefact_path, *options, "--tokens", 2)


def test_intervals(run: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """In no row do two slices overlap; their place in time is that of their cycles."""
    content, summary = run
    assert content["displayTimeUnit"] == "ns"
    for name, slices in rows(content).items():
        ordered = sorted(slices, key=lambda event: event["args"]["cycle"])
        for event in ordered:
            assert event["args"]["cycles"] > 0
            assert event["ts"] * 1000 == pytest.approx(event["args"]["cycle"] * NS)
            assert event["dur"] * 1000 == pytest.approx(event["args"]["cycles"] * NS)
        for one, after in pairwise(ordered):
            assert one["args"]["cycle"] + one["args"]["cycles"] <= after["args"]["cycle"], name
        assert summary["slices"][name] == len(slices)
    assert summary["events"] == len(content["traceEvents"])


def test_sums_are_the_counters(run: tuple[dict[str, Any], dict[str, Any]]) -> None:
    content, summary = run
    counters, found = summary["counters"], rows(content)
    assert content["otherData"]["counters"] == counters
    bus: Counter[str] = Counter()
    for event in found["bus"]:
        bus[event["name"]] += event["args"]["cycles"]
    states = {"busy": "read_beats", "full": "bus_full", "wait": "bus_wait", "idle": "bus_idle"}
    assert {name: bus[state] for state, name in states.items()} == {n: counters[n] for n in states.values()}
    instructions = [event for unit in UNITS for event in found[unit]]
    assert len(instructions) == counters["instructions"]
    for name in ACCOUNT:
        assert sum(event["args"].get(f"{name}_cycles", 0) for event in instructions) == counters[name], name
    for event in found["matmul"]:
        args = event["args"]
        assert args.get("matmul_active_cycles", 0) + args.get("matmul_starved_cycles", 0) <= args["cycles"]
    sizes: Counter[str] = Counter()
    for event in found["fetch"]:
        sizes[event["name"]] += event["args"]["bytes"]
    assert sizes == {"weights": counters["weight_bytes"], "kv": counters["kv_read_bytes"],
                     "other": counters["other_bytes"]}  # fmt: skip
    assert len(found["runs of the program"]) == counters["steps"]


def test_names_and_operands(run: tuple[dict[str, Any], dict[str, Any]]) -> None:
    content, summary = run
    found = rows(content)
    layers = max(event["args"]["layer"] for event in found["matmul"])
    assert layers == 2, "the head comes after two layers"
    names = Counter(event["name"] for event in found["attention"])
    assert set(names) == {"ATTEND KEY", "ATTEND VALUE"} and names["ATTEND KEY"] == names["ATTEND VALUE"]
    head = [event for event in found["matmul"] if event["name"] == "HEAD 300 x 64"]
    assert len(head) == 2 and head[0]["args"]["instruction"].startswith("HEAD rows=300 k=64")
    assert {"STORE KEY", "STORE VALUE"} <= {event["name"] for event in found["store"]}
    for event in (one for unit in UNITS for one in found[unit]):
        args = event["args"]
        assert args["accepted_in_cycle"] <= args["cycle"]
        assert args["done_in_cycle"] == args["cycle"] + args["cycles"] - 1
    counters = [event for event in content["traceEvents"] if event["ph"] == "C"]
    levels = [event["args"]["words"] for event in counters if event["name"] == "tape FIFO, words"]
    assert 0 <= min(levels) < max(levels) <= CI.fifo_words
    rates = [event["args"]["bytes"] for event in counters if event["name"] == "read, bytes a cycle"]
    assert 0 < max(rates) <= CI.bus_bytes and len(rates) == pytest.approx(summary["cycles"] / 64, rel=0.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--context", "20", "--prompt", "a"], "--context: wanted no --prompt beside it"),
        (["--context", "0"], "--context: wanted 1 to 48"),
        (["--context", "48", "--tokens", "2"], "--context: wanted 1 to 47"),
        (["--dram", "latency=x"], "--dram: wanted NAME=NUMBER"),
        (["-o", "nowhere/out.json"], "there is no folder"),
    ],
)
def test_refused(artefact_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["trace", str(artefact_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_artefact_is_not_overwritten(artefact_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = artefact_path.read_bytes()
    assert main(["trace", str(artefact_path), "-o", str(artefact_path)]) == 2
    assert "it is the artefact" in capsys.readouterr().err
    assert artefact_path.read_bytes() == before
