"""The archive behind an artefact (table: `hw.artefact`): members and manifest, read and verified."""

import dataclasses
import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import isa
from .machine import MachineConfig

__all__ = [
    "FORMAT", "IMAGE", "MANIFEST", "MEMBERS", "MODEL", "PROGRAM", "SEED", "VECTORS", "ArtefactError", "Head",
    "error_at", "machine_of", "manifest_of", "members_of", "model_member", "object_in", "read_head", "sha256",
    "verify",
]  # fmt: skip

FORMAT = "trine-artefact-1"
MANIFEST = "manifest.json"
VECTORS = "vectors.json"
PROGRAM, IMAGE = "program.bin", "image.bin"
#: Members that every artefact has, and the field of `Artefact` that each becomes.
MEMBERS = {
    PROGRAM: "program",
    IMAGE: "image",
    "model.safetensors": "model",
    "tokenizer.bin": "tokenizer",
}
#: What stands in the place of MODEL where the model is a seed, and how that begins.
MODEL, SEED = "model.safetensors", "seed.json"
#: What reading a damaged archive may raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


#: Entries that the manifest must have besides its format, and what JSON calls their types.
_ENTRIES = {
    "model": dict,
    "machine": dict,
    "isa": str,
    "tools": dict,
    "memory_map": dict,
    "tensors": dict,
    "sha256": dict,
}
_KINDS = {dict: "an object", str: "a string"}
_AGAIN = "the file is damaged or was changed: copy it again, or compile the model again"


class ArtefactError(ValueError):
    """The file is no artefact, is damaged, or belongs to another ISA or machine: wanted, found, remedy."""


@dataclass(frozen=True)
class Head:
    """What an artefact says without image, model and tokenizer; fields as of `hw.artefact.Artefact`.

    image_bytes: size of the image.
    """

    config: dict[str, Any]
    machine: MachineConfig
    program: bytes
    memory_map: dict[str, Any]
    image_bytes: int


def sha256(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def error_at(path: Path, wanted: object, found: object, remedy: str) -> ArtefactError:
    return ArtefactError(f"{path}: wanted {wanted}, found {found}; {remedy}")


def members_of(path: Path, data: bytes) -> dict[str, bytes]:
    """All members of the archive `data`."""
    _begins(path, data[:8])
    return _read(path, io.BytesIO(data))[0]


def _begins(path: Path, start: bytes) -> None:
    """ArtefactError unless a file that begins with `start` may be an archive."""
    if not start.startswith(b"PK"):
        raise error_at(
            path,
            "an artefact (a zip archive)",
            f"a file that begins with {start!r}",
            "make one with `trine compile`",
        )


def _read(
    path: Path, file: BinaryIO, wanted: Collection[str] | None = None
) -> tuple[dict[str, bytes], dict[str, int]]:
    """Contents of members of an archive, of all or of those that are wanted; sizes of all."""
    members, sizes, at = {}, {}, "its directory"
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                at = f"member {name!r}"
                sizes[name] = archive.getinfo(name).file_size
                if wanted is None or name in wanted:
                    members[name] = archive.read(name)
    except _DAMAGE as error:
        raise error_at(
            path, "a whole archive", f"one cut short or damaged ({at}: {error})", _AGAIN
        ) from error
    return members, sizes


def read_head(path: Path | str, machine: MachineConfig | None = None) -> Head:
    """What an artefact says without its image, model and tokenizer, which are neither read nor hashed.

    Manifest, machine, instruction set and program are verified as by `Artefact.read`, with the same errors;
    damage to the other members is not seen.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _begins(path, file.read(8))
            members, sizes = _read(path, file, (MANIFEST, PROGRAM))
    except OSError as error:
        raise error_at(path, "a readable file", error.strerror or error, "correct the path") from error
    manifest = manifest_of(path, members)
    for name in (PROGRAM, IMAGE):
        if name not in sizes:
            raise _missing(path, name, sizes)
    _hashed(path, manifest, members, (PROGRAM,))
    _isa(path, manifest)
    found = machine_of(path, manifest, machine)
    return Head(manifest["model"], found, members[PROGRAM], manifest["memory_map"], sizes[IMAGE])


def manifest_of(path: Path, members: dict[str, bytes]) -> dict[str, Any]:
    """The manifest, of this format."""
    if MANIFEST not in members:
        raise error_at(
            path, "an artefact", f"an archive without {MANIFEST!r}", "make one with `trine compile`"
        )
    manifest = object_in(path, MANIFEST, members[MANIFEST])
    found = manifest.get("format")
    if found != FORMAT:
        raise error_at(path, f"format {FORMAT!r}", f"{found!r}", "compile the model again with this version")
    if missing := _ENTRIES.keys() - manifest.keys():
        raise error_at(
            path, f"manifest entries {sorted(_ENTRIES)}", f"none of {sorted(missing)}", "copy the file again"
        )
    for name, kind in _ENTRIES.items():
        if not isinstance(manifest[name], kind):
            raise error_at(path, f"{_KINDS[kind]} as manifest entry {name!r}", _short(manifest[name]), _AGAIN)
    return manifest


def object_in(path: Path, name: str, data: bytes) -> dict[str, Any]:
    """The JSON object in a member."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise error_at(path, f"JSON in {name!r}", error, _AGAIN) from error
    if not isinstance(value, dict):
        raise error_at(path, f"a JSON object in {name!r}", _short(value), _AGAIN)
    return value


def _short(value: object) -> str:
    """A value as text of a line at most."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def model_member(members: dict[str, bytes]) -> str:
    """The member that holds the model."""
    return SEED if SEED in members and MODEL not in members else MODEL


def verify(path: Path, manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    """Hashes of all members, and the ISA. Vectors may have been taken out."""
    needed = [model_member(members) if name == MODEL else name for name in MEMBERS]
    _hashed(path, manifest, members, (*needed, *([VECTORS] if VECTORS in members else [])))
    _isa(path, manifest)


def _missing(path: Path, name: str, found: Collection[str]) -> ArtefactError:
    return error_at(path, f"member {name!r}", f"{sorted(found)}", "copy the file again, or compile again")


def _hashed(path: Path, manifest: dict[str, Any], members: dict[str, bytes], names: Collection[str]) -> None:
    """ArtefactError unless members `names` are there and have the hashes of the manifest."""
    hashes = manifest["sha256"]
    for name in names:
        if name not in members:
            raise _missing(path, name, members)
        if (found := sha256(members[name])) != hashes.get(name):
            raise error_at(
                path,
                f"member {name!r} with SHA-256 {hashes.get(name)}",
                found,
                "the file is damaged or was changed: compile the model again",
            )


def _isa(path: Path, manifest: dict[str, Any]) -> None:
    if manifest["isa"] != isa.digest():
        raise error_at(
            path,
            f"instruction set {isa.digest()[:12]}",
            f"{manifest['isa'][:12]}",
            "compile the model again with this version, or use the version that made it",
        )


def machine_of(path: Path, manifest: dict[str, Any], machine: MachineConfig | None) -> MachineConfig:
    """The machine of the manifest; ArtefactError unless it is sound, and `machine` if given."""
    found = _machine(path, manifest)
    if machine is not None and machine.digest() != found.digest():
        other = [name for name, value in machine.to_json().items() if found.to_json()[name] != value]
        raise error_at(
            path,
            f"an artefact for machine {machine.name!r} ({machine.digest()[:12]})",
            f"one for {found.name!r} ({found.digest()[:12]}), which differs in {', '.join(other)}",
            f"compile the model again for {machine.name!r}",
        )
    return found


def _machine(path: Path, manifest: dict[str, Any]) -> MachineConfig:
    """The machine, its digest checked."""
    digest = manifest["machine"].get("digest")
    try:
        fields = manifest["machine"]["fields"]
        types = {one.name: one.type for one in dataclasses.fields(MachineConfig)}
        for name, value in fields.items():
            wanted = {int: (int,), float: (int, float), str: (str,)}[types[name]]
            if type(value) not in wanted or not (
                value.isprintable() if str in wanted else 0 <= value <= 2**24
            ):
                raise ValueError(f"{name} = {_short(value)}")
        machine = MachineConfig(**fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise error_at(
            path, "the fields of a machine of this version", error, "compile the model again"
        ) from error
    if machine.digest() != digest:
        raise error_at(
            path,
            f"a machine with digest {_short(digest)}",
            machine.digest()[:12],
            "the manifest was changed: compile the model again",
        )
    return machine
