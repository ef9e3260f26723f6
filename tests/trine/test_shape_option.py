"""`trine compile --shape`: an artefact whose model is a seed, on every software backend; what is refused."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from hw.artefact import MODEL, SEED, Artefact
from models import seeded
from models.shapes import SHAPES, Shape
from tests.models.test_shapes import INT4, SMALL, TERNARY
from tests.trine.test_errors import expect_error
from tests.trine.test_hostile_artefacts import put
from trine.cli import main


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that fit the machine ci."""
    wanting = dataclasses.replace(TERNARY, name="wanting", missing=("a warm hand",))
    for name, shape in {**SMALL, "wanting": wanting}.items():
        monkeypatch.setitem(SHAPES, name, shape)


def compiled(folder: Path, *options: object) -> Path:
    path = folder / "x.trine"
    assert main([str(a) for a in ("compile", "--shape", *options, "-o", path)]) == 0
    return path


@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
def test_compiled_and_checked(shape: Shape, tmp_path: Path, capsys):
    result = tmp_path / "result.json"
    path = compiled(tmp_path, shape.name, "--layers", 2, "--seed", 7, "--json", result)
    found = json.loads(result.read_text())
    assert found["shape"] == {"name": shape.name, "layers": 2, "seed": 7}
    assert found["model"]["layers"] == 2
    said = capsys.readouterr().err
    assert f"{shape.name} (2 of 3 layers) ({'int4 g32' if shape.group else 'ternary'}; head int8" in said
    with zipfile.ZipFile(path) as archive:
        assert SEED in archive.namelist() and MODEL not in archive.namelist()
        content = json.loads(archive.read(SEED))
    assert (content["seed"], content["layers"], content["shape"]["name"]) == (7, 2, shape.name)

    assert main(["check", str(path), "--on", "golden,isa", "--tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("exact")
    vectors = Artefact.read(path).vectors
    assert vectors is not None and len(vectors["tokens"]) == 2
    assert main(["inspect", str(path), "--json", str(result)]) == 0
    kind = "int4 g32" if shape.group else "ternary"
    assert json.loads(result.read_text())["weights"][kind] == 2 * (
        3 * 64 * 96 + 64 * 64 * (3 if shape.group else 4)
    )


def test_the_whole_shape_and_the_default_seed(tmp_path: Path):
    whole = compiled(tmp_path, TERNARY.name).read_bytes()
    assert compiled(tmp_path, TERNARY.name, "--seed", 0, "--layers", 3).read_bytes() == whole
    assert compiled(tmp_path, TERNARY.name, "--seed", 1).read_bytes() != whole


def test_first_layers_are_those_of_the_whole(tmp_path: Path):
    """On the tape: layer 0 alone, but for the constants that it holds of a next layer."""
    one, whole = (Artefact.read(compiled(tmp_path, INT4.name, "--layers", n)) for n in (1, 3))
    codes = []
    for artefact in (one, whole):
        start, n = (
            artefact.memory_map["regions"]["tape_layers"]["start"],
            artefact.memory_map["strides"]["layer"],
        )
        codes.append(artefact.image[start : start + n])
    changed = sum(a != b for a, b in zip(*codes, strict=True))
    assert 0 < changed <= 4 * INT4.dim + 64  # "next" gain and scalars


def test_a_text_calibrates_and_a_tokenizer_may_be_given(tokenizer, tmp_path: Path):
    (tmp_path / "t.json").write_bytes(tokenizer.to_bytes()[8:])
    (tmp_path / "t.txt").write_text("once upon a time")
    options = ("--tokenizer", tmp_path / "t.json", "--calibrate", tmp_path / "t.txt")
    artefact = Artefact.read(compiled(tmp_path, TERNARY.name, *options))
    assert artefact.tokenizer == tokenizer.to_bytes()


REFUSED = {
    "neither": ((), ("wanted a CHECKPOINT or --shape",)),
    "both": (("--shape", TERNARY.name, "x.bin"), ("no CHECKPOINT beside it", "x.bin")),
    "layers of a checkpoint": (("x.bin", "--layers", 1), ("--layers", "--shape")),
    "seed of a checkpoint": (("x.bin", "--seed", 1), ("--seed", "--shape")),
    "weights": (("--shape", TERNARY.name, "--weights", "int8"), ("--weights", "widths of its own")),
    "head": (("--shape", TERNARY.name, "--head", "int4"), ("--head", "widths of its own")),
    "group": (("--shape", INT4.name, "--group", 16), ("--group", "widths of its own")),
    "activations": (("--shape", INT4.name, "--activations", 12), ("--activations", "widths of its own")),
    "no layers": (("--shape", TERNARY.name, "--layers", 0), ("1 to 3 layers", "found 0")),
    "too many": (("--shape", TERNARY.name, "--layers", 4), ("1 to 3 layers", "found 4")),
    "negative seed": (("--shape", TERNARY.name, "--seed", -1), ("a seed of 0", "-1")),
    "not expressed": (("--shape", "wanting"), ("a warm hand", "choose another shape")),
    "too large": (("--shape", "bitnet-0.73b", "--machine", "ci"), ("bitnet-0.73b", "'ci'", "would take it")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path, capsys):
    options, wanted = REFUSED[case]
    expect_error(capsys, ["compile", *options, "-o", tmp_path / "x.trine"], *wanted)
    assert list(tmp_path.iterdir()) == []


def test_unknown_shapes_are_listed(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compile", "--shape", "gpt-9"])
    assert stopped.value.code == 2
    assert "bitnet-0.73b" in capsys.readouterr().err


def test_another_seed_in_the_file(tmp_path: Path, capsys):
    """Hashes of the members valid, weights not those of the seed: golden says so, isa does not need them."""
    path = compiled(tmp_path, TERNARY.name, "--no-vectors")
    artefact = Artefact.read(path)
    changed = artefact.model.replace(b'"seed": 0', b'"seed": 9')
    assert changed != artefact.model
    put(path, {**artefact.members(), SEED: changed}, artefact.manifest())
    capsys.readouterr()
    expect_error(capsys, ["run", path, "--on", "golden", "--tokens", 1], "weights of seed 9", "compile")
    assert main(["run", str(path), "--on", "isa", "--tokens", "1"]) == 0


@pytest.mark.parametrize("data", [b"", b"{}", seeded.SEEDED_PREFIX, b"[" * 10**5])
def test_junk_as_seed(data: bytes, tmp_path: Path, capsys):
    path = compiled(tmp_path, TERNARY.name, "--no-vectors")
    artefact = Artefact.read(path)
    put(path, {**artefact.members(), SEED: data}, artefact.manifest())
    capsys.readouterr()
    expect_error(capsys, ["run", path, "--on", "isa", "--tokens", 1], "x.trine", "quantised model")
