"""A window of clock cycles as a waveform file: what `sim.session.RtlSession` and ``main.cpp`` agree on.

A cycle's number counts the clock cycles of runs since the first doorbell: cycle 0 begins at the clock edge
that takes it, and a run of `RunReply.cycles` = n ends with cycle n - 1; the next run goes on from there. The
cycles between runs, in which the host reads and writes registers, have no number and are not in the file.
In the file cycle n begins, with the rising edge of ``clk``, at 10 n ns; ``top.run_cycle`` shows n.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import SimulationError

#: Source that a simulator with waveforms has beside it.
WRITER = "fst_pack.h"


@dataclass(frozen=True)
class WaveWindow:
    """Cycles `start` <= n < `stop` to the FST file `path`.

    The file is written beside `path` under a temporary name and renamed when the window or the simulation
    ends, a hang and a failed assertion included; no file is written where the runs have no cycle in it.
    """

    path: Path
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"waveform: wanted 0 <= first cycle < end of the window, found {self.start} and {self.stop}"
            )

    def partial(self) -> Path:
        """Where the file grows."""
        return self.path.resolve().with_name(f".{self.path.name}.{os.getpid()}.part")

    def plusargs(self, executable: Path) -> list[str]:
        """Arguments of the simulator; `SimulationError` where it or the place can have no such file."""
        if not (executable.parent / WRITER).exists():
            raise SimulationError(
                f"wanted a simulator built for waveforms (wave=True), found another one: {executable}"
            )
        folder = self.path.resolve().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise SimulationError(f"waveform: wanted a writable folder, found none at {folder}")
        return [f"+wave={self.path.resolve()}", f"+wave_part={self.partial()}",
                f"+wave_from={self.start}", f"+wave_to={self.stop}"]  # fmt: skip
