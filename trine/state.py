"""The state of a run between two tokens, in a file: texts, sampler and KV rows.

Any backend can go on from it, and any machine that the same model was compiled for.

A `.npz` file (`numpy.load`, no pickles): "header", a JSON object in bytes {version, model (SHA-256), sampler,
texts: [{prompt, tokens, processed}]}, and for text i "k_i", "v_i" int8 [layers, processed, kv_heads,
head_size], "s_k_i", "s_v_i" float32 [layers, processed, kv_heads]. Where the rows lie, the resumed run says.
"""

import hashlib
import io
import json
import lzma
import struct
import tokenize
import zipfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
#: Types of the sampler's members; JSON writes a whole float as it likes.
_SAMPLER = {"temperature": (int, float), "top_k": (int,), "top_p": (int, float), "seed": (int,)}
#: What reading junk may raise: the archive, the arrays' headers (Python text), JSON, our own checks.
_JUNK = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_state(path: Path, artefact: Artefact, backend: Backend, texts: list[Text], sampler: Sampler) -> None:
    """Write the state, whole or not at all."""
    layers = int(artefact.config["layers"])
    # The machine may be ahead: of a text that has ended, or where a run was interrupted.
    texts = [replace(text, processed=min(text.processed, len(text.ids) - 1)) for text in texts]
    arrays: dict[str, np.ndarray] = {}
    for number, text in enumerate(texts):
        rows = [[backend.kv(layer, text.base + i) for i in range(text.processed)] for layer in range(layers)]
        for part in _PARTS:
            arrays[f"{part}_{number}"] = np.array([[getattr(row, part) for row in layer] for layer in rows])
    header = {
        "version": VERSION, "model": _model(artefact), "sampler": asdict(sampler),
        "texts": [{"prompt": t.prompt, "tokens": t.tokens, "processed": t.processed} for t in texts],
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
            texts = [_text(text) for text in header["texts"]]
            if not texts:
                raise ValueError("no text")
            kv = [_rows(arrays, number, text, artefact) for number, text in enumerate(texts)]
            return texts, _sampler(header["sampler"]), kv
    except UsageError:
        raise
    except _JUNK as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"state {path}: wanted a file of trine run --save-state, found something else ({found[:200]}); "
            "save it again"
        ) from error


def _text(found: dict[str, Any]) -> Text:
    """A text of the header."""
    prompt, tokens, processed = found["prompt"], found["tokens"], found["processed"]
    for ids in (prompt, tokens):
        if not isinstance(ids, list) or not ids or any(type(one) is not int for one in (*ids, processed)):
            raise TypeError(f"a text with ids {ids!r}, {processed!r} processed")
    return Text(prompt, tokens=tokens, processed=processed, earlier=len(tokens))


def _sampler(found: dict[str, Any]) -> Sampler:
    """The header's sampler."""
    if found.keys() != _SAMPLER.keys() or any(
        type(found[name]) not in kinds for name, kinds in _SAMPLER.items()
    ):
        raise TypeError(f"sampler {found!r}")
    return Sampler(**found)


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
        if not _legal(found):
            raise ValueError(f"{part}_{number}: wanted numbers that a run writes")
        parts.append(found)
    return [
        [KVRow(*(part[layer, i] for part in parts)) for i in range(text.processed)] for layer in range(layers)
    ]


def _legal(part: np.ndarray) -> bool:
    """Whether a run may have written it: codes of -127 to 127, scales as ATTEND wants them on the tape."""
    if part.dtype == np.int8:
        return not bool((part == -128).any())
    bits = np.ascontiguousarray(part).view(np.uint32)
    return bool(((bits == 0) | (bits >= 0x0080_0000) & (bits <= 0x7F80_0000)).all())  # +0, normal, infinite
