"""The open flow when it is interrupted, or when two make the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from boards.flow import bitstream

from .test_flow import build, tools

__all__ = ["tools"]

#: A build whose tool `stage` writes its process id and sleeps.
_SCRIPT = """
import dataclasses, signal, sys
from pathlib import Path
from boards.board import find_board
from boards.flow import bitstream, tools
stage, folder = sys.argv[1], Path(sys.argv[2])
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have it ignored
code = "import os, pathlib, time; pathlib.Path(%r).write_text(str(os.getpid())); time.sleep(300)"
asleep = tools.Tool("pyosys", code % str(folder / "pid"))
if stage == "yosys":
    bitstream.YOSYS = asleep
else:
    tools.FLOWS["nextpnr-ecp5"] = dataclasses.replace(tools.FLOWS["nextpnr-ecp5"], place=asleep)
board = find_board("ulx3s")
design = board.design(board.machine, 60.0)
text = "module top(input clk, rx, output reg tx); always @(posedge clk) tx <= rx; endmodule"
bitstream.build_bitstream(board, design, text, "ulx3s", bitstream.Options(60.0), folder / "cache")
"""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("stage", ["yosys", "nextpnr"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_build_that_is_ended_leaves_no_program_behind(stage: str, number: signal.Signals, tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, stage, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        written, end = tmp_path / "pid", time.monotonic() + 120
        while not (written.exists() and written.read_text()):
            assert process.poll() is None and time.monotonic() < end, "the tool was not started"
            time.sleep(0.1)
        pid = int(written.read_text())
        process.send_signal(number)
        code = process.wait(60)
        assert code == (-signal.SIGINT if number == signal.SIGINT else 128 + number)
        assert not _runs(pid)
        (key,) = (
            one for one in (tmp_path / "cache").iterdir() if one.name != "synthesis" or stage == "yosys"
        )
        assert not list(key.iterdir())
    finally:
        process.kill()
        process.wait()


def test_of_two_equal_builds_the_first_to_finish_is_kept(tools, tmp_path: Path, monkeypatch):
    """The second ends while the first one places: the first takes its result, and leaves it as it is."""
    alone, inner, inodes = bitstream.run, [], []

    def folders() -> dict[str, int]:
        """Inode of each seed's folder that is finished."""
        (key,) = (one for one in tmp_path.iterdir() if one.name != "synthesis")
        return {one.name: one.stat().st_ino for one in key.iterdir() if (one / "done.json").exists()}

    def run(tool, arguments, folder: Path, log: Path, stop=None) -> float:
        seconds = alone(tool, arguments, folder, log, stop)
        if "--textcfg" in arguments and not inner:
            inner.append(None)
            monkeypatch.setattr(bitstream, "os", SimpleNamespace(getpid=lambda: 1, path=os.path))
            inner.append(build(tmp_path))
            inodes.append(folders())
        return seconds

    monkeypatch.setattr(bitstream, "run", run)
    found = build(tmp_path)
    assert found == inner[1]
    assert inodes == [folders()] and sorted(inodes[0]) == ["seed_1", "seed_2"]
    assert len(list(found.bitstream.parent.parent.iterdir())) == 2 and tools.count("pack") == 1
