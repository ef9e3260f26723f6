"""One way to open an artefact for every verb: read, verified, and all its parts fit together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.memory_map import MemoryMap
from hw.artefact import Artefact, ArtefactError
from hw.machine import MachineConfig
from models.config import ModelConfig
from models.quantised import QuantisedModel
from models.tokenizer import Tokenizer

from .artefact_head import REMEDY, check_head, error_at, is_count, program_complaint, sound

__all__ = ["Opened", "open_artefact", "program_complaint", "tokenizer_complaint"]


@dataclass(frozen=True)
class Opened:
    """An artefact and what its members hold."""

    artefact: Artefact
    config: ModelConfig
    model: QuantisedModel
    tokenizer: Tokenizer
    memory: MemoryMap


def open_artefact(path: Path, machine: MachineConfig | None = None) -> Opened:
    """The artefact in `path`, made for `machine` if given; ArtefactError unless all of it is sound."""
    artefact = Artefact.read(path, machine)
    config = sound(path, "a model configuration", lambda: ModelConfig.from_json(artefact.config))
    model = sound(path, "a quantised model", lambda: QuantisedModel.load(artefact.model))
    tokenizer = sound(path, "a tokenizer", lambda: Tokenizer.from_bytes(artefact.tokenizer))
    if model.config != config:
        raise error_at(path, "one model configuration", "another in member 'model.safetensors'")
    if complaint := tokenizer_complaint(tokenizer, config):
        raise ArtefactError(f"{path}: {complaint}; {REMEDY}")
    memory = check_head(path, artefact.head(), config)
    if artefact.vectors is not None:
        _vectors(path, artefact.vectors, config)
    return Opened(artefact, config, model, tokenizer, memory)


def tokenizer_complaint(tokenizer: Tokenizer, config: ModelConfig) -> str | None:
    """What is wrong where a tokenizer is not the model's; a model without EOS takes any."""
    eos = tokenizer.eos if config.eos is None else config.eos
    wanted, found = (config.vocab, config.bos, eos), (tokenizer.vocab_size, tokenizer.bos, tokenizer.eos)
    if found == wanted:
        return None
    return (
        f"tokenizer: wanted {wanted[0]} tokens with BOS {wanted[1]} and EOS {wanted[2]} "
        f"for model {config.name!r}, found {found[0]} with BOS {found[1]} and EOS {found[2]}"
    )


def _vectors(path: Path, vectors: dict[str, Any], config: ModelConfig) -> None:
    """Test vectors must be such that they can be computed anew."""

    def ids(value: object) -> bool:
        return isinstance(value, list) and bool(value) and all(is_count(one, config.vocab) for one in value)

    for name in ("prompt", "tokens"):
        if not ids(vectors.get(name)):
            text = repr(vectors.get(name))
            raise error_at(path, f"test vectors with token ids as {name!r}", text[:80])
    count = len(vectors["prompt"]) + len(vectors["tokens"]) - 1
    if count > config.context:
        raise error_at(path, f"test vectors of at most {config.context} tokens", count)
