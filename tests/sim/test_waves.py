"""Waveform files: the window, its times, when the file appears; read by a reader of their own."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from sim.errors import SimulationError, SimulationTimeoutError
from sim.session import RtlSession
from sim.verilate import SOURCES, build
from sim.waves import WaveWindow

from .conftest import BUS_BYTES
from .copier import Fault, copy


@pytest.fixture(scope="module")
def waver(copier_verilog: str) -> Path:
    """The copier's simulator that can write a waveform."""
    return build(copier_verilog, BUS_BYTES, wave=True)


def unpack_lz4(data: bytes) -> bytes:
    """One LZ4 block."""
    at, out = 0, bytearray()

    def length(start: int) -> int:
        nonlocal at
        total = start
        while start == 15 or (start > 15 and data[at - 1] == 255):
            total, at, start = total + data[at], at + 1, 16
        return total

    while True:
        token, at = data[at], at + 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            return bytes(out)
        offset, at = data[at] | data[at + 1] << 8, at + 2
        assert 0 < offset <= len(out)
        for _ in range(4 + length(token & 15)):
            out.append(out[-offset])


@dataclass(frozen=True)
class Fst:
    """Header and names of an FST file."""

    begin: int
    end: int
    variables: int
    exponent: int
    hierarchy: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        data, at, blocks = path.read_bytes(), 0, {}
        while at < len(data):
            size = int.from_bytes(data[at + 1 : at + 9], "big")
            blocks[data[at]] = data[at + 9 : at + 1 + size]
            at += 1 + size
        header, names = blocks[0], blocks[6]
        begin, end = (int.from_bytes(header[i : i + 8], "big") for i in (0, 8))
        unpacked = unpack_lz4(names[8:])
        assert len(unpacked) == int.from_bytes(names[:8], "big")
        variables = int.from_bytes(header[40:48], "big")
        return cls(begin, end, variables, int.from_bytes(header[64:65], signed=True), unpacked)


def test_window(waver: Path, tmp_path: Path) -> None:
    """The cycles asked for, at 10 ns each; named signals only; nothing else is left in the folder."""
    path = tmp_path / "a wave.fst"
    with RtlSession(waver, 1 << 14, wave=WaveWindow(path, 20, 30)) as session:
        session.run(copy(32, 0, 4096))
        assert path.exists()
    found = Fst.read(path)
    assert (found.begin, found.end, found.exponent) == (200, 295, -9)
    assert found.variables > 50
    for name in (b"run_cycle", b"w_valid", b"overlay"):
        assert name in found.hierarchy
    assert not re.search(rb"\x10[\x00-\x05]\$\d", found.hierarchy)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_values(waver: Path, tmp_path: Path) -> None:
    """Another reader finds each cycle's values."""
    import pywellen

    path = tmp_path / "wave.fst"
    with RtlSession(waver, 1 << 14, wave=WaveWindow(path, 0, 500)) as session:
        reply = session.run(copy(32, 0, 4096))
    signals = {var.full_name: var.signal for var in pywellen.Waveform(str(path)).all_vars()}
    cycle, clock, beats = (signals[f"top.{name}"] for name in ("run_cycle", "clk", "write_beats"))
    for n in range(reply.cycles):
        assert [cycle.value_at(10 * n), clock.value_at(10 * n), clock.value_at(10 * n + 5)] == [n, 1, 0]
    assert beats.value_at(10 * reply.cycles) == 32
    assert list(cycle)[-1][1] == reply.cycles - 1


def test_window_over_runs(waver: Path, tmp_path: Path) -> None:
    """Cycles count on from run to run; what the host does between them is not in the file."""
    path = tmp_path / "wave.fst"
    with RtlSession(waver, 1 << 14) as session:
        first = session.run(copy(32, 0, 4096)).cycles
    with RtlSession(waver, 1 << 14, wave=WaveWindow(path, first - 3, first + 4)) as session:
        for _ in range(2):
            assert not path.exists()
            session.run(copy(32, 0, 4096))
        assert path.exists()
    assert (Fst.read(path).begin, Fst.read(path).end) == (10 * (first - 3), 10 * (first + 3) + 5)


def test_window_not_reached(waver: Path, tmp_path: Path) -> None:
    with RtlSession(waver, 1 << 14, wave=WaveWindow(tmp_path / "wave.fst", 10_000, 20_000)) as session:
        session.run(copy(32, 0, 4096))
    assert list(tmp_path.iterdir()) == []


def test_open_window(waver: Path, tmp_path: Path) -> None:
    """A window that ends after the last run: the file has what there was."""
    path = tmp_path / "wave.fst"
    with RtlSession(waver, 1 << 14, wave=WaveWindow(path, 0, 10**9)) as session:
        cycles = session.run(copy(32, 0, 4096)).cycles
        assert not path.exists()
    assert Fst.read(path).end == 10 * (cycles - 1) + 5


def test_hang(waver: Path, tmp_path: Path) -> None:
    path = tmp_path / "wave.fst"
    with (
        pytest.raises(SimulationTimeoutError),
        RtlSession(waver, 1 << 14, wave=WaveWindow(path, 0, 10**9)) as session,
    ):
        session.run(copy(16, 0, 4096, Fault.HANG), max_cycles=2000)
    assert Fst.read(path).end >= 10 * 1999


def test_failed_assertion(waver: Path, tmp_path: Path) -> None:
    path = tmp_path / "wave.fst"
    with (
        pytest.raises(SimulationError, match="AXI"),
        RtlSession(waver, 1 << 14, wave=WaveWindow(path, 0, 10**9)) as session,
    ):
        session.run(copy(32, 0, 4096, Fault.W_EARLY_LAST))
    assert Fst.read(path).end > 0


def test_killed(waver: Path, tmp_path: Path) -> None:
    """No half of a file stays behind."""
    session = RtlSession(waver, 1 << 14, wave=WaveWindow(tmp_path / "wave.fst", 0, 10**9))
    session.run(copy(32, 0, 4096))
    assert session._process is not None
    session._process.kill()
    session.close()
    assert list(tmp_path.iterdir()) == []


def test_wrong_window(waver: Path, simulator: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found 5 and 5"):
        WaveWindow(tmp_path / "wave.fst", 5, 5)
    with pytest.raises(SimulationError, match=r"wanted a writable folder, found none at .*nowhere"):
        RtlSession(waver, 1 << 14, wave=WaveWindow(tmp_path / "nowhere" / "wave.fst", 0, 5))
    with pytest.raises(SimulationError, match="wanted a simulator built for waveforms"):
        RtlSession(simulator, 1 << 14, wave=WaveWindow(tmp_path / "wave.fst", 0, 5))


def test_packing(tmp_path: Path) -> None:
    """What ``fst_pack.h`` packs, an LZ4 reader unpacks: runs, text, noise, far repetitions, small sizes."""
    program = tmp_path / "pack.cpp"
    program.write_text(
        '#include "fst_pack.h"\n#include <fstream>\n#include <iterator>\n#include <vector>\n'
        "int main(int, char** names) {\n"
        "  std::ifstream in(names[1], std::ios::binary);\n"
        "  std::vector<char> data{std::istreambuf_iterator<char>(in), {}};\n"
        "  const int size = static_cast<int>(data.size()), most = LZ4_compressBound(size);\n"
        "  std::vector<char> packed(most);\n"
        "  const int count = LZ4_compress_default(data.data(), packed.data(), size, most);\n"
        "  std::ofstream(names[2], std::ios::binary).write(packed.data(), count);\n}\n"
    )
    command = ["g++", "-std=c++17", "-fsanitize=address,undefined", f"-I{SOURCES}", str(program)]
    subprocess.run([*command, "-o", str(tmp_path / "pack")], check=True)
    random = np.random.default_rng(1)
    noise = random.bytes(70_000)
    samples = [noise[:size] for size in range(20)] + [b"a" * size for size in range(11, 40)]
    samples += [b"\0" * 100_000, noise, noise[:500] * 9, noise + noise[:1000], noise[:64_000] + noise[:200]]
    samples.append(random.integers(0, 3, 50_000, np.uint8).tobytes())
    samples.append(b" ".join(b"top.overlay.signal_%d" % i for i in range(2000)))
    for sample in samples:
        (tmp_path / "in").write_bytes(sample)
        subprocess.run([tmp_path / "pack", tmp_path / "in", tmp_path / "out"], check=True)
        packed = (tmp_path / "out").read_bytes()
        assert unpack_lz4(packed) == sample
    assert len(packed) < len(sample) // 3
