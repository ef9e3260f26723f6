"""The verb `estimate`: figures that hang together, both kinds of file, and what it refuses."""

import json
from pathlib import Path

import pytest

from hw.artefact import Artefact
from hw.machine import CI
from sim.backend import Request
from sim.dram import DDR3
from sim.entries import Entry
from sim.rtl_backend import Rtl
from trine.cli import main


def run(tmp_path: Path, *argv: object) -> dict:
    target = tmp_path / "estimate.json"
    assert main(["estimate", *map(str, argv), "--json", str(target)]) == 0
    return json.loads(target.read_text())


def test_artefact(artefact_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = run(tmp_path, artefact_path, "--context", 20, "--prompt-tokens", 9, "--tile", 2, "--chunk", 4)
    decode, prefill, memory = found["decode"], found["prefill"], found["memory"]
    out = capsys.readouterr().out
    assert "what binds" in out and f"{decode['cycles_per_token']:.0f}" in out
    assert decode["tokens_per_second"] == pytest.approx(100e6 / decode["cycles_per_token"])
    assert decode["cycles_per_token"] > sum(decode["bytes"].values()) / CI.bus_bytes
    assert decode["binds"] == min(decode["cycles_if_free"], key=decode["cycles_if_free"].get)
    assert max(decode["cycles_if_free"].values()) <= decode["cycles_per_token"] * 1.001
    assert prefill["seconds_to_first_token"] == pytest.approx(prefill["cycles"] / 100e6)
    assert prefill["cycles"] < 9 * decode["cycles_per_token"]
    artefact = Artefact.read(artefact_path)
    assert memory["48"]["all"] <= artefact.memory_map["total_bytes"] <= memory["48"]["all"] + 64 * 16
    assert memory["48"]["kv"] == 48 * memory["20"]["kv"] // 20


def test_rtl_agrees(artefact_path: Path, tmp_path: Path) -> None:
    """Four tokens of a model of this size: within 2 per cent of the counter `cycles`."""
    cycles = sum(
        run(tmp_path, artefact_path, "--context", n)["decode"]["cycles_per_token"] for n in range(1, 5)
    )
    with Rtl(Artefact.read(artefact_path), DDR3) as rtl:
        rtl.run(Request([Entry(1, 0)], steps=4))
        assert cycles == pytest.approx(rtl.counters()["cycles"], rel=0.02)


def test_checkpoint_and_context(root: Path, tmp_path: Path) -> None:
    shipped = root / "models" / "shipped"
    short, long = (run(tmp_path, shipped, "--context", n, "--prompt-tokens", 8) for n in (29, 400))
    # docs/measurements.md: 55681.5 cycles a token at positions 5 to 51 on RTL
    assert short["decode"]["cycles_per_token"] == pytest.approx(55681.5, rel=0.02)
    assert long["decode"]["bytes"]["kv_read_bytes"] == short["decode"]["bytes"]["kv_read_bytes"] * 399 // 28
    assert short["decode"]["binds"] == "memory"
    slow = run(tmp_path, shipped, "--context", 29, "--prompt-tokens", 8, "--dram", "stall_r=512")
    assert slow["decode"]["cycles_per_token"] > 1.5 * short["decode"]["cycles_per_token"]
    narrow = run(tmp_path, shipped, "--context", 29, "--prompt-tokens", 8, "--machine", "narrow")
    assert narrow["machine"] == "narrow"
    assert narrow["decode"]["cycles_per_token"] > 1.8 * short["decode"]["cycles_per_token"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--context", "0"], "--context: wanted 1 to 48"),
        (["--context", "49"], "--context: wanted 1 to 48"),
        (["--prompt-tokens", "100"], "--prompt-tokens: wanted 1 to 48"),
        (["--tile", "5"], "--tile: wanted 1 to 4"),
        (["--chunk", "129"], "--chunk: wanted 1 to 128"),
        (["--dram", "latency=x"], "--dram: wanted NAME=NUMBER"),
        (["--machine", "narrow"], "narrow"),
    ],
)
def test_refused(artefact_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["estimate", str(artefact_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["estimate", str(tmp_path / "none.bin")]) == 2
    assert "none.bin" in capsys.readouterr().err
