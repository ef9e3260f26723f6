"""The llama2.c front end: hand-packed legacy files, recipes, damage, and stories260K."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from compiler.frontends import CheckpointError, load_checkpoint
from models.float_model import FloatModel, Layer
from models.golden import GoldenModel
from models.integer_quantise import Recipe, quantise_int4, quantise_int8
from models.llama2c import load_llama2c, plausible_header
from models.quantised import SITES, IntegerLinear
from tests.models.random_model import random_model

#: Greedy float reference of stories260K from BOS, computed elsewhere in NumPy (FACTS.md).
STORIES260K = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315]
STORIES260K += [421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419]


def float_model(tied: bool) -> FloatModel:
    """A small float Llama with gains that are not all one."""
    config = random_model(inner_norm=False, tied=tied, hidden=44).config
    torch.manual_seed(3)
    model = FloatModel(config, "fixed", None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gain"):
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def legacy_bytes(model: FloatModel) -> bytes:
    """``model`` as version 0 of llama2.c's export writes it, tensor by tensor."""
    c = model.config
    layers = [layer for layer in model.layers if isinstance(layer, Layer)]
    parts = [model.embedding]
    for name in ("attention_gain", "q", "k", "v", "o", "mlp_gain", "gate", "down", "up"):
        parts += [getattr(layer, name) for layer in layers]
    parts += [model.final_gain, torch.full((2, c.context, c.head_size // 2), torch.nan)]  # never read
    if not c.tied_head:
        parts.append(model.head)
    vocab = c.vocab if c.tied_head else -c.vocab
    data = struct.pack("<7i", c.dim, c.hidden, c.layers, c.heads, c.kv_heads, vocab, c.context)
    for part in parts:
        numbers = part.detach().flatten().tolist()
        data += struct.pack(f"<{len(numbers)}f", *numbers)
    return data


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "small.bin").write_bytes(data)
        return tmp_path / "small.bin"

    return write


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_written_is_read(file, tied: bool):
    model = float_model(tied)
    found = load_llama2c(file(legacy_bytes(model)))
    c = found.config
    assert (c.name, c.norm, c.norm_eps, c.rope_base) == ("small", "rms", 1e-5, 1e4)
    assert (c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab, c.context) == (32, 44, 2, 4, 2, 50, 32)
    assert (c.block_gain, c.inner_norm, c.tied_head) == (True, False, tied)
    wanted, state = model.state_dict(), found.state_dict()
    assert wanted.keys() == state.keys()
    assert all(torch.equal(wanted[name], state[name]) for name in wanted)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("recipe", [Recipe(), Recipe(8, 4, 16, 12), Recipe(4, 8, 32, 12)], ids=str)
def test_it_is_quantised_as_asked(file, recipe: Recipe, tied: bool):
    model = float_model(tied)
    found = load_checkpoint(file(legacy_bytes(model)), recipe)
    assert found.activations == dict.fromkeys(SITES, recipe.activations)
    for layer, source in zip(found.layers, model.layers, strict=True):
        for name, matrix in layer.matrices():
            weight = getattr(source, name).detach()
            wanted = (
                quantise_int4(weight, recipe.group, recipe.activations)
                if recipe.weights == 4
                else quantise_int8(weight, recipe.activations)
            )
            assert isinstance(matrix, IntegerLinear)
            assert matrix.form == wanted.form
            assert torch.equal(matrix.integers(), wanted.integers())
            assert torch.equal(matrix.row_scale, wanted.row_scale)
    head = (model.embedding if tied else model.head).detach()
    assert found.head.bits == recipe.head
    assert torch.allclose(
        found.head.dequantised(recipe.activations), head, atol=0.01 if recipe.head == 4 else 0.001
    )


def test_without_a_recipe_all_is_int8(file):
    found = load_checkpoint(file(legacy_bytes(float_model(True))))
    assert found.form("q") == found.form("head") == {"bits": 8, "group": 0, "minima": False}
    assert set(found.activations.values()) == {8}


# --- damage -----------------------------------------------------------------------------------------------


def header(**change: int) -> bytes:
    """28 bytes of a small model's header, some numbers changed."""
    numbers = {"dim": 32, "hidden": 44, "layers": 2, "heads": 4, "kv": 2, "vocab": 50, "context": 32}
    return struct.pack("<7i", *(numbers | change).values())


@pytest.mark.parametrize(
    ("head", "plausible"),
    [
        (header(), True),
        (header(vocab=-50), True),
        (header()[:27], False),
        (b"", False),
        (header(dim=0), False),
        (header(dim=-32), False),
        (header(layers=1 << 11), False),
        (header(vocab=0), False),
        (header(vocab=-(2**31)), False),
        (header(dim=0x616B3432), False),
        (b"GGUF" + bytes(24), False),
        (b"PK\3\4" + bytes(24), False),
        (struct.pack("<Q", 1234) + b'{"__metadata__":{"fo', False),
    ],
)
def test_what_may_be_a_header(head: bytes, plausible: bool):
    assert plausible_header(head) == plausible


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data[:28], r"wanted \d+ bytes \(what the header promises: 2 layers, dim 32.*found 28;"),
        (lambda data: data[:-1], "what the header promises"),
        (lambda data: data + b"\0", "what the header promises"),
        (lambda data: header(vocab=-50) + data[28:], "what the header promises.*vocab -50"),
        (lambda data: header(hidden=45) + data[28:], "what the header promises"),
        (lambda data: header(heads=3) + data[28:], "the header of a model, found.*multiple of heads"),
        (lambda data: header(kv=3) + data[28:], "the header of a model, found.*divisor"),
        (lambda data: header(dim=4) + data[28:], "the header of a model, found.*even head size"),
        (lambda data: header(vocab=1) + data[28:], "the header of a model, found.*bos"),
        (lambda data: data[:28] + b"\0\0\xc0\x7f" + data[32:], "embedding: wanted finite numbers"),
        (lambda data: data[:6428] + b"\0\0\x80\xff" + data[6432:], "attention_gain: wanted finite numbers"),
        (lambda data: header(dim=-32) + data[28:], "wanted an ak42 .* or a llama2.c float checkpoint"),
    ],
)
def test_damage(file, edit: Callable[[bytes], bytes], message: str):
    path = file(edit(legacy_bytes(float_model(True))))
    with pytest.raises(CheckpointError, match=f"small.bin.*{message}"):
        load_checkpoint(path)


# --- a real checkpoint ------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("recipe", [Recipe(weights=8), Recipe(4, 4, 32, 12)], ids=str)
def test_greedy_tokens_of_stories260k(shared: Path, recipe: Recipe):
    """The float model's choices survive both widths; the int4 ones up to their first near tie at least."""
    model = load_checkpoint(shared / "checkpoints" / "stories260K.bin", recipe)
    c = model.config
    assert (c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab) == (64, 172, 5, 8, 4, 512)
    found = [token for token, _ in GoldenModel(model).generate(STORIES260K[:1], len(STORIES260K) - 1)]
    assert found == STORIES260K[1:]
