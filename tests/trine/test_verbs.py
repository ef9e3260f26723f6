"""The verbs on good input: what they print, write and return."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from compiler.assembler import assemble
from hw.artefact import VECTORS, Artefact
from hw.machine import CI
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from trine.cli import VERBS, main
from trine.session import useful_bytes

RUN_KEYS = {"backend", "machine", "prompt_tokens", "tokens", "text", "cycles", "bytes", "bus", "wall_seconds",
            "simulated_cycles_per_second"}  # fmt: skip


def run(capsys, tmp_path: Path, *argv: object) -> tuple[int, str, dict]:
    """Exit code, standard output and JSON object of a verb."""
    target = tmp_path / "result.json"
    code = main([*map(str, argv), "--json", str(target)])
    return code, capsys.readouterr().out, json.loads(target.read_text())


def test_run_on_golden_and_isa_give_the_same_json(
    artefact_path: Path, tokenizer: Tokenizer, tmp_path: Path, capsys
):
    results = {}
    for on in ("golden", "isa"):
        argv = ("run", artefact_path, "--on", on, "--prompt", "a dog", "--tokens", 6)
        code, out, results[on] = run(capsys, tmp_path, *argv)
        assert code == 0
        assert results[on].keys() >= RUN_KEYS
        assert results[on]["prompt_tokens"] == [1, *tokenizer.encode("a dog")]
        assert results[on]["text"] == tokenizer.decode(results[on]["tokens"])
        assert out.startswith("a dog")
        assert results[on]["machine"] == "ci"
    assert results["golden"]["tokens"] == results["isa"]["tokens"]
    assert results["isa"]["bytes"]["weights"] > 0
    assert results["golden"]["cycles"]["decode"] is None


def test_rtl_run_and_check(artefact_path: Path, tmp_path: Path, capsys):
    code, _, result = run(capsys, tmp_path, "check", artefact_path, "--prompt", "a dog", "--tokens", 5)
    assert (code, result["exact"], result["first_difference"]) == (0, True, None)
    assert result["vectors"] == {"tokens": 8, "first_difference": None}
    code, _, alone = run(
        capsys, tmp_path, "run", artefact_path, "--on", "rtl", "--prompt", "a dog", "--tokens", 5
    )
    assert alone["tokens"] == result["tokens"]
    assert alone["cycles"]["prefill"] + alone["cycles"]["decode"] == sum(alone["cycles"]["each"])
    assert 0 < alone["bus"]["utilisation"] <= alone["bus"]["ceiling"] <= 1
    assert alone["bus"]["bytes_per_cycle"] == CI.bus_bytes
    assert alone["simulated_cycles_per_second"] > 0
    assert alone["counters"]["logit_bytes"] == 0, "a plain run writes no logits"


def test_check_needs_no_vectors(artefact_path: Path, tmp_path: Path, capsys):
    bare = tmp_path / "bare.trine"
    with zipfile.ZipFile(artefact_path) as old, zipfile.ZipFile(bare, "w") as new:
        for name in old.namelist():
            if name != VECTORS:
                new.writestr(name, old.read(name))
    code, out, result = run(capsys, tmp_path, "check", bare, "--tokens", 3, "--on", "golden,isa")
    assert (code, result["exact"], result["vectors"]) == (0, True, None)
    assert out.startswith("exact") and "all exact counters" not in out, "golden counts nothing"


def test_check_says_different_where_the_tape_was_changed(artefact_path: Path, tmp_path: Path, capsys):
    """One weight byte of the image changed (with a valid hash): golden and interpreter must part."""
    artefact = Artefact.read(artefact_path)
    image = bytearray(artefact.image)
    at = artefact.memory_map["regions"]["tape_layers"]["start"] + 1500
    image[at] = (image[at] + 1) % 243
    other = tmp_path / "other.trine"
    dataclasses.replace(artefact, image=bytes(image)).write(other)
    code, out, result = run(capsys, tmp_path, "check", other, "--tokens", 3, "--on", "golden,isa")
    assert (code, result["exact"]) == (1, False)
    first = result["first_difference"]
    assert first["layer"] is not None or first["what"] == "logit"
    assert "DIFFERENT" in out


def test_asm_and_disasm_are_inverse(artefact_path: Path, tmp_path: Path, capsys):
    code, text, _ = run(capsys, tmp_path, "disasm", artefact_path)
    assert code == 0
    source, binary, again = tmp_path / "p.asm", tmp_path / "p.bin", tmp_path / "again.trine"
    source.write_text(text)
    assert main(["asm", str(source), "-o", str(binary)]) == 0
    assert binary.read_bytes() == Artefact.read(artefact_path).program == assemble(text)
    assert main(["asm", str(source), "-o", str(again), "--into", str(artefact_path)]) == 0
    assert Artefact.read(again).program == binary.read_bytes()


def test_inspect_shows_both_kinds(root: Path, artefact_path: Path, tmp_path: Path, capsys):
    _, _, artefact = run(capsys, tmp_path, "inspect", artefact_path)
    assert artefact["artefact"]["machine"] == "ci"
    _, _, shipped = run(capsys, tmp_path, "inspect", root / "models" / "shipped")
    assert shipped["weights"]["ternary"] > 1_000_000
    assert shipped["fit"]["ci"] == "yes"


def test_compile_shipped_model(root: Path, tmp_path: Path, capsys):
    out = tmp_path / "s.trine"
    code, _, result = run(capsys, tmp_path, "compile", root / "models" / "shipped", "-o", out)
    assert code == 0 and out.exists()
    assert result["model"]["name"] == "trine-stories-1m"


@pytest.mark.shared
def test_compile_ak42_and_reference_ids(shared: Path, tmp_path: Path, capsys):
    """The 24 greedy ids that a float NumPy program gave (FACTS.md), from the interpreter."""
    out, points = tmp_path / "m.trine", shared / "checkpoints"
    argv = (
        "compile",
        points / "bit_model_1M.bin",
        "--tokenizer",
        points / "tok512.bin",
        "--machine",
        "ci",
        "-o",
        out,
    )
    assert main([*map(str, argv)]) == 0
    code, _, result = run(
        capsys, tmp_path, "run", out, "--on", "isa", "--prompt", "Once upon a time", "--tokens", 19
    )
    wanted = "1 403 407 261 378 432 383 286 261 376 298 315 421 395 317 426 338 401 396 267 337 335 311 267"
    assert code == 0
    assert result["prompt_tokens"] + result["tokens"] == [int(i) for i in wanted.split()]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_doctor_is_content_here(tmp_path: Path, capsys):
    code, out, result = run(capsys, tmp_path, "doctor")
    assert (code, result["missing"]) == (0, [])
    assert "verilator" in out


def test_useful_bytes_by_hand():
    config = ModelConfig(name="x", dim=12, hidden=20, layers=2, heads=2, kv_heads=1, vocab=7, context=8)
    # q 12 rows of 3 bytes, k and v 6 rows of 3, o 12 of 3, gate and up 20 of 3, down 12 of 4;
    # head 7 x (12 + 4)
    weights = 2 * (36 + 18 + 18 + 36 + 60 + 60 + 48) + 112
    assert useful_bytes(config, [[0]]) == weights
    assert useful_bytes(config, [[3], [4]]) == 2 * weights + 7 * 2 * (2 * 6 + 8)
    assert useful_bytes(config, [[3, 4]]) == weights + 7 * 2 * (2 * 6 + 8), "a tile reads weights once"
