"""The verb `estimate`: figures that hang together, both kinds of file, and what it refuses."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from compiler.plan import plan_program
from hw.artefact import Artefact
from hw.machine import CI, KV260
from models.seeded import SeededModel
from models.shapes import SHAPES
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


def test_shape(tmp_path: Path) -> None:
    """Sizes alone: as from the program of the same layers with weights, and no file."""
    options = ("--machine", "kv260", "--context", 20, "--prompt-tokens", 9)
    found = run(tmp_path, "--shape", "bitnet-0.73b", "--layers", 1, *options)
    assert (found["model"], found["machine"]) == ("bitnet-0.73b (1 of 24 layers)", "kv260")
    # docs/estimate.md: 906926 cycles of a layer at 64, DDR4
    assert found["decode"]["cycles_per_token"] == pytest.approx(906926, rel=0.05)
    more = run(tmp_path, "--shape", "bitnet-0.73b", "--layers", 3, *options)
    grown = more["decode"]["bytes"]["weight_bytes"] - found["decode"]["bytes"]["weight_bytes"]
    assert grown == pytest.approx(2 * (4 * 1536 * 1536 + 3 * 1536 * 4096) / 5, rel=0.01)
    assert len(run(tmp_path, "--shape", "bitnet-0.73b", *options)["memory"]) > 3


@pytest.mark.parametrize("layers", [1, None])
def test_outline_plans_the_program_of_the_weights(layers: int | None) -> None:
    """With the same grids, bit for bit: planning looks at no weight."""
    model = SeededModel(SHAPES["bitnet-0.73b"], 3, layers)
    outline = SHAPES["bitnet-0.73b"].outline(layers)
    assert outline.form("head") == model.form("head") and outline.form("q") == model.form("q")
    outline.grids.update(model.grids)
    assert plan_program(outline, KV260) == plan_program(model, KV260)
    assert not {"embedding", "head"} & vars(model).keys(), "a weight was drawn"


#: What estimating must not load: seconds each.
SLOW = ("torch", "amaranth", "cocotb", "cocotb_tools", "tokenizers", "numpy", "models.quantised")
LOADED = (
    "import sys; from trine.cli import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
)


def loaded(*argv: object) -> set[str]:
    """Modules that the command has loaded at its end, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, argv)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_no_torch_for_artefact_or_shape(artefact_path: Path) -> None:
    shape = ("--shape", "bitnet-0.73b", "--machine", "kv260", "--layers", 1)
    for argv in ((artefact_path,), shape):
        found = loaded("estimate", *argv)
        assert "trine.estimate" in found and not found & set(SLOW)


def test_a_verb_loads_no_other(root: Path) -> None:
    assert {"trine.asm", "torch"} <= loaded("asm", root / "docs" / "example.asm", "-o", "/dev/null")
    found = loaded("estimate", "--shape", "bitnet-0.73b", "--machine", "kv260", "--layers", 1)
    assert not {"trine.run", "trine.asm", "trine.session"} & found


def test_weights_and_image_are_not_read(artefact_path: Path, tmp_path: Path, capsys) -> None:
    """An estimate of an artefact whose image is damaged is as before; a run refuses it."""
    with zipfile.ZipFile(artefact_path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    broken = tmp_path / "broken.trine"
    with zipfile.ZipFile(broken, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, bytes(len(data)) if name == "image.bin" else data)
    assert run(tmp_path, broken)["decode"] == run(tmp_path, artefact_path)["decode"]
    assert main(["run", str(broken), "--on", "isa", "--tokens", "1"]) == 2
    assert "image.bin" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["program.bin", "manifest.json", "image.bin"])
def test_what_is_read_is_verified(name: str, artefact_path: Path, tmp_path: Path, capsys) -> None:
    """Another program, a manifest that is no JSON, an image of another size."""
    with zipfile.ZipFile(artefact_path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    members[name] = members[name][:-24]
    broken = tmp_path / "broken.trine"
    with zipfile.ZipFile(broken, "w") as archive:
        for one, data in members.items():
            archive.writestr(one, data)
    assert main(["estimate", str(broken)]) == 2
    said = capsys.readouterr().err
    assert "wanted" in said and "Traceback" not in said and "broken.trine" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "wanted FILE or --shape"),
        (["x.trine", "--shape", "bitnet-0.73b"], "wanted no FILE beside it"),
        (["x.trine", "--layers", "1"], "--layers: wanted --shape"),
        (["--shape", "bitnet-0.73b", "--layers", "0", "--machine", "kv260"], "1 to 24 layers"),
        (["--shape", "bitnet-0.73b"], "'ci'"),
    ],
)
def test_shape_refused(argv: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["estimate", *argv]) == 2
    assert words in capsys.readouterr().err


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
