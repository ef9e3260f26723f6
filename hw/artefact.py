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
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from . import isa
from .artefact_archive import (
    FORMAT,
    MANIFEST,
    MEMBERS,
    MODEL,
    SEED,
    VECTORS,
    ArtefactError,
    Head,
    error_at,
    machine_of,
    manifest_of,
    members_of,
    model_member,
    object_in,
    read_head,
    sha256,
    verify,
)
from .files import write_whole
from .machine import MachineConfig

__all__ = [
    "FORMAT", "MANIFEST", "MEMBERS", "MODEL", "SEED", "VECTORS", "Artefact", "ArtefactError", "Head",
    "read_head",
]  # fmt: skip

_SEED_PREFIX = b'{"format": "trine-seeded'
#: Members of this size are stored as they are: packed weights hardly shrink, and deflating takes minutes.
_STORED = 2**25
#: All members carry this time, so that the same contents give the same file.
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
        hashes = {name: sha256(member) for name, member in self.members().items()}
        if self.vectors is not None:
            hashes[VECTORS] = sha256(_json(self.vectors))
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
            raise error_at(path, "a readable file", error.strerror or error, "correct the path") from error
        members = members_of(path, data)
        manifest = manifest_of(path, members)
        verify(path, manifest, members)
        found = machine_of(path, manifest, machine)
        vectors = object_in(path, VECTORS, members[VECTORS]) if VECTORS in members else None
        return cls(
            manifest["model"],
            found,
            members["program.bin"],
            members["image.bin"],
            manifest["memory_map"],
            members[model_member(members)],
            members["tokenizer.bin"],
            manifest["tensors"],
            manifest["tools"],
            vectors,
        )

    def head(self) -> Head:
        """What `read_head` finds in its file."""
        return Head(self.config, self.machine, self.program, self.memory_map, len(self.image))

    def without_vectors(self) -> Self:
        """The same artefact without test vectors."""
        return dataclasses.replace(self, vectors=None)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode() + b"\n"
