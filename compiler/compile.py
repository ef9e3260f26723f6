"""Quantised model in, artefact out: the plan (`compiler.plan`), and the bytes of image and test vectors."""

import platform
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from torch import Tensor

from hw.artefact import Artefact
from hw.machine import MachineConfig
from models import numerics
from models.quantised import QuantisedModel, matrix_shapes

from .fit_sums import fit_sums
from .lower import PARTS
from .memory_map import MemoryMap
from .plan import plan_program
from .tape import segment
from .vectors import GENERATED, make_vectors

#: Tokens after BOS of the prompt of test vectors, where the vocabulary has them.
PROMPT = (403, 407, 261, 378)
#: Rows of the embedding that are converted together.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Compiled:
    """Program (24 bytes an instruction), initial memory from address 0 (uint8), and where things lie."""

    program: bytes
    image: np.ndarray
    memory: MemoryMap


def compile_program(model: QuantisedModel, machine: MachineConfig, kv_rows: int | None = None) -> Compiled:
    """Program and image of a model; CompileError where it does not fit the machine.

    kv_rows: rows of KV memory in a layer, which all sequences share; None: one context.
    """
    config = model.config
    plan = plan_program(model, machine, kv_rows)
    fit_sums(model, machine)
    memory, places, fetches, tapes = plan.memory, plan.places, plan.fetches, plan.tapes
    image = np.zeros(memory.image_bytes, np.uint8)

    def put(start: int, data: np.ndarray) -> None:
        image[start : start + data.size] = data.reshape(-1)

    regions, strides = memory.regions, memory.strides
    _put_rows(image, regions["embedding"].start, strides["embedding"], model.embedding)
    table = numerics.rope_table(config.context, config.head_size, config.rope_base)
    _put_rows(image, regions["rope"].start, strides["rope"], table)

    def taken(block: str, layer: int) -> np.ndarray:
        found = [run for part in PARTS if PARTS[part] == block for run in fetches[part]]
        return segment(model, machine, places, layer, found, tapes[block])

    put(regions["tape_prologue"].start, taken("prologue", 0))
    for layer in range(config.layers):
        put(regions["tape_layers"].start + layer * strides["layer"], taken("body", layer))
    put(regions["tape_epilogue"].start, taken("epilogue", config.layers - 1))
    return Compiled(plan.program, image, memory)


def compile_model(
    model: QuantisedModel,
    tokenizer: bytes,
    machine: MachineConfig,
    vectors: bool = True,
    prompt: list[int] | None = None,
    kv_rows: int | None = None,
    generated: int = GENERATED,
) -> Artefact:
    """The artefact of a model for a machine.

    vectors: whether to add test vectors (the golden model runs ``generated`` tokens).
    prompt: of the test vectors; else BOS and a few words.
    kv_rows: as for `compile_program`.
    Raises CompileError where the model does not fit, ValueError where it is not consistent.
    """
    model.check()
    compiled = compile_program(model, machine, kv_rows)
    proof = None
    if vectors:
        prompt = prompt or _prompt(model)
        count = min(generated, model.config.context - len(prompt) + 1)
        proof = make_vectors(model, compiled.memory, prompt, count)
    shapes = {name: list(shape) for name, shape in _shapes(model).items()}
    return Artefact(
        model.config.to_json(),
        machine,
        compiled.program,
        compiled.image.tobytes(),
        compiled.memory.to_json(),
        model.save(),
        tokenizer,
        shapes,
        _tools(),
        proof,
    )


def _put_rows(image: np.ndarray, start: int, stride: int, rows: Tensor) -> None:
    """Rows of binary32, subnormals as zero, each `stride` bytes after the one before.

    Some rows at a time: a vocabulary's embedding may be larger than all else.
    """
    end = start + len(rows) * stride
    places = image[start:end].reshape(len(rows), stride)[:, : 4 * rows.shape[1]]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = numerics.flush(rows[first : first + _ROWS_AT_ONCE])
        places[first : first + len(some)] = some.contiguous().numpy().view(np.uint8)


def _prompt(model: QuantisedModel) -> list[int]:
    """BOS and some ids, fewer where the context is short."""
    room = max(0, model.config.context - GENERATED)
    return [model.config.bos, *(token % model.config.vocab for token in PROMPT)][: max(1, room)]


def _shapes(model: QuantisedModel) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's tensors; matrices as [out, in], not as packed."""
    c = model.config
    found: dict[str, tuple[int, ...]] = {"embedding": (c.vocab, c.dim), "head": (c.vocab, c.dim)}
    for index in range(c.layers):
        found |= {f"layers.{index}.{name}": shape for name, shape in matrix_shapes(c).items()}
    return found


def _tools() -> dict[str, str]:
    """Versions of what made an artefact."""
    found = {"python": platform.python_version()}
    for name in ("trine", "torch", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "source tree"
    return found
