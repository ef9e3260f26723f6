"""Artefacts whose archive and hashes are valid and whose contents are not: exit code 2, one message."""

import dataclasses
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.assembler import assemble
from hw.artefact import MANIFEST, MEMBERS, VECTORS, Artefact, _json
from hw.artefact_archive import sha256
from models.tokenizer import Tokenizer
from tests.trine.test_errors import expect_error

DEEP = b"[" * 100_000 + b"]" * 100_000
JUNK = bytes(range(7, 103))  # 96 bytes: a multiple of 24


def put(path: Path, members: dict[str, bytes], manifest: dict[str, Any] | bytes) -> None:
    """An archive of members, their hashes made valid unless the manifest says otherwise."""
    if isinstance(manifest, dict):
        if isinstance(manifest.get("sha256"), dict):
            manifest["sha256"] = {name: sha256(data) for name, data in members.items()}
        manifest = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, manifest)
        for name, data in members.items():
            archive.writestr(name, data)


def members_of(artefact: Artefact) -> dict[str, bytes]:
    assert artefact.vectors is not None
    return {**{n: getattr(artefact, k) for n, k in MEMBERS.items()}, VECTORS: _json(artefact.vectors)}


@pytest.fixture(scope="module")
def good(artefact_path: Path) -> Artefact:
    return Artefact.read(artefact_path)


def at(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set one entry of the manifest."""

    def change(manifest: dict[str, Any]) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


MANIFESTS = {
    "hashes a list": at("sha256", value=[]),
    "hashes a number": at("sha256", value=3),
    "isa a number": at("isa", value=7),
    "isa null": at("isa", value=None),
    "machine a string": at("machine", value="ci"),
    "machine digest a number": at("machine", "digest", value=5),
    "machine fields a list": at("machine", "fields", value=[1]),
    "machine field of wrong type": at("machine", "fields", "program_words", value="many"),
    "machine field huge": at("machine", "fields", "program_words", value=10**30),
    "model a list": at("model", value=[]),
    "model with an unknown field": at("model", "speed", value=1),
    "model with bad dims": at("model", "dim", value=-64),
    "model with other dims": at("model", "hidden", value=128),
    "model dims of wrong type": at("model", "heads", value="4"),
    "model of another machine's size": at("model", "context", value=2**31 - 1),
    "memory map a list": at("memory_map", value=[]),
    "memory map empty": at("memory_map", value={}),
    "no memory": at("memory_map", "total_bytes", value=0),
    "huge memory": at("memory_map", "total_bytes", value=2**50),
    "memory of wrong type": at("memory_map", "total_bytes", value="all"),
    "regions a list": at("memory_map", "regions", value=[]),
    "region of wrong type": at("memory_map", "regions", "tape_layers", value=3),
    "negative region": at("memory_map", "regions", "tape_layers", "size", value=-64),
    "moved region": at("memory_map", "regions", "key", "start", value=0),
    "strides null": at("memory_map", "strides", value=None),
    "tools a list": at("tools", value=[]),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_entries(name: str, good: Artefact, tmp_path: Path, capsys):
    manifest = json.loads(json.dumps(good.manifest()))
    MANIFESTS[name](manifest)
    put(tmp_path / "odd.trine", members_of(good), manifest)
    for verb in ("run", "inspect"):
        expect_error(capsys, [verb, tmp_path / "odd.trine"], "odd.trine", "wanted", "found", "compile")


@pytest.mark.parametrize("text", [DEEP, b"[]", b"3", b"null", b'{"format": []}', b"\xff"])
def test_manifests_that_are_none(text: bytes, good: Artefact, tmp_path: Path, capsys):
    put(tmp_path / "odd.trine", members_of(good), text)
    expect_error(capsys, ["run", tmp_path / "odd.trine"], "odd.trine", "wanted", "found")


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


CONTENTS = {
    "empty tokenizer": ("tokenizer.bin", b""),
    "junk tokenizer": ("tokenizer.bin", JUNK),
    "JSON tokenizer of nothing": ("tokenizer.bin", b"TRTOKJS\0{}"),
    "deep JSON tokenizer": ("tokenizer.bin", b"TRTOKJS\0" + DEEP),
    "llama2.c tokenizer of nothing": ("tokenizer.bin", b"TRTOK2C\0" + struct.pack("<i", 300)),
    "empty model": ("model.safetensors", b""),
    "junk model": ("model.safetensors", JUNK),
    "model of a deep header": ("model.safetensors", safetensors(DEEP)),
    "model of a list": ("model.safetensors", safetensors(b'{"__metadata__": {"trine": "[]"}}')),
    "vectors empty": (VECTORS, b"{}"),
    "vectors a list": (VECTORS, b"[]"),
    "vectors null": (VECTORS, b"null"),
    "vectors no JSON": (VECTORS, JUNK),
    "vectors deep": (VECTORS, DEEP),
    "vectors of odd ids": (VECTORS, b'{"prompt": [1], "tokens": [300]}'),
    "vectors of text": (VECTORS, b'{"prompt": "abc", "tokens": [3]}'),
    "vectors too long": (VECTORS, json.dumps({"prompt": [1] * 40, "tokens": [3] * 40}).encode()),
    "empty program": ("program.bin", b""),
    "odd program": ("program.bin", bytes(25)),
    "junk program": ("program.bin", JUNK),
    "program without END": ("program.bin", assemble("LOOP count=2\nNEXT\n")),
    "program that may skip END": ("program.bin", assemble("END predicate=1\n")),
    "too many instructions": ("program.bin", assemble("END\n" * 257)),
    "short image": ("image.bin", bytes(10)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_member_contents(name: str, good: Artefact, tmp_path: Path, capsys):
    member, data = CONTENTS[name]
    put(tmp_path / "odd.trine", {**members_of(good), member: data}, good.manifest())
    text = tmp_path / "p.asm"
    text.write_text("END\n")
    for verb in ("run", "check", "inspect", "disasm"):
        expect_error(capsys, [verb, tmp_path / "odd.trine"], "odd.trine", "wanted", "found", "compile")
    argv = ["asm", text, "-o", tmp_path / "new.trine", "--into", tmp_path / "odd.trine"]
    expect_error(capsys, argv, "odd.trine")
    assert not (tmp_path / "new.trine").exists()


@pytest.mark.parametrize(("field", "value"), [("vocab", 301), ("bos", 2), ("eos", 7)])
def test_tokenizer_of_another_model(
    field: str, value: int, good: Artefact, tmp_path: Path, capsys, monkeypatch
):
    real = Tokenizer.from_bytes(good.tokenizer)
    if field == "vocab":
        monkeypatch.setattr(Tokenizer, "vocab_size", value)
    else:
        setattr(real, field, value)
    monkeypatch.setattr(Tokenizer, "from_bytes", lambda data: real)
    good.write(tmp_path / "m.trine")
    for verb in ("run", "check"):
        expect_error(capsys, [verb, tmp_path / "m.trine"], "tokenizer", "EOS 2", str(value))


def test_machine_errors_are_messages(good: Artefact, tmp_path: Path, capsys):
    """A program that is legal text and means nothing, or reads beyond memory."""
    cases = (
        ("MATMUL rows=4 k=4\nEND\n", "instruction 0"),
        ("FETCH base=0xFFFFFFC0 bytes=64\nEND\n", "machine error"),
    )
    for text, wanted in cases:
        dataclasses.replace(good, program=assemble(text), vectors=None).write(tmp_path / "m.trine")
        expect_error(capsys, ["run", tmp_path / "m.trine", "--on", "isa", "--tokens", 1], wanted)
