"""Front ends: a hand-packed ak42 file, our own format, and damage of every kind."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from compiler.frontends import CheckpointError, load_checkpoint
from models.integer_quantise import Recipe
from models.quantised import MATRICES, SITES, QuantisedModel
from models.ternary_file import FORMAT, pack_codes
from tests.models.random_model import random_model


def ak42_bytes(model: QuantisedModel) -> bytes:
    """``model`` as bitllama2.c exports it, packed trit by trit."""
    c = model.config
    header = struct.pack(
        "<4s8iB", b"24ka", 1, c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab, c.context, 1
    )
    data = bytearray(header.ljust(256, b"\0"))
    data += struct.pack(f"<{c.dim}f", *model.final_gain.tolist())
    data += struct.pack(f"<{c.vocab * c.dim}f", *model.embedding.flatten().tolist())
    for name in ("q", "k", "v", "o", "gate", "down", "up"):
        for layer in model.layers:
            linear = getattr(layer, name)
            data += struct.pack("<f", linear.scale)
            trits = linear.codes.flatten().tolist()
            for at in range(0, len(trits), 4):
                pairs = [{0: 0, 1: 1, -1: 3}[trit] for trit in trits[at : at + 4]]
                data.append(sum(pair << 6 - 2 * i for i, pair in enumerate(pairs)))
    return bytes(data)


def trine_bytes(
    model: QuantisedModel, change: Callable[[dict], None] | None = None, name: str = FORMAT
) -> bytes:
    """``model`` in our own format, after ``change`` of its tensors."""
    tensors = {"embedding": model.embedding.half(), "final_gain": model.final_gain}
    for index, layer in enumerate(model.layers):
        tensors |= {f"layers.{index}.{site}_gain": gain for site, gain in layer.gains()}
        for matrix, linear in layer.matrices():
            tensors[f"layers.{index}.{matrix}.codes"] = pack_codes(linear.codes.float())
            tensors[f"layers.{index}.{matrix}.scale"] = torch.tensor([linear.scale])
    if change:
        change(tensors)
    return safetensors.torch.save(tensors, {"format": name, "config": json.dumps(model.config.to_json())})


def assert_same_layers(a: QuantisedModel, b: QuantisedModel) -> None:
    for left, right in zip(a.layers, b.layers, strict=True):
        for name in MATRICES:
            assert torch.equal(getattr(left, name).codes, getattr(right, name).codes), name
            assert getattr(left, name).scale == getattr(right, name).scale


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "model").write_bytes(data)
        return tmp_path / "model"

    return write


@pytest.fixture
def ak42() -> QuantisedModel:
    return random_model(2, norm="l2", gains=False)


# --- what is written is read ------------------------------------------------------------------------------


def test_ak42(file, ak42: QuantisedModel):
    found = load_checkpoint(file(ak42_bytes(ak42)))
    c = found.config
    assert (c.norm, c.block_gain, c.inner_norm, c.tied_head) == ("l2", False, True, True)
    assert (c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab) == (32, 48, 2, 4, 2, 50)
    assert torch.equal(found.embedding, ak42.embedding)
    assert torch.equal(found.final_gain, ak42.final_gain)
    assert torch.equal(found.head.codes, ak42.head.codes)
    assert_same_layers(found, ak42)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"gains": False},
        {"dim": 30, "heads": 3, "kv_heads": 3, "hidden": 41},
        {"inner_gain": True, "activation": "relu2"},
    ],
)
def test_trine(file, form: dict):
    model = random_model(4, **form)
    found = load_checkpoint(file(trine_bytes(model)))
    assert found.config == model.config
    assert torch.equal(found.embedding, model.embedding.half().float())
    for left, right in zip(found.layers, model.layers, strict=True):
        found_gains, gains = dict(left.gains()), dict(right.gains())
        assert found_gains.keys() == gains.keys() == found.config.gains().keys()
        assert all(torch.equal(found_gains[site], gain) for site, gain in gains.items())
    assert_same_layers(found, model)


def test_trine_with_a_head_of_its_own(file):
    model = random_model(4, tied=False)
    head = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    found = load_checkpoint(file(trine_bytes(model, lambda tensors: tensors.update(head=head))))
    assert torch.allclose(found.head.dequantised(), head, atol=0.02)
    with pytest.raises(CheckpointError, match=r"head: wanted .* found none"):
        load_checkpoint(file(trine_bytes(model)))


@pytest.mark.parametrize("form", ["ak42", "trine"])
def test_recipes_of_ternary_checkpoints(file, ak42: QuantisedModel, form: str):
    """The head and its activations are free; the matrices have their codes."""
    path = file(ak42_bytes(ak42) if form == "ak42" else trine_bytes(ak42))
    found = load_checkpoint(path, Recipe(head=4, group=16, activations=12))
    assert found.form("head") == {"bits": 4, "group": 16, "minima": True}
    assert found.activations == dict.fromkeys(SITES, 8) | {"final": 12}
    assert_same_layers(found, ak42)
    assert torch.allclose(found.head.dequantised(12), ak42.embedding, atol=0.25)
    for bits in (4, 8):
        with pytest.raises(CheckpointError, match=f"int{bits}, found ternary ones.*leave --weights out"):
            load_checkpoint(path, Recipe(weights=bits))


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"24k", b"\x80\x04pickle", b"{}" * 20, bytes(300)])
def test_unknown_formats(file, data: bytes):
    with pytest.raises(CheckpointError, match=r"wanted an ak42 .* found a file that begins"):
        load_checkpoint(file(data))


def test_no_file(tmp_path: Path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="readable"):
            load_checkpoint(path)


def edited(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data[:100], "header of 256"),
        (lambda data: data[:-1], "what the header promises"),
        (lambda data: data + b"\0", "what the header promises"),
        (lambda data: edited(data, 4, b"\2"), "version 1"),
        (lambda data: edited(data, 36, b"\0"), "shared classifier"),
        (lambda data: edited(data, 8, struct.pack("<i", -32)), "positive integer"),
        (lambda data: edited(data, 8, struct.pack("<i", 2**31 - 1)), "found"),
        (lambda data: edited(data, 24, struct.pack("<i", 3)), "divisor"),
        (lambda data: edited(data, 256, struct.pack("<f", float("nan"))), "final gain: wanted finite"),
        (lambda data: edited(data, 384, struct.pack("<f", float("inf"))), "embedding: wanted finite"),
        (
            lambda data: edited(data, 6784, struct.pack("<f", float("inf"))),
            "layer 0, q, scale: wanted finite",
        ),
        (lambda data: edited(data, 6788, b"\x80"), "layer 0, q: wanted two-bit codes"),
    ],
)
def test_damaged_ak42(file, ak42: QuantisedModel, edit: Callable[[bytes], bytes], message: str):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(file(edit(ak42_bytes(ak42))))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("embedding", torch.zeros(50, 31), r"embedding: wanted .*\[50, 32\], found .*\[50, 31\]"),
        ("final_gain", torch.full((32,), torch.inf), "final_gain: wanted finite"),
        ("layers.1.up.codes", None, "layers.1.up.codes: wanted .* found none"),
        ("layers.1.up.codes", torch.full((48, 8), 3, dtype=torch.uint8), "layers.1.up: wanted pairs"),
        ("layers.0.o.scale", torch.zeros(2), "layers.0.o.scale"),
        ("layers.0.o.scale", torch.tensor([torch.nan]), "layers.0.o.scale: wanted finite"),
        ("layers.0.bias", torch.zeros(2), "found layers.0.bias"),
    ],
)
def test_damaged_trine(file, name: str, value: torch.Tensor | None, message: str):
    def change(tensors: dict) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(file(trine_bytes(random_model(), change)))


def test_padding_must_be_zero(file):
    def change(tensors: dict) -> None:
        tensors["layers.0.down.codes"][0, -1] |= 0x40  # 41 columns leave three pairs

    with pytest.raises(CheckpointError, match="padding"):
        load_checkpoint(file(trine_bytes(random_model(hidden=41), change)))


def test_trine_truncated_or_of_another_format(file):
    data = trine_bytes(random_model())
    for cut in (9, 100, len(data) - 1):
        with pytest.raises(CheckpointError, match="whole safetensors"):
            load_checkpoint(file(data[:cut]))
    with pytest.raises(CheckpointError, match="found format 'other'"):
        load_checkpoint(file(trine_bytes(random_model(), name="other")))


@pytest.mark.shared
def test_a_real_ak42_file(shared: Path):
    model = load_checkpoint(shared / "checkpoints" / "bit_model_1M.bin")
    c = model.config
    assert (c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab, c.context) == (
        128,
        256,
        8,
        8,
        4,
        512,
        512,
    )
