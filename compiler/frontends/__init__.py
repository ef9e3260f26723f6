"""Front ends: one file per checkpoint format, each with ``recognises(head)`` and ``load(path, recipe)``."""

from pathlib import Path

from models.integer_quantise import Recipe
from models.quantised import QuantisedModel

from . import ak42, llama2c, trine_safetensors
from .errors import CheckpointError

__all__ = ["CheckpointError", "load_checkpoint"]

#: Bytes from the start of a file that a front end may look at to recognise it.
HEAD_BYTES = 28
_DEFAULT = Recipe()
_FRONT_ENDS = (ak42, trine_safetensors, llama2c)


def load_checkpoint(path: Path | str, recipe: Recipe = _DEFAULT) -> QuantisedModel:
    """The quantised model in ``path``, whose format is recognised by content, never by name.

    ``recipe`` says how float matrices and the head are quantised (int8 by default). Raises CheckpointError
    where the file is of no known format or damaged, or where the recipe names other widths for weights that
    are ternary.
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
                return front_end.load(path, recipe)
            except CheckpointError:
                raise
            except (ValueError, RuntimeError, OverflowError) as error:  # consistency, as `check` sees it
                raise CheckpointError(path, "a consistent model", error, "export the model again") from error
    known = " or ".join(front_end.DESCRIPTION for front_end in _FRONT_ENDS)
    raise CheckpointError(
        path,
        known,
        f"a file that begins with {head[:8]!r}",
        "convert the checkpoint to one of these",
    )
