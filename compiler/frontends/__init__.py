"""Front ends: one file per checkpoint format, each with ``recognises(head)`` and ``load(path)``."""

from pathlib import Path

from models.quantised import QuantisedModel

from . import ak42, trine_safetensors
from .errors import CheckpointError

__all__ = ["CheckpointError", "load_checkpoint"]

#: Bytes from the start of a file that a front end may look at to recognise it.
HEAD_BYTES = 16
_FRONT_ENDS = (ak42, trine_safetensors)


def load_checkpoint(path: Path | str) -> QuantisedModel:
    """The quantised model in ``path``, whose format is recognised by content, never by name.

    Raises CheckpointError where the file is of no known format or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(path, "a readable file", error.strerror or error, "correct the path") from error
    for front_end in _FRONT_ENDS:
        if front_end.recognises(head):
            try:
                return front_end.load(path)
            except CheckpointError:
                raise
            except (ValueError, RuntimeError, OverflowError) as error:  # consistency, as `check` sees it
                raise CheckpointError(path, "a consistent model", error, "export the model again") from error
    known = " or ".join(front_end.DESCRIPTION for front_end in _FRONT_ENDS)
    raise CheckpointError(
        path,
        known,
        f"a file that begins with {head[:8]!r}",
        "convert the checkpoint; an untrained float model needs ternary training first (models.train)",
    )
