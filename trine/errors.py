"""Which exceptions are the user's to mend: reported in a line or two, exit code 2, no traceback."""

from boards.errors import LinkError
from compiler.fit import CompileError
from compiler.frontends import CheckpointError
from hw.artefact import ArtefactError
from models.golden import SaturationError
from sim.errors import SimulationError, ToolError
from sim.interpreter import InterpreterError, MachineError


class UsageError(ValueError):
    """A command line that asks for what cannot be done."""


#: Caught by `trine.cli.main`; anything else is a defect of Trine and keeps its traceback.
USER_ERRORS = (
    UsageError,
    CheckpointError,
    CompileError,
    ArtefactError,
    ToolError,
    SimulationError,
    LinkError,
    SaturationError,
    MachineError,
    InterpreterError,
)

#: Exit codes of every verb.
EXIT_OK, EXIT_DIFFERENT, EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED = 0, 1, 2, 70, 130
