"""The RTL as a backend."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hw.artefact import Artefact

from .dram import DDR3, DramParams
from .memory_image import initial_memory
from .register_backend import TOKEN_LIMIT, RegisterBackend
from .session import RtlSession
from .verilate import Progress, build_overlay
from .waves import WaveWindow

__all__ = ["Rtl"]


class Rtl(RegisterBackend):
    """The RTL in Verilator: memory image through the back door, then CSR writes and interrupts only.

    Parameters
    ----------
    artefact : Artefact
        Its machine's simulator is built, or found in the cache.
    dram : DramParams
        Timing of the memory.
    progress : callable
        Told the stages of the build.
    cycles : callable
        Told the cycles of the running token now and then.
    seed : int
        Of the memory's other contents and of its stalls.
    executable : Path or None
        Another simulator of the same machine, not to be built.
    plusargs : sequence of str
        Further arguments of the simulator.
    limit : int
        Cycles after which a step that raises no interrupt counts as hung.
    wave : WaveWindow or None
        Cycles that become a waveform file; the simulator for it is another one.
    trace : bool
        Keep an event log, for `sim.lockstep`'s comparison at each instruction.
    activity : bool
        Keep an activity log (`sim.activity_log`).

    Members
    -------
    seconds : float
        Wall time spent in simulation so far.
    """

    name = "rtl"

    def __init__(
        self,
        artefact: Artefact,
        dram: DramParams = DDR3,
        progress: Progress = lambda _: None,
        cycles: Callable[[int], None] | None = None,
        seed: int = 1,
        executable: Path | None = None,
        plusargs: Sequence[str] = (),
        limit: int = TOKEN_LIMIT,
        wave: WaveWindow | None = None,
        trace: bool = False,
        activity: bool = False,
    ):
        executable = executable or build_overlay(artefact.machine, progress, wave=wave is not None)
        memory = initial_memory(artefact, seed)
        self.session: RtlSession = RtlSession(
            executable, memory, dram.at(artefact.machine), seed, cycles, report=200_000, plusargs=plusargs,
            wave=wave, trace=trace, activity=activity,
        )  # fmt: skip
        super().__init__(
            self.session, artefact, limit=limit,
            remedy="the simulator is not of this machine: delete its cache (trine doctor names the folder)",
        )  # fmt: skip
