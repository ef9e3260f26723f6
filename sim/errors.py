"""What can go wrong around a simulation, as exceptions with the remedy in their text."""


class ToolError(RuntimeError):
    """A tool is missing or failed; the text says what was wanted, what was found and what to do."""


class SimulationError(RuntimeError):
    """The simulator died or an assertion fired; the text ends with the tail of the simulator's log."""


class SimulationTimeoutError(SimulationError):
    """The machine raised no interrupt in time.

    Attributes
    ----------
    cycles : int
        Cycles waited since the start.
    reads : dict[int, int]
        The CSRs asked for, read after the wait, by address.
    """

    def __init__(self, message: str, cycles: int, reads: dict[int, int]):
        super().__init__(message)
        self.cycles = cycles
        self.reads = reads
