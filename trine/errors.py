"""Which exceptions are the user's to mend: reported in a line or two, exit code 2, no traceback."""

import sys


class UsageError(ValueError):
    """A command line that asks for what cannot be done."""


#: Module and name of each class that `trine.cli.main` catches; anything else is a defect of Trine and keeps
#: its traceback. By name, so that a verb loads only what it needs.
_USER_ERRORS = (
    (__name__, "UsageError"),
    ("models.errors", "CheckpointError"),
    ("compiler.fit", "CompileError"),
    ("hw.artefact", "ArtefactError"),
    ("sim.errors", "ToolError"),
    ("sim.errors", "SimulationError"),
    ("models.golden", "SaturationError"),
    ("sim.interpreter", "MachineError"),
    ("sim.interpreter", "InterpreterError"),
)


def user_errors() -> tuple[type[Exception], ...]:
    """Those classes of them that are loaded: one whose module is not cannot have been raised.

    For use after `except`, which asks when an exception is there.
    """
    found = (getattr(sys.modules.get(module), name, None) for module, name in _USER_ERRORS)
    return tuple(kind for kind in found if kind is not None)


#: Exit codes of every verb.
EXIT_OK, EXIT_DIFFERENT, EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED = 0, 1, 2, 70, 130
