"""`trine compile --weights --head --group --activations`: what they make, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch

import trine
from models.float_model import FloatModel
from models.tokenizer import Tokenizer
from tests.compiler.frontends.test_llama2c import legacy_bytes
from tests.models.random_model import random_model
from tests.trine.test_errors import expect_error
from tests.trine.test_hostile_input import write_checkpoint
from trine.cli import main

INT8 = {"bits": 8, "group": 0, "minima": False}
INT4 = {"bits": 4, "group": 16, "minima": True}


@pytest.fixture(scope="module")
def llama2c(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small float checkpoint with the tests' tokenizer beside it."""
    folder = tmp_path_factory.mktemp("llama2c")
    vocab = tokenizer.vocab_size
    config = random_model(dim=64, hidden=64, layers=1, inner_norm=False, tied=False, vocab=vocab).config
    torch.manual_seed(2)
    (folder / "small.bin").write_bytes(legacy_bytes(FloatModel(config, "fixed", None)))
    (folder / "tokenizer.json").write_bytes(tokenizer.to_bytes()[8:])
    return folder / "small.bin"


@pytest.fixture(scope="module")
def ternary(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ternary checkpoint with the tests' tokenizer beside it."""
    model = random_model(3, dim=64, hidden=64, layers=1, vocab=tokenizer.vocab_size)
    return write_checkpoint(tmp_path_factory.mktemp("ternary"), model, tokenizer)


def compiled(checkpoint: Path, folder: Path, capsys, *options: object) -> tuple[dict, str]:
    """JSON and standard error of `trine compile`; golden model and interpreter agree on the artefact."""
    out, result = folder / "x.trine", folder / "result.json"
    argv = ["compile", checkpoint, "-o", out, "--json", result, "--no-vectors", *options]
    assert main([str(a) for a in argv]) == 0
    message = capsys.readouterr().err
    assert main(["check", str(out), "--on", "golden,isa", "--tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("exact")
    return json.loads(result.read_text()), message


@pytest.mark.parametrize(
    ("options", "weights", "head", "activations", "said"),
    [
        ((), INT8, INT8, 8, "int8; head int8, its input 8 bits"),
        (("--weights", "int8", "--activations", 12), INT8, INT8, 12, "int8; head int8, its input 12 bits"),
        (
            ("--weights", "int4", "--group", 16, "--head", "int4", "--activations", 12),
            INT4,
            INT4,
            12,
            "int4 g16; head int4 g16, its input 12 bits",
        ),
        (("--weights", "int4"), INT4 | {"group": 32}, INT8, 8, "int4 g32; head int8"),
        (("--head", "int4", "--group", 0), INT8, INT8 | {"bits": 4}, 8, "int8; head int4,"),
    ],
)
def test_float_checkpoints(
    llama2c: Path, tmp_path: Path, capsys, options, weights, head, activations, said: str
):
    result, message = compiled(llama2c, tmp_path, capsys, *options)
    matrices = dict(result["integer"])
    assert matrices.pop("head") == head
    assert list(matrices.values()) == [weights] * 7
    assert set(result["activations"].values()) == {activations}
    assert f"({said}" in message


def test_heads_of_ternary_checkpoints(ternary: Path, tmp_path: Path, capsys):
    options = ("--head", "int4", "--group", 16, "--activations", 12)
    result, message = compiled(ternary, tmp_path, capsys, *options)
    assert result["integer"] == {"head": INT4}
    bits = result["activations"]
    assert bits.pop("final") == 12
    assert set(bits.values()) == {8}
    assert "(ternary; head int4 g16, its input 12 bits)" in message


def test_inspect_counts_integers(llama2c: Path, tmp_path: Path, capsys):
    argv = ["compile", llama2c, "-o", tmp_path / "x.trine", "--no-vectors"]
    assert main([str(a) for a in (*argv, "--weights", "int4", "--activations", 12)]) == 0
    result = tmp_path / "result.json"
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "x.trine"), "--json", str(result)]) == 0
    weights = json.loads(result.read_text())["weights"]
    assert weights == {
        "int4 g32": 5 * 64 * 64 + 2 * 32 * 64,
        "head int8": 300 * 64,
        "embedding binary32": 300 * 64,
        "12-bit inputs of": "attention, o, mlp, down, final",
    }


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--group", 16), ("--group 16", "int8 has one scale a row", "--weights int4")),
        (("--group", -32, "--weights", "int4"), ("--group", "found -32")),
        (("--group", 5, "--weights", "int4"), ("wanted", "group", "found 5")),
    ],
)
def test_refused(llama2c: Path, tmp_path: Path, capsys, options, wanted: tuple[str, ...]):
    expect_error(capsys, ["compile", llama2c, "-o", tmp_path / "x", *options], *wanted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", ["int8", "int4"])
def test_weights_of_ternary_checkpoints(ternary: Path, tmp_path: Path, capsys, width: str):
    argv = ["compile", ternary, "-o", tmp_path / "x", "--weights", width]
    expect_error(capsys, argv, f"to quantise them to {width}", "ternary", "leave --weights out")


@pytest.mark.parametrize("options", [["--weights", "int2"], ["--head", "ternary"], ["--activations", "16"]])
def test_widths_that_are_none(llama2c: Path, capsys, options: list[str]):
    with pytest.raises(SystemExit) as caught:
        main(["compile", str(llama2c), *options])
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_damaged_float_checkpoint(llama2c: Path, tmp_path: Path, capsys):
    path = tmp_path / "cut.bin"
    path.write_bytes(llama2c.read_bytes()[:-4])
    expect_error(capsys, ["compile", path, "-o", tmp_path / "x"], "cut.bin", "what the header promises")


def test_library_names():
    assert trine.Recipe(weights=4).group == 32
