"""Hostile (or tired) checkpoints, values and targets: what the command line makes of them."""

import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import trine.run as run_verb
from hw.artefact import Artefact
from models.config import ModelConfig
from models.quantised import QuantisedModel
from models.ternary_file import FORMAT, pack_codes
from models.tokenizer import Tokenizer
from sim.backends import Golden, Isa
from sim.requests import one_token
from sim.rtl_backend import Rtl
from tests.models.random_model import random_model
from tests.trine.test_errors import expect_error
from trine.cli import main
from trine.compile import file_name
from trine.output import require_folder, write_file
from trine.session import note_saturations


def write_checkpoint(folder: Path, model: QuantisedModel, tokenizer: Tokenizer, scale: float = 1.0,
                     **config: Any) -> Path:  # fmt: skip
    """The model as a Trine checkpoint with some configuration fields changed."""
    tensors = {"embedding": model.embedding, "final_gain": model.final_gain}
    for index, layer in enumerate(model.layers):
        assert layer.attention_gain is not None and layer.mlp_gain is not None
        tensors[f"layers.{index}.attention_gain"] = layer.attention_gain
        tensors[f"layers.{index}.mlp_gain"] = layer.mlp_gain
        for name, linear in layer.matrices():
            tensors[f"layers.{index}.{name}.codes"] = pack_codes(linear.codes)
            tensors[f"layers.{index}.{name}.scale"] = torch.tensor([linear.scale * scale])
    text = config.pop("text", None) or json.dumps({**model.config.to_json(), **config})
    path = folder / "model.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"format": FORMAT, "config": text})
    (folder / "tokenizer.json").write_bytes(tokenizer.to_bytes()[8:])
    return path


@pytest.fixture(scope="module")
def small(tokenizer: Tokenizer) -> QuantisedModel:
    return random_model(3, dim=64, hidden=64, layers=1, heads=4, vocab=tokenizer.vocab_size, context=32)


CONFIGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "gain neither true nor false": ({"block_gain": "no"}, ("block_gain", "true or false")),
    "eps of nothing": ({"norm_eps": 1e-60}, ("norm_eps",)),
    "eps beyond binary32": ({"final_eps": 1e60}, ("final_eps",)),
    "name no text": ({"name": 3}, ("name",)),
    "name of control characters": ({"name": "a\nb\ud800"}, ("name",)),
    "deep JSON": ({"text": "[" * 100_000}, ("config",)),
    "a list": ({"text": "[]"}, ("config",)),
    "context of 17 GB": ({"context": 2**31 - 1}, ("context", "max_context")),
    "huge scale": ({"scale": 1e38}, ("wanted", "found")),
    "other eos": ({"eos": 9}, ("EOS 9", "EOS 2", "--tokenizer")),
    "other bos": ({"bos": 0}, ("BOS 0", "BOS 1", "--tokenizer")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_checkpoint_configurations(
    name: str, small: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys
):
    config, wanted = CONFIGS[name]
    path = write_checkpoint(tmp_path, small, tokenizer, **config)
    expect_error(capsys, ["compile", path, "-o", tmp_path / "x.trine"], *wanted)
    assert not (tmp_path / "x.trine").exists()


def test_values_that_overflow(small: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys):
    huge = replace(small, embedding=small.embedding * 1e37)
    for scale in (1.0, 1e36):
        path = write_checkpoint(tmp_path, huge, tokenizer, scale=scale)
        expect_error(capsys, ["compile", path, "-o", tmp_path / "x.trine"], "diverges", "wanted", "found")


def test_large_embedding_compiles(small: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys):
    """Default grids saturate on it: they are raised while the calibration text is written."""
    path = write_checkpoint(tmp_path, replace(small, embedding=small.embedding * 200), tokenizer)
    out = tmp_path / "x.trine"
    for extra in ([], ["--calibrate", str(tmp_path / "tokenizer.json")]):
        assert main(["compile", str(path), "-o", str(out), *extra]) == 0
    assert main(["check", str(out), "--on", "golden,isa", "--tokens", "2"]) == 0
    assert "exact" in capsys.readouterr().out


def test_empty_calibration_text(small: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys):
    path, text = write_checkpoint(tmp_path, small, tokenizer), tmp_path / "text"
    for content in ("", " \n"):
        text.write_text(content)
        argv = ["compile", path, "-o", tmp_path / "x.trine", "--calibrate", text]
        expect_error(capsys, argv, "calibration text", "found none")


VALUES: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "bytes that are not UTF-8": (["--prompt", "a\udcff"], ("--prompt", "UTF-8")),
    "negative seed": (["--memory-seed", -1], ("--memory-seed", "-1")),
    "seed of 65 bits": (["--memory-seed", 2**64], ("--memory-seed",)),
    "superscript digit": (["--dram", "latency=²"], ("--dram", "latency")),
    "two signs": (["--dram", "latency=--5"], ("--dram", "latency=--5")),
    "negative": (["--dram", "latency=-5"], ("latency", "-5")),
    "endless digits": (["--dram", "latency=" + "1" * 5000], ("--dram", "9 digits")),
    "twice": (["--dram", "latency=5,latency=6"], ("--dram", "once")),
    "no value": (["--dram", "latency"], ("--dram",)),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_values(verb: str, name: str, artefact_path: Path, capsys):
    argv, wanted = VALUES[name]
    expect_error(capsys, [verb, artefact_path, "--tokens", 1, *argv], *wanted)


@pytest.mark.parametrize("names", ["rtl,rtl", "golden,golden", "golden", "", "isa,fpga", "golden,isa,"])
def test_backend_lists(names: str, artefact_path: Path, capsys):
    expect_error(
        capsys, ["check", artefact_path, "--tokens", 1, "--on", names], "two backends", "golden, isa"
    )


PROGRAMS = {
    "": "found 0",
    "# nothing\n": "found 0",
    "LOOP count=1\nNEXT\n": "END",
    "END predicate=1\n": "END",
}


@pytest.mark.parametrize("text", PROGRAMS)
def test_asm_refuses(text: str, artefact_path: Path, tmp_path: Path, capsys):
    source, out = tmp_path / "p.asm", tmp_path / "out"
    source.write_text(text)
    for into in ([], ["--into", artefact_path]):
        expect_error(capsys, ["asm", source, "-o", out, *into], "p.asm", PROGRAMS[text])
    source.write_text("END\n" * 257)
    expect_error(capsys, ["asm", source, "-o", out, "--into", artefact_path], "256", "257", "program_words")
    assert not out.exists()


# --- endings ----------------------------------------------------------------------------------------------


def test_defects_are_not_differences(artefact_path: Path, monkeypatch, capsys):
    def defect(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(run_verb, "generate", defect)
    assert main(["run", str(artefact_path), "--tokens", "1"]) == 70
    text = capsys.readouterr().err
    assert "Traceback" in text and "ZeroDivisionError: a defect" in text
    assert "report" in text.splitlines()[-1]


def test_saturations_are_said(capsys):
    for counters, said in (({}, False), ({"score_saturations": 0}, False), ({"score_saturations": 3}, True)):
        note_saturations({}, counters)
        captured = capsys.readouterr()
        assert ("3 attention scores saturated" in captured.err) == said
        assert captured.out == ""


def test_run_and_check_say_saturations(artefact_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(Isa, "counters", lambda self: dict(self.machine.counters) | {"score_saturations": 7})
    for argv in (["run", "--on", "isa"], ["check", "--on", "isa,golden"]):
        assert main([argv[0], str(artefact_path), *argv[1:], "--tokens", "1"]) == 0
        assert "7 attention scores saturated" in capsys.readouterr().err


@pytest.mark.parametrize("backend", [Golden, Isa, Rtl])
def test_backends_refuse_positions_and_tokens(backend: type, artefact_path: Path):
    artefact = Artefact.read(artefact_path)
    if backend is Rtl:  # refused before anything is simulated
        one = Rtl.__new__(Rtl)
        one.map, one.machine, one.heads = artefact.memory_map, artefact.machine, 1
    else:
        one = backend(artefact)
    for token, position in ((1, -1), (1, 48), (-1, 0), (300, 0)):
        with pytest.raises(ValueError, match="wanted 0 to"):
            one.run(one_token(token, position))


# --- targets ----------------------------------------------------------------------------------------------


def test_fifo_is_written_in_place(artefact_path: Path, tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writers: list[Callable[[], object]] = [
        lambda: write_file(fifo, b"data"),
        lambda: Artefact.read(artefact_path).write(fifo),
    ]
    for writer in writers:
        require_folder(fifo)
        thread = threading.Thread(target=writer)
        thread.start()
        data = fifo.read_bytes()
        thread.join(10)
        assert data in (b"data", artefact_path.read_bytes())
        assert stat.S_ISFIFO(fifo.stat().st_mode) and list(tmp_path.iterdir()) == [fifo]


def test_links_stay(artefact_path: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(target)
    for write in (lambda: write_file(link, b"data"), lambda: Artefact.read(artefact_path).write(link)):
        write()
        assert link.is_symlink() and not target.is_symlink()
        assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == artefact_path.read_bytes()


def test_errors_leave_nothing(tmp_path: Path, monkeypatch, capsys, artefact_path: Path):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    argv = ["run", artefact_path, "--tokens", 1, "--json"]
    assert main([*map(str, argv), str(loop)]) == 2
    assert loop.is_symlink() and "loop" in capsys.readouterr().err
    loop.unlink()
    monkeypatch.setattr(os, "replace", full)
    assert main([*map(str, argv), str(tmp_path / "x.json")]) == 2
    assert "No space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


NAMES = {
    "trine-stories-1m": "trine-stories-1m.trine",
    "../../etc/passwd": "etc-passwd.trine",
    "/abs/x": "abs-x.trine",
    ".hidden": "hidden.trine",
    "random 5": "random-5.trine",
    "..": "model.trine",
    "": "model.trine",
    "é": "model.trine",
}


@pytest.mark.parametrize("name", NAMES)
def test_default_names(name: str):
    assert file_name(name) == NAMES[name]


def test_compile_writes_here(small: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, monkeypatch):
    (tmp_path / "here").mkdir()
    path = write_checkpoint(tmp_path, small, tokenizer, name="../../up/x")
    monkeypatch.chdir(tmp_path / "here")
    assert main(["compile", str(path), "--no-vectors"]) == 0
    assert [p.name for p in Path().iterdir()] == ["up-x.trine"]


def test_configuration_of_a_model_without_eos_takes_any_tokenizer(tokenizer: Tokenizer):
    from trine.artefact import tokenizer_complaint

    config = ModelConfig("m", 4, 4, 1, 2, 1, tokenizer.vocab_size, 8, eos=None)
    assert tokenizer_complaint(tokenizer, config) is None
