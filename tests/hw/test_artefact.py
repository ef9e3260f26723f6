"""The artefact file: what it holds, and every way in which a file can be wrong."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from hw import artefact as module
from hw.artefact import Artefact, ArtefactError
from hw.machine import CI, NARROW

ARTEFACT = Artefact(
    config={"name": "m", "dim": 4},
    machine=CI,
    program=bytes(48),
    image=bytes(range(256)) * 4,
    memory_map={"a": 1},
    model=b"model",
    tokenizer=b"tokens",
    tensors={"x": [1, 2]},
    tools={"python": "3"},
    vectors={"prompt": [1]},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.trine"
    ARTEFACT.write(path)
    return path


def rewrite(path: Path, **changes: bytes | None) -> None:
    """Replace (or with None remove) members, named without their suffix."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            data = changes.get(name.partition(".")[0], data)
            if data is not None:
                archive.writestr(name, data)


def test_round_trip(path: Path):
    assert Artefact.read(path) == ARTEFACT
    assert Artefact.read(path, CI) == ARTEFACT
    assert list(path.parent.iterdir()) == [path]


def test_same_contents_same_file(path: Path, tmp_path: Path):
    ARTEFACT.write(tmp_path / "again.trine")
    assert path.read_bytes() == (tmp_path / "again.trine").read_bytes()


def test_vectors_are_optional(path: Path, tmp_path: Path):
    ARTEFACT.without_vectors().write(tmp_path / "bare.trine")
    assert Artefact.read(tmp_path / "bare.trine").vectors is None
    rewrite(path, vectors=None)
    assert Artefact.read(path) == ARTEFACT.without_vectors()


def test_manifest_hashes_every_member():
    assert set(ARTEFACT.manifest()["sha256"]) == {*module.MEMBERS, module.VECTORS}


def test_not_there(tmp_path: Path):
    with pytest.raises(ArtefactError, match="correct the path"):
        Artefact.read(tmp_path / "none.trine")


def test_not_a_zip(path: Path):
    path.write_bytes(b"24ka and so on")
    with pytest.raises(ArtefactError, match="trine compile"):
        Artefact.read(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated(path: Path, kept: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ArtefactError, match="cut short or damaged"):
        Artefact.read(path)


def test_a_flipped_bit_never_changes_the_contents(path: Path):
    """Wherever it is: it is noticed, or it is one that zip ignores (times, padding)."""
    data, noticed = path.read_bytes(), 0
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            assert Artefact.read(path) == ARTEFACT
        except ArtefactError:
            noticed += 1
    assert noticed > len(data) / 7 / 2


@pytest.mark.parametrize("member", ["program", "image", "model", "tokenizer", "vectors"])
def test_changed_member(path: Path, member: str):
    rewrite(path, **{member: b"something else"})
    with pytest.raises(ArtefactError, match=f"{member}.*SHA-256.*changed"):
        Artefact.read(path)


@pytest.mark.parametrize("member", ["program", "image", "model", "tokenizer", "manifest"])
def test_missing_member(path: Path, member: str):
    rewrite(path, **{member: None})
    with pytest.raises(ArtefactError, match=member):
        Artefact.read(path)


def test_other_machine(path: Path):
    with pytest.raises(ArtefactError, match=r"bus_bytes.*compile the model again for 'narrow'"):
        Artefact.read(path, NARROW)


def change(path: Path, **entries: object) -> None:
    manifest = ARTEFACT.manifest() | entries
    rewrite(path, manifest=json.dumps(manifest).encode())


def test_other_instruction_set(path: Path):
    change(path, isa="0" * 64)
    with pytest.raises(ArtefactError, match="instruction set"):
        Artefact.read(path)


def test_other_format(path: Path):
    change(path, format="trine-artefact-0")
    with pytest.raises(ArtefactError, match="trine-artefact-0"):
        Artefact.read(path)


def test_changed_machine(path: Path):
    fields = dataclasses.replace(CI, tables=26).to_json()
    change(path, machine={"fields": fields, "digest": CI.digest()})
    with pytest.raises(ArtefactError, match="digest"):
        Artefact.read(path)
    change(path, machine={"fields": {**CI.to_json(), "new": 1}, "digest": CI.digest()})
    with pytest.raises(ArtefactError, match="machine of this version"):
        Artefact.read(path)


def test_manifest_without_an_entry(path: Path):
    manifest = ARTEFACT.manifest()
    del manifest["memory_map"]
    rewrite(path, manifest=json.dumps(manifest).encode())
    with pytest.raises(ArtefactError, match="memory_map"):
        Artefact.read(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(TypeError):
        dataclasses.replace(ARTEFACT, tools={"a": object()}).write(tmp_path / "m.trine")
    assert list(tmp_path.iterdir()) == []
