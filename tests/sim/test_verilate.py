"""Builds are cached by content, whole or absent, and missing tools are named with their remedy."""

from pathlib import Path

import pytest

from sim.errors import ToolError
from sim.verilate import build, cache_directory

from .conftest import BUS_BYTES


def test_second_build_is_cached(copier_verilog: str, simulator: Path) -> None:
    stages: list[str] = []
    assert build(copier_verilog, BUS_BYTES, stages.append) == simulator
    assert stages == []
    assert "Verilator" in (simulator.parent / "build.log").read_text()


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRINE_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("TRINE_CACHE")
    assert cache_directory() == Path.home() / ".cache" / "trine"


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"found no g\+\+, no make, no ar.*apt install g\+\+ make binutils"):
        build("", BUS_BYTES)


def test_failed_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error quotes the tool and names the kept log; no half-made build stays behind."""
    monkeypatch.setenv("TRINE_CACHE", str(tmp_path))
    stages: list[str] = []
    with pytest.raises(ToolError, match=r"(?s)verilator_bin failed.*failed-build.log.*syntax error"):
        build("module overlay(input clk; endmodule", BUS_BYTES, stages.append)
    assert stages == ["Verilator: Verilog to C++"]
    assert (tmp_path / "failed-build.log").exists()
    assert not [path for path in (tmp_path / "rtl").iterdir() if path.is_dir()]
