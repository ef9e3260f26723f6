"""One running RTL simulation, seen from Python: CSRs, DRAM through the back door, run until the interrupt."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cocotb_tools.config
import find_libpython
import numpy as np

from .activity_log import ActivityLog
from .bench import COMMANDS, REPLIES
from .dram import DramParams
from .errors import SimulationError, SimulationTimeoutError, ToolError
from .trace_log import Layout, TraceLog
from .waves import WaveWindow


@dataclass(frozen=True)
class DramCounters:
    """What the DRAM model counted: beats moved and clock cycles by state."""

    #: Beats the machine took, and gave.
    read_beats: int
    write_beats: int
    #: The data bus moved a beat, turned round or refreshed.
    busy_cycles: int
    #: A read beat was offered and the machine did not take it.
    held_cycles: int
    #: The machine had asked for nothing.
    idle_cycles: int


@dataclass(frozen=True)
class RunReply:
    """Result of one `RtlSession.run`."""

    #: Clock edges from the one that took the start write to the one that raised the interrupt.
    cycles: int
    #: The CSRs asked for, by address, read after the interrupt.
    reads: dict[int, int]
    #: Counted during this run.
    dram: DramCounters


class RtlSession:
    """A simulator process, out of reset and waiting.

    Parameters
    ----------
    executable : Path
        From `sim.verilate.build`.
    memory : int or np.ndarray
        Size of the DRAM in bytes, then filled with random bytes by `seed`; or its contents (copied).
    dram : DramParams
        Timing of the memory.
    seed : int
        Of the DRAM's contents and random stalls.
    progress : callable
        Told the cycles so far, about every `report` cycles of a run.
    plusargs : sequence of str
        Further arguments of the simulator.
    wave : WaveWindow or None
        Cycles that are written to a file, which is there at the latest when the session is closed; needs a
        simulator built with `wave`.
    trace, activity : bool
        Keep an event log, an activity log; both need a simulator of `sim.verilate.build_overlay`.

    Members
    -------
    trace : TraceLog or None
        The event log, where asked for.
    activity : ActivityLog or None
        The activity log, likewise.
    memory : np.ndarray
        The DRAM's bytes (uint8), shared with the simulator. The machine's writes are there when their
        response was sent. Write before a run, read after its interrupt.

    Every method raises `SimulationError` with the end of the simulator's log when the simulator has died,
    as it does when the AXI checker objects or the machine leaves the DRAM; the session is then closed.
    """

    def __init__(
        self,
        executable: Path,
        memory: int | np.ndarray,
        dram: DramParams | None = None,
        seed: int = 1,
        progress: Callable[[int], None] | None = None,
        report: int = 1_000_000,
        plusargs: Sequence[str] = (),
        wave: WaveWindow | None = None,
        trace: bool = False,
        activity: bool = False,
    ):
        self._wave = wave
        self.activity: ActivityLog | None = None
        self.trace: TraceLog | None = None
        self._progress = progress
        self._report = report
        self._counters = dict.fromkeys((field.name for field in dataclasses.fields(DramCounters)), 0)
        self._directory = tempfile.TemporaryDirectory(prefix="trine-rtl-")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            home = Path(self._directory.name)
            self.memory = _map_memory(home / "dram", memory, seed)
            arguments = [*(dram or DramParams()).plusargs(home / "dram", seed), *plusargs]
            if wave is not None:
                arguments += wave.plusargs(executable)
            if trace:
                self.trace = TraceLog(Layout.of(executable), home / "trace")
                arguments.append(f"+trace={home / 'trace'}")
            if activity:
                self.activity = ActivityLog(executable, home / "activity")
                arguments += self.activity.plusargs
            self._start(executable, home, arguments)
        except BaseException:
            self.close()
            raise

    def write(self, addr: int, value: int) -> None:
        """One CSR write; `addr` is a 32-bit word index."""
        self._ask({"op": "write", "writes": [[addr, value]]})

    def write_all(self, writes: Iterable[tuple[int, int]]) -> None:
        """CSR writes in order."""
        self._ask({"op": "write", "writes": [list(pair) for pair in writes]})

    def read(self, addr: int) -> int:
        """One CSR read."""
        return self.read_all([addr])[0]

    def read_all(self, addrs: Sequence[int]) -> list[int]:
        """CSR reads in order."""
        return self._ask({"op": "read", "reads": list(addrs)})["reads"]

    def run(
        self, writes: Sequence[tuple[int, int]], reads: Sequence[int] = (), max_cycles: int = 100_000_000
    ) -> RunReply:
        """Does `writes`, the last of which starts the machine; sleeps until the interrupt; reads `reads`.

        The interrupt is left pending: acknowledge it among the next run's writes, before the last. Raises
        `SimulationTimeoutError`, which holds the `reads`, after `max_cycles`; the session stays open.
        """
        command = {"op": "run", "writes": [list(pair) for pair in writes], "reads": list(reads),
                   "max_cycles": max_cycles, "report": self._report}  # fmt: skip
        reply = self._ask(command)
        if (self.trace or self.activity) is not None and not reads:
            self.read(0)  # the logs are flushed at the clock edge after the run
        values = dict(zip(reads, reply["reads"], strict=True))
        if not reply["done"]:
            state = ", ".join(f"CSR 0x{addr:03x} = 0x{value:08x}" for addr, value in values.items())
            raise SimulationTimeoutError(
                f"no interrupt within {reply['cycles']} cycles of the start; "
                f"{state or 'ask for status CSRs in reads to see where it stopped'}",
                reply["cycles"],
                values,
            )
        delta = {name: reply["counters"][name] - self._counters[name] for name in self._counters}
        self._counters = reply["counters"]
        return RunReply(reply["cycles"], values, DramCounters(**delta))

    def close(self) -> None:
        """Ends the simulator and removes its files; `memory` stays readable. Safe to repeat."""
        self._end()
        if self._wave is not None:
            self._wave.partial().unlink(missing_ok=True)
        self._directory.cleanup()

    def _end(self) -> None:
        """Ends the simulator: kindly, for five seconds."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (self._commands, self._replies):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # the bench ends at the end of its commands
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._process is not None:
            if self._wave is None:
                self._process.kill()
            else:  # wanted most after an error
                self._process.terminate()
        self.close()

    def _start(self, executable: Path, home: Path, arguments: list[str]) -> None:
        """Starts the child with its two pipes and waits until the machine is out of reset."""
        self._log = home / "simulator.log"
        inward, commands = os.pipe()
        replies, outward = os.pipe()
        self._commands = os.fdopen(commands, "w")
        self._replies = os.fdopen(replies, "r")
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(executable), *arguments],
                    cwd=home,
                    env=_environment(home, {COMMANDS: str(inward), REPLIES: str(outward)}),
                    pass_fds=(inward, outward),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        finally:
            os.close(inward)
            os.close(outward)
        self._hear()

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            raise SimulationError("the simulation has ended; open a new session")
        with contextlib.suppress(BrokenPipeError):  # the child is dead; the missing reply says so
            print(json.dumps(command), file=self._commands, flush=True)
        reply = self._hear()
        if "error" in reply:
            raise SimulationError(reply["error"])
        return reply

    def _hear(self) -> dict[str, Any]:
        """The next reply that is not about progress."""
        for line in self._replies:
            reply = json.loads(line)
            if "progress" not in reply:
                return reply
            if self._progress is not None:
                self._progress(reply["progress"])
        process = self._process
        assert process is not None
        code = process.wait()
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
        self.close()
        raise SimulationError(f"the simulator ended with exit code {code}; its log ends:\n{tail}")


def _map_memory(path: Path, memory: int | np.ndarray, seed: int) -> np.ndarray:
    """Creates the DRAM file and maps it."""
    if isinstance(memory, np.ndarray):
        contents = np.ascontiguousarray(memory).view(np.uint8).reshape(-1)
    else:
        contents = np.frombuffer(np.random.default_rng(seed).bytes(memory), np.uint8)
    if len(contents) == 0:
        raise ValueError("memory must have one byte or more, found none")
    contents.tofile(path)
    return np.memmap(path, np.uint8, mode="r+")


def _environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: what cocotb's own runner sets, and `more`."""
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise ToolError(
            f"cocotb needs a Python built with a shared library (libpython); {sys.executable} has none. "
            "Use another Python, for instance: apt install python3 libpython3-dev"
        )
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{libpython};{cocotb_tools.config.pygpi_entry_point()}",
        "COCOTB_TEST_MODULES": "sim.bench",
        "COCOTB_TOPLEVEL": "top",
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_RESULTS_FILE": str(home / "results.xml"),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_ANSI_OUTPUT": "0",
        **more,
    }
