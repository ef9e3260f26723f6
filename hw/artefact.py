"""The artefact: one ``.trine`` file with everything a machine is given to run a model.

A zip archive of these members; ``manifest.json`` holds the SHA-256 of each other one:

| member | contents |
|---|---|
| manifest.json | format, model configuration, machine, ISA digest, tools, memory map, tensor shapes, hashes |
| program.bin | 24 bytes an instruction, little-endian |
| image.bin | memory from address 0 up to the first region without initial contents |
| model.safetensors | the quantised model before layout; in its place, where weights were drawn from a seed: |
| seed.json | shape, number of layers, seed, grids of squares, and the hash of the weights |
| tokenizer.bin | the tokenizer |
| vectors.json | optional: prompt, tokens and hashes of logits and KV memory, with a hash of its own |
"""

import dataclasses
import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from . import isa
from .files import write_whole
from .machine import MachineConfig

FORMAT = "trine-artefact-1"
MANIFEST = "manifest.json"
VECTORS = "vectors.json"
#: Members that every artefact has, and the field of `Artefact` that each becomes.
MEMBERS = {
    "program.bin": "program",
    "image.bin": "image",
    "model.safetensors": "model",
    "tokenizer.bin": "tokenizer",
}
#: What stands in the place of MODEL where the model is a seed, and how that begins.
MODEL, SEED = "model.safetensors", "seed.json"
_SEED_PREFIX = b'{"format": "trine-seeded'
#: Members of this size are stored as they are: packed weights hardly shrink, and deflating takes minutes.
_STORED = 2**25
#: All members carry this time, so that the same contents give the same file.
_EPOCH = (1980, 1, 1, 0, 0, 0)
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
class Artefact:
    """Everything a backend needs.

    Parameters
    ----------
    config: the model's configuration, as plain values.
    machine: the machine that the program is for.
    program: 24 bytes an instruction.
    image: initial memory from address 0.
    memory_map: regions, strides and rows (`compiler.memory_map.MemoryMap.to_json`).
    model, tokenizer: bytes that `models` reads; of a model drawn from a seed, the seed.
    tensors: shapes of the model's tensors by name.
    tools: versions of what made it.
    vectors: test vectors, or None.
    """

    config: dict[str, Any]
    machine: MachineConfig
    program: bytes
    image: bytes
    memory_map: dict[str, Any]
    model: bytes
    tokenizer: bytes
    tensors: dict[str, list[int]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, Any] | None = None

    def members(self) -> dict[str, bytes]:
        """Members of the file that are always there, by name."""
        seeded = self.model.startswith(_SEED_PREFIX)
        return {
            SEED if seeded and name == MODEL else name: getattr(self, key) for name, key in MEMBERS.items()
        }

    def manifest(self) -> dict[str, Any]:
        """The manifest, hashes included."""
        hashes = {name: _sha256(member) for name, member in self.members().items()}
        if self.vectors is not None:
            hashes[VECTORS] = _sha256(_json(self.vectors))
        return {
            "format": FORMAT,
            "model": self.config,
            "machine": {"fields": self.machine.to_json(), "digest": self.machine.digest()},
            "isa": isa.digest(),
            "tools": self.tools,
            "memory_map": self.memory_map,
            "tensors": self.tensors,
            "sha256": hashes,
        }

    def to_bytes(self) -> bytes:
        """The file's contents; the same artefact gives the same bytes."""
        members = {
            MANIFEST: _json(self.manifest()),
            **self.members(),
        }
        if self.vectors is not None:
            members[VECTORS] = _json(self.vectors)
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name, member in members.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED if len(member) < _STORED else zipfile.ZIP_STORED
                info.external_attr = 0o644 << 16
                archive.writestr(info, member, compresslevel=6)
        return data.getvalue()

    def write(self, path: Path | str) -> int:
        """Write the file, whole or not at all (`hw.files.write_whole`); its bytes. OSError."""
        data = self.to_bytes()
        write_whole(Path(path), data)
        return len(data)

    @classmethod
    def read(cls, path: Path | str, machine: MachineConfig | None = None) -> Self:
        """Read and verify: ArtefactError unless the file is whole, of this ISA and for `machine` if given."""
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _error(path, "a readable file", error.strerror or error, "correct the path") from error
        members = _members(path, data)
        manifest = _manifest(path, members)
        _verify(path, manifest, members)
        found = _machine(path, manifest)
        if machine is not None and machine.digest() != found.digest():
            other = [name for name, value in machine.to_json().items() if found.to_json()[name] != value]
            raise _error(
                path,
                f"an artefact for machine {machine.name!r} ({machine.digest()[:12]})",
                f"one for {found.name!r} ({found.digest()[:12]}), which differs in {', '.join(other)}",
                f"compile the model again for {machine.name!r}",
            )
        vectors = _object(path, VECTORS, members[VECTORS]) if VECTORS in members else None
        return cls(
            manifest["model"],
            found,
            members["program.bin"],
            members["image.bin"],
            manifest["memory_map"],
            members[_model_member(members)],
            members["tokenizer.bin"],
            manifest["tensors"],
            manifest["tools"],
            vectors,
        )

    def without_vectors(self) -> Self:
        """The same artefact without test vectors."""
        return dataclasses.replace(self, vectors=None)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode() + b"\n"


def _error(path: Path, wanted: object, found: object, remedy: str) -> ArtefactError:
    return ArtefactError(f"{path}: wanted {wanted}, found {found}; {remedy}")


def _members(path: Path, data: bytes) -> dict[str, bytes]:
    """All members of the archive."""
    if not data.startswith(b"PK"):
        raise _error(
            path,
            "an artefact (a zip archive)",
            f"a file that begins with {data[:8]!r}",
            "make one with `trine compile`",
        )
    members, at = {}, "its directory"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                at = f"member {name!r}"
                members[name] = archive.read(name)
    except _DAMAGE as error:
        raise _error(path, "a whole archive", f"one cut short or damaged ({at}: {error})", _AGAIN) from error
    return members


def _manifest(path: Path, members: dict[str, bytes]) -> dict[str, Any]:
    """The manifest, of this format."""
    if MANIFEST not in members:
        raise _error(path, "an artefact", f"an archive without {MANIFEST!r}", "make one with `trine compile`")
    manifest = _object(path, MANIFEST, members[MANIFEST])
    found = manifest.get("format")
    if found != FORMAT:
        raise _error(path, f"format {FORMAT!r}", f"{found!r}", "compile the model again with this version")
    if missing := _ENTRIES.keys() - manifest.keys():
        raise _error(
            path, f"manifest entries {sorted(_ENTRIES)}", f"none of {sorted(missing)}", "copy the file again"
        )
    for name, kind in _ENTRIES.items():
        if not isinstance(manifest[name], kind):
            raise _error(path, f"{_KINDS[kind]} as manifest entry {name!r}", _short(manifest[name]), _AGAIN)
    return manifest


def _object(path: Path, name: str, data: bytes) -> dict[str, Any]:
    """The JSON object in a member."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _error(path, f"JSON in {name!r}", error, _AGAIN) from error
    if not isinstance(value, dict):
        raise _error(path, f"a JSON object in {name!r}", _short(value), _AGAIN)
    return value


def _short(value: object) -> str:
    """A value as text of a line at most."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _model_member(members: dict[str, bytes]) -> str:
    """The member that holds the model."""
    return SEED if SEED in members and MODEL not in members else MODEL


def _verify(path: Path, manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    """Hashes of all members, and the ISA. Vectors may have been taken out."""
    hashes = manifest["sha256"]
    needed = [_model_member(members) if name == MODEL else name for name in MEMBERS]
    for name in (*needed, *([VECTORS] if VECTORS in members else [])):
        if name not in members:
            raise _error(
                path, f"member {name!r}", f"{sorted(members)}", "copy the file again, or compile again"
            )
        if (found := _sha256(members[name])) != hashes.get(name):
            raise _error(
                path,
                f"member {name!r} with SHA-256 {hashes.get(name)}",
                found,
                "the file is damaged or was changed: compile the model again",
            )
    if manifest["isa"] != isa.digest():
        raise _error(
            path,
            f"instruction set {isa.digest()[:12]}",
            f"{manifest['isa'][:12]}",
            "compile the model again with this version, or use the version that made it",
        )


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
        raise _error(
            path, "the fields of a machine of this version", error, "compile the model again"
        ) from error
    if machine.digest() != digest:
        raise _error(
            path,
            f"a machine with digest {_short(digest)}",
            machine.digest()[:12],
            "the manifest was changed: compile the model again",
        )
    return machine
