"""The verb `report`: figures that hang together, one page that needs nothing else, the same JSON from RTL."""

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compiler.compile import compile_model
from hw.machine import CI
from sim.dram import DDR3
from tests.models.random_model import random_model
from trine import phases
from trine.cli import main
from trine.phases import Subject, estimated
from trine.published import PUBLISHED
from trine.report_html import page

OPTIONS = ("--context", "5", "30", "--prompt-length", "9", "--tile", "2", "--chunk", "4")


def report(tmp_path: Path, *argv: object) -> tuple[dict[str, Any], str]:
    """JSON and page."""
    target, figures = tmp_path / "report.html", tmp_path / "report.json"
    assert main(["report", *map(str, argv), "-o", str(target), "--json", str(figures)]) == 0
    return json.loads(figures.read_text()), target.read_text()


def shape(value: Any) -> Any:
    """What a reader of the JSON relies on: members and kinds, numbers alike."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


class Page(HTMLParser):
    """Checks nesting; keeps elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_figures(artefact_path: Path, tmp_path: Path) -> None:
    found, _ = report(tmp_path, artefact_path, *OPTIONS)
    assert [p["name"] for p in found["phases"]] == ["decode at 5", "decode at 30", "prompt of 9"]
    assert found["source"] == "estimate" and found["schema"] == 1
    assert found["machine"]["peak_macs_per_cycle"] == {"ternary": 65, "integer": 16}
    assert found["ceiling"]["value"] == pytest.approx((1 - 30 / 1024) * (1 - 40 / 780))
    for phase in found["phases"]:
        cycles = phase["cycles"]
        assert sum(phase["account"].values()) == pytest.approx(cycles)
        for name, count in phase["account"].items():
            assert sum(row["account"][name] for row in phase["layers"]) == pytest.approx(count)
        assert [row["layer"] for row in phase["layers"]] == [0, 1, 2]
        assert (
            sum(phase["bytes"][kind] for kind in ("weights", "kv", "other", "written"))
            == phase["bytes"]["all"]
        )
        assert (
            sum(phase["macs"][kind] for kind in ("ternary", "integer", "attention")) == phase["macs"]["all"]
        )
        assert phase["intensity"] == pytest.approx(phase["macs"]["all"] / phase["bytes"]["all"])
        assert phase["seconds"] == pytest.approx(cycles / 100e6)
        assert phase["tokens_per_second"] == pytest.approx(phase["tokens"] / phase["seconds"])
        assert phase["macs_per_second"] <= phase["intensity"] * found["machine"]["bytes_per_second"] * 1.2
    short, long, prompt = found["phases"]
    # dim 64, hidden 64, 4 heads of 16 and 2 of K/V, 2 layers; a head of 300 rows
    linear = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 64)
    assert short["macs"] == {"ternary": linear, "integer": 300 * 64, "attention": 2 * 2 * 64 * 5,
                             "all": linear + 300 * 64 + 1280}  # fmt: skip
    assert long["macs"]["attention"] == 6 * short["macs"]["attention"]
    assert prompt["macs"]["ternary"] == 9 * linear and prompt["macs"]["attention"] == 2 * 2 * 64 * 45
    assert long["bytes"]["kv"] * 4 == short["bytes"]["kv"] * 29


def test_rtl_has_the_same_form_and_exact_figures(artefact_path: Path, tmp_path: Path) -> None:
    guess, _ = report(tmp_path, artefact_path, *OPTIONS)
    truth, text = report(tmp_path, artefact_path, *OPTIONS, "--on", "rtl")
    for mine, its in zip(guess["phases"], truth["phases"], strict=True):
        for member in ("name", "kind", "tokens", "context", "tile", "bytes", "macs", "intensity"):
            assert mine[member] == its[member], member
        assert mine["account"]["matmul_active"] == its["account"]["matmul_active"]
        # The estimate counts the steps of a part, the counter the cycle in which it is taken.
        assert mine["account"]["attention_active"] >= its["account"]["attention_active"]
        assert mine["cycles"] == pytest.approx(its["cycles"], rel=0.05)
        assert sum(its["account"].values()) == sum(its["bus"].values()) == its["cycles"]
        for name, count in its["account"].items():
            assert sum(row["account"][name] for row in its["layers"]) == count
        for unit, cycles in its["layers"][1]["occupied"].items():
            assert mine["layers"][1]["occupied"][unit] == pytest.approx(cycles, rel=0.15, abs=60), unit
        its["bus"] = mine["bus"]
    assert shape(guess) == shape(truth)
    assert truth["ceiling"] == {"value": pytest.approx(0.9214, abs=0.005), "how": "measured"}
    words = " ".join(" ".join(Page(text).words).split())
    assert "RTL: exact cycle counts" in words and "ESTIMATE" not in words and "bus_wait" in words


def test_page(artefact_path: Path, tmp_path: Path) -> None:
    found, text = report(tmp_path, artefact_path, *OPTIONS)
    parsed = Page(text)
    words = " ".join(" ".join(parsed.words).split())
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in parsed.elements}
    assert not any({"src", "href", "onclick"} & set(attrs) for _, attrs in parsed.elements)
    assert "http" not in text.replace("<!DOCTYPE html>", "") and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "ESTIMATE" in words and found["artefact"]["sha256"] in words
    for phase in found["phases"]:
        assert f"{phase['cycles']:,.0f}" in words and f"{phase['bytes']['weights']:,}" in words
    for system in PUBLISHED:
        row = re.search(f"<tr><td>{system.name}.*?</tr>", text)
        assert row and "as its paper states" in row[0]
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(charts) == 1 + len(found["phases"]) + 2
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "nan" not in chart and "inf" not in chart


def test_stacked_columns_are_to_scale(artefact_path: Path, tmp_path: Path) -> None:
    """Heights of a layer's parts are in proportion to its cycles."""
    found, text = report(tmp_path, artefact_path, *OPTIONS)
    chart = re.findall(r"<svg.*?</svg>", text, re.DOTALL)[1]
    layers = found["phases"][0]["layers"]
    heights = [float(rect.attrib["height"]) for rect in ElementTree.fromstring(chart).iter("rect")]
    values = [count for row in layers for count in row["account"].values()]
    scale = max(sum(row["account"].values()) for row in layers) / 190
    assert heights == [pytest.approx(value / scale, abs=0.01) for value in values]


def test_markup_in_names(artefact_path: Path, tmp_path: Path) -> None:
    found, _ = report(tmp_path, artefact_path, *OPTIONS)
    text = page({**found, "model": "<script>&x"})
    assert "<script>" not in text and "&lt;script&gt;&amp;x" in text


def test_deep_model_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six layers from three and five: bytes and products exactly, cycles nearly."""
    model = random_model(1, dim=32, hidden=32, layers=6, vocab=40, context=32)
    program = compile_model(model, b"", CI, vectors=False).program
    subject = Subject(model.config, CI, DDR3, program, [4], 12, 2, 12)
    whole = estimated(subject)[-1]
    monkeypatch.setattr(phases, "WALKED", 0)
    found = estimated(subject)[-1]
    assert whole["extrapolated_from_layers"] == 0 and found["extrapolated_from_layers"] == 5
    assert found["bytes"] == whole["bytes"] and found["macs"] == whole["macs"]
    assert found["cycles"] == pytest.approx(whole["cycles"], rel=0.02)
    assert sum(found["account"].values()) == pytest.approx(found["cycles"])
    assert found["layers"] == [] and len(whole["layers"]) == 7


def test_ddr4_is_taken_as_the_nearest_plain_model(artefact_path: Path, tmp_path: Path) -> None:
    found, text = report(tmp_path, artefact_path, *OPTIONS, "--dram", "ddr4-2400")
    plain, other = report(tmp_path, artefact_path, *OPTIONS)
    assert found["dram"]["model"] == "Ddr4Params" and found["dram"]["tRCD"] == 17
    # The port is narrower than the memory: no refresh stops it (tests/sim/test_ddr4.py measures it).
    assert found["ceiling"] == {"value": 1, "how": "computed"} and plain["ceiling"]["value"] < 1
    assert found["phases"][0]["cycles"] != plain["phases"][0]["cycles"]
    assert "banks and rows" in text and "banks and rows" not in other


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--context", "5", "49"], "--context: wanted 1 to 48"),
        (["--prompt-length", "0"], "--prompt-length: wanted 1 to 48"),
        (["--tile", "5"], "--tile: wanted 1 to 4"),
        (["--tile", "0"], "--tile: wanted 1 to 4"),
        (["--chunk", "129"], "--chunk: wanted 1 to 128"),
        (["--dram", "latency=x"], "--dram: wanted NAME=NUMBER"),
        (["--memory-seed", "-1"], "--memory-seed"),
        (["-o", "nowhere/report.html"], "there is no folder"),
    ],
)
def test_refused(artefact_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(artefact_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(tmp_path / "none.trine")]) == 2
    assert "none.trine" in capsys.readouterr().err


def test_artefact_is_not_overwritten(artefact_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = artefact_path.read_bytes()
    assert main(["report", str(artefact_path), "-o", str(artefact_path)]) == 2
    assert "it is the artefact" in capsys.readouterr().err
    assert artefact_path.read_bytes() == before


def test_of_a_shape(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = ("--shape", "bitnet-0.73b", "--layers", "2", "--machine", "kv260", "--context", "9")
    target, data = tmp_path / "x.html", tmp_path / "x.json"
    options = ("--prompt-length", "3", "-o", str(target), "--json", str(data))
    assert main(["report", *argv, *options]) == 0
    found = json.loads(data.read_text())
    assert found["artefact"] is None and found["model"] == "bitnet-0.73b (2 of 24 layers)"
    assert "a shape, without weights" in target.read_text()
    assert main(["report", *argv, "--on", "rtl"]) == 2
    assert "wanted an artefact" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "wanted ARTEFACT or --shape" in capsys.readouterr().err
