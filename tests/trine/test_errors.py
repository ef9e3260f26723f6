"""Bad input: exit code 2, one message (what was wanted, found, to do), no traceback, nothing left behind."""

import importlib
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.tokenizer import Tokenizer
from trine import errors
from trine.cli import main


def expect_error(capsys: pytest.CaptureFixture[str], argv: list[object], *wanted: str) -> None:
    """`trine ARGV` must end with 2 and one error text that holds all of `wanted`."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.startswith(f"trine {argv[0]}: error: "), captured.err
    for text in wanted:
        assert text in captured.err, f"{text!r} is not in {captured.err!r}"


def ak42(dim: int = 128, payload: int = 1000) -> bytes:
    """An ak42 header with `payload` bytes behind it."""
    head = struct.pack("<I8i", 0x616B3432, 1, dim, 256, 8, 8, 4, 512, 512) + b"\1"
    return head.ljust(256, b"\0") + bytes(payload)


CHECKPOINTS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("wrong magic", b"GGUF" + bytes(400), ("wanted", "GGUF")),
    ("empty", b"", ("wanted", "found")),
    ("truncated", ak42(), ("wanted", "found", "bytes")),
    ("header cut", ak42()[:40], ("wanted", "found")),
    ("wrong sizes", ak42(dim=-3), ("dim", "-3")),
]


@pytest.mark.parametrize(("data", "wanted"), [c[1:] for c in CHECKPOINTS], ids=[c[0] for c in CHECKPOINTS])
def test_bad_checkpoints(data: bytes, wanted: tuple[str, ...], tmp_path: Path, capsys):
    (tmp_path / "x.bin").write_bytes(data)
    expect_error(capsys, ["compile", tmp_path / "x.bin", "-o", tmp_path / "out.trine"], *wanted)
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"], "nothing may be left behind"


def test_missing_checkpoint(tmp_path: Path, capsys):
    expect_error(capsys, ["compile", tmp_path / "none.bin", "-o", tmp_path / "out.trine"], "none.bin")


@pytest.mark.shared
def test_wrong_tokenizer(shared: Path, tokenizer: Tokenizer, tmp_path: Path, capsys):
    model = shared / "checkpoints" / "bit_model_1M.bin"
    other = tmp_path / "tokenizer.json"
    other.write_bytes(tokenizer.to_bytes()[8:])
    expect_error(
        capsys, ["compile", model, "--tokenizer", other, "-o", tmp_path / "m"], "512", "300", "--tokenizer"
    )
    other.write_bytes(b"no tokenizer at all")
    expect_error(capsys, ["compile", model, "--tokenizer", other, "-o", tmp_path / "m"], "tok.bin")
    expect_error(capsys, ["compile", model, "-o", tmp_path / "m"], "tokenizer.json", "--tokenizer")
    assert not (tmp_path / "m").exists()


def test_truncated_real_checkpoint(root: Path, tmp_path: Path, capsys):
    data = (root / "models" / "shipped" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    expect_error(
        capsys, ["compile", tmp_path / "model.safetensors", "-o", tmp_path / "out.trine"], "model.safetensors"
    )


def test_prompt_beyond_context(artefact_path: Path, capsys):
    for verb in ("run", "check"):
        expect_error(capsys, [verb, artefact_path, "--prompt", "dog " * 60], "context", "48", "shorten")
        expect_error(capsys, [verb, artefact_path, "--tokens", 49], "context", "48")
        expect_error(capsys, [verb, artefact_path, "--tokens", 0], "--tokens", "1 or more")


def test_artefact_for_another_machine(artefact_path: Path, capsys):
    expect_error(
        capsys, ["run", artefact_path, "--tokens", 2, "--machine", "wide"], "'wide'", "'ci'", "compile"
    )


def test_wrong_dram_and_backend_names(artefact_path: Path, capsys):
    expect_error(capsys, ["run", artefact_path, "--tokens", 2, "--dram", "speed=1"], "latency", "speed=1")
    expect_error(capsys, ["run", artefact_path, "--tokens", 2, "--dram", "latency=0"], "latency", "0")
    expect_error(capsys, ["check", artefact_path, "--tokens", 2, "--on", "golden,board"], "board", "isa")
    expect_error(capsys, ["check", artefact_path, "--tokens", 2, "--on", "golden"], "two backends")


def flip(path: Path, member: str) -> None:
    """Flip one bit in the stored bytes of a member."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(member) + info.compress_size // 2] ^= 1
    path.write_bytes(data)


def rebuild(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write the archive anew with each member changed (None drops it)."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            changed = change(name, data)
            if changed is not None:
                archive.writestr(name, changed)


@pytest.mark.parametrize(
    "member", ["program.bin", "image.bin", "model.safetensors", "tokenizer.bin", "vectors.json"]
)
def test_corrupted_artefact(member: str, artefact_path: Path, tmp_path: Path, capsys):
    copy = tmp_path / "copy.trine"
    copy.write_bytes(artefact_path.read_bytes())
    flip(copy, member)
    expect_error(capsys, ["run", copy, "--tokens", 2], "copy.trine", "wanted", "found")
    copy.write_bytes(artefact_path.read_bytes())
    rebuild(copy, lambda name, data: data[:-1] + bytes([data[-1] ^ 1]) if name == member else data)
    expect_error(capsys, ["run", copy, "--tokens", 2], "copy.trine", member)
    if member != "vectors.json":
        rebuild(copy, lambda name, data: None if name == member else data)
        expect_error(capsys, ["run", copy, "--tokens", 2], "copy.trine", member)


def test_not_an_artefact(tmp_path: Path, capsys):
    other = tmp_path / "other.trine"
    expect_error(capsys, ["run", other], "other.trine")
    other.write_bytes(b"hello")
    expect_error(capsys, ["run", other], "wanted", "hello", "trine compile")
    other.write_bytes(b"PK\3\4" + bytes(50))
    expect_error(capsys, ["check", other], "wanted", "found")


def test_missing_compiler(artefact_path: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("TRINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    expect_error(capsys, ["run", artefact_path, "--tokens", 2, "--on", "rtl"], "g++", "make", "apt install")
    assert main(["doctor"]) == 2
    assert "apt install g++" in capsys.readouterr().out


def test_bad_program_text(tmp_path: Path, capsys):
    text, out = tmp_path / "p.asm", tmp_path / "p.bin"
    for line, wanted in (("JUMP x=1", "JUMP"), ("MATMUL rows=99999999", "rows"), ("MAP speed=1", "speed")):
        text.write_text(f"# a comment\n{line}\n")
        expect_error(capsys, ["asm", text, "-o", out], "line 2", wanted)
        assert not out.exists()
    (tmp_path / "odd.bin").write_bytes(bytes(25))
    expect_error(capsys, ["disasm", tmp_path / "odd.bin"], "25")


def test_output_folder_does_not_exist(root: Path, artefact_path: Path, tmp_path: Path, capsys):
    missing = tmp_path / "no" / "folder"
    expect_error(
        capsys, ["run", artefact_path, "--tokens", 1, "--json", missing / "x.json"], "x.json", "folder"
    )
    shipped = root / "models" / "shipped"
    expect_error(capsys, ["compile", shipped, "-o", missing / "x.trine", "--no-vectors"], "x.trine", "folder")


@pytest.mark.parametrize("argv", [["--temperature", "x"], ["--nosuch"], ["--top-k", "1.5"]])
def test_what_the_parser_refuses_is_one_line(argv: list[str], artefact_path: Path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(artefact_path), *argv])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and argv[0] in error


def test_user_errors_are_classes_that_exist():
    for module, name in errors._USER_ERRORS:
        found = getattr(importlib.import_module(module), name)
        assert issubclass(found, Exception) and found in errors.user_errors()


def test_an_error_of_a_module_that_is_not_loaded_is_left_out(monkeypatch: pytest.MonkeyPatch):
    importlib.import_module("sim.interpreter")
    monkeypatch.delitem(sys.modules, "sim.interpreter")
    assert len(errors.user_errors()) < len(errors._USER_ERRORS)
