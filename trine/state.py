"""The state of a run between two tokens, in a file: texts, sampler and KV rows.

Any backend can go on from it, and any machine that the same model was compiled for.

A `.npz` file (`numpy.load`, no pickles): "header", a JSON object in bytes {version, model (SHA-256), sampler,
texts: [{prompt, tokens, base, processed}]}, and for text i "k_i", "v_i" int8 [layers, processed, kv_heads,
head_size], "s_k_i", "s_v_i" float32 [layers, processed, kv_heads].
"""

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hw.artefact import Artefact
from models.sampling import Sampler
from sim.backend import Backend, KVRow

from .errors import UsageError
from .generate import Text
from .output import read_file, write_file

__all__ = ["load_state", "save_state"]

VERSION = 1
_PARTS = ("k", "v", "s_k", "s_v")


def save_state(path: Path, artefact: Artefact, backend: Backend, texts: list[Text], sampler: Sampler) -> None:
    """Write the state, whole or not at all."""
    layers = int(artefact.config["layers"])
    arrays: dict[str, np.ndarray] = {}
    for number, text in enumerate(texts):
        rows = [[backend.kv(layer, text.base + i) for i in range(text.processed)] for layer in range(layers)]
        for part in _PARTS:
            arrays[f"{part}_{number}"] = np.array([[getattr(row, part) for row in layer] for layer in rows])
    header = {
        "version": VERSION, "model": _model(artefact), "sampler": asdict(sampler),
        "texts": [{"prompt": t.prompt, "tokens": t.tokens, "base": t.base, "processed": t.processed}
                  for t in texts],
    }  # fmt: skip
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getvalue())


def load_state(path: Path, artefact: Artefact) -> tuple[list[Text], Sampler, list[list[list[KVRow]]]]:
    """Texts, sampler, and the KV rows of each text [layer][position].

    UsageError where the file is no state of this artefact's model.
    """
    data = read_file(path, "state")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if header["version"] != VERSION:
                raise UsageError(f"state {path}: wanted version {VERSION}, found {header['version']!r}")
            if header["model"] != _model(artefact):
                raise UsageError(
                    f"state {path}: wanted one of this artefact's model ({_model(artefact)[:12]}), found "
                    f"one of {str(header['model'])[:12]}; resume with the artefact it was saved with"
                )
            texts = [Text(**text) for text in header["texts"]]
            kv = [_rows(arrays, number, text, artefact) for number, text in enumerate(texts)]
            return texts, Sampler(**header["sampler"]), kv
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"state {path}: wanted a file of trine run --save-state, found something else ({error}); "
            "save it again"
        ) from error


def _model(artefact: Artefact) -> str:
    """Identity of the quantised model."""
    return hashlib.sha256(artefact.model).hexdigest()


def _rows(arrays: np.lib.npyio.NpzFile, number: int, text: Text, artefact: Artefact) -> list[list[KVRow]]:
    """KV rows of a text, shapes and ids checked."""
    c = artefact.config
    layers, heads, size = int(c["layers"]), int(c["kv_heads"]), int(c["dim"]) // int(c["heads"])
    if not 1 <= text.processed < len(text.ids) or not all(0 <= t < int(c["vocab"]) for t in text.ids):
        raise ValueError(f"text {number}: {text.processed} of {len(text.ids)} ids processed")
    parts = []
    for part in _PARTS:
        found = arrays[f"{part}_{number}"]
        shape, dtype = (layers, text.processed, heads), np.dtype(np.float32)
        if not part.startswith("s_"):
            shape, dtype = (*shape, size), np.dtype(np.int8)
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{part}_{number}: wanted {dtype} {shape}, found {found.dtype} {found.shape}")
        parts.append(found)
    return [
        [KVRow(*(part[layer, i] for part in parts)) for i in range(text.processed)] for layer in range(layers)
    ]
