"""The front end for llama2.c's legacy float checkpoints (`models.llama2c`): read, then quantised as asked."""

from pathlib import Path

from models.integer_quantise import Recipe, quantise_model
from models.llama2c import load_llama2c, plausible_header
from models.quantised import QuantisedModel

DESCRIPTION = "a llama2.c float checkpoint (begins with the seven sizes of a model)"


def recognises(head: bytes) -> bool:
    """Whether a file that begins with ``head`` may be of this format, which has no magic number."""
    return plausible_header(head)


def load(path: Path, recipe: Recipe) -> QuantisedModel:
    """The model in ``path``, quantised; CheckpointError where the file is not what its header promises."""
    return quantise_model(load_llama2c(path), recipe)
