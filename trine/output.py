"""What verbs print and write: JSON files, tables, messages on standard error, streamed text."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hw.artefact import Artefact
from hw.files import in_place, write_whole

from .errors import UsageError


def write_file(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all; devices, FIFOs and links stay what they are (`hw.files`)."""
    try:
        write_whole(path, data)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot write {path}: {reason}; give a path in a folder that exists") from error


def write_artefact(path: Path, artefact: Artefact) -> int:
    """Write an artefact as `write_file` does; its bytes."""
    data = artefact.to_bytes()
    write_file(path, data)
    return len(data)


def require_folder(path: Path) -> None:
    """UsageError unless a file can be made at `path`: said before long work, lest its result be lost."""
    if in_place(path):
        if not os.access(path, os.W_OK):
            raise UsageError(f"cannot write {path}: it may not be written; give another path")
        return
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {folder}; make it, or give another path")
    if path.is_dir() or not os.access(folder, os.W_OK):
        what = "it is a folder" if path.is_dir() else f"folder {folder} may not be written"
        raise UsageError(f"cannot write {path}: {what}; give another path")


def beside(artefact: Path, suffix: str, output: Path | None) -> Path:
    """`output`, or by default the artefact's path with another suffix; UsageError where no file can be made
    there, or the artefact is."""
    target = artefact.with_suffix(suffix) if output is None else output
    require_folder(target)
    if target.exists() and artefact.exists() and target.samefile(artefact):
        raise UsageError(f"cannot write {target}: it is the artefact; give another path with -o")
    return target


def read_file(path: Path, what: str) -> bytes:
    """Bytes of `path`; UsageError that names what it should be where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}; check the path") from error


def write_json(path: str | None, content: dict[str, Any]) -> None:
    """Write the `--json` object where asked for."""
    if path is not None:
        write_file(Path(path), (json.dumps(content, indent=2) + "\n").encode())


def note(text: str) -> None:
    """A message to the person at the terminal (standard error)."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> str:
    """Plain text table: first column left, the others right aligned."""
    cells = [[str(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
