"""The test vectors inside an artefact: does the golden model still produce them?"""

import hashlib
from typing import Any

from compiler.memory_map import MemoryMap, Region
from compiler.vectors import make_vectors
from hw.artefact import Artefact
from models.quantised import QuantisedModel


def check_vectors(artefact: Artefact) -> dict[str, Any] | None:
    """Compute the vectors anew with the golden model; None where the artefact has none.

    Returns {"tokens", "first_difference"}: how many tokens the vectors hold, and None or a sentence.
    """
    stored = artefact.vectors
    if stored is None:
        return None
    where = artefact.memory_map
    memory = MemoryMap(**{**where, "regions": {n: Region(**r) for n, r in where["regions"].items()}})
    count = len(stored["tokens"])
    fresh = make_vectors(QuantisedModel.load(artefact.model), memory, stored["prompt"], count)
    differences = (
        f"{name}: the artefact says {_short(stored.get(name))}, the golden model {_short(fresh[name])}"
        for name in fresh
        if stored.get(name) != fresh[name]
    )
    difference = next(differences, None)
    return {"tokens": count, "first_difference": difference}


def _short(value: object) -> str:
    """A value, or a digest of it where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
