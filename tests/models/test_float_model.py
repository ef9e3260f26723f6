"""The float transformer: outside reference ids, causality, the KV cache, quantisers, the shipped form."""

from pathlib import Path

import pytest
import torch

from models.config import ModelConfig
from models.evaluate import bits_per_byte
from models.float_model import (
    FloatModel,
    KVCache,
    quantise_activations,
    ternary,
    ternary_codes,
    ternary_scale,
)
from models.llama2c import load_llama2c
from models.stories import hold_out, normalise, split_stories
from models.ternary_file import load_ternary, pack_codes, save_ternary, unpack_codes
from models.tokenizer import Tokenizer
from models.train import train_tokenizer

#: Greedy float reference of stories260K from BOS, computed elsewhere in NumPy (FACTS.md).
STORIES260K = [
    *(1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315),
    *(421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419),
]

VARIANTS = [
    {},
    {"norm": "l2", "block_gain": False},
    {"inner_norm": False, "tied_head": False},
    {"inner_gain": True, "activation": "relu2"},
]


def small(**change: object) -> ModelConfig:
    """A tiny configuration with grouped heads."""
    sizes = {"dim": 32, "hidden": 24, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 40, "context": 16}
    return ModelConfig.from_json({"name": "small", **sizes, **change})


def built(config: ModelConfig, **options: object) -> FloatModel:
    """A seeded model whose gains are not all one."""
    torch.manual_seed(5)
    model = FloatModel(config, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gain"):
                parameter.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.shared
def test_stories260k_greedy(shared: Path) -> None:
    model = load_llama2c(shared / "checkpoints/stories260K.bin")
    assert model.greedy([1], len(STORIES260K) - 1) == STORIES260K


@pytest.mark.shared
@pytest.mark.parametrize("size", [0, 27, 28, 100_000])
def test_refuses_cut_checkpoints(shared: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes((shared / "checkpoints/stories260K.bin").read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"cut\.bin: wanted .*found {size}"):
        load_llama2c(path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bits", [None, 8])
def test_cache_changes_nothing(variant: dict[str, object], bits: int | None) -> None:
    model = built(small(**variant), activation_bits=bits)
    tokens = torch.randint(0, 40, (3, 12), generator=torch.Generator().manual_seed(1))
    whole, cache = model(tokens), KVCache.empty(model.config, 3)
    parts = [model(part, cache) for part in tokens.split([4, 1, 5, 1, 1], 1)]
    if bits is None:
        torch.testing.assert_close(torch.cat(parts, 1), whole)
    else:  # float noise may move an activation by one quantisation step
        torch.testing.assert_close(
            torch.cat(parts, 1), whole, rtol=0, atol=0.05 * float(whole.detach().std())
        )


def test_is_causal() -> None:
    model = built(small())
    tokens = torch.arange(10)[None]
    changed = tokens.clone()
    changed[0, 6] = 30
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert not torch.allclose(after[:, 6:], before[:, 6:])


def test_attention_sees_relative_positions_only() -> None:
    model = built(small(layers=1), activation_bits=None)
    cache = KVCache.empty(model.config, 1)
    cache.length = 3
    for kept in (*cache.keys, *cache.values):  # three tokens that no query matches and that add nothing
        kept.zero_()
    tokens = torch.tensor([[7, 8, 9]])
    mass = model(tokens, cache)
    assert not torch.allclose(mass, model(tokens)), "empty keys take part in the softmax"
    shifted = built(small(layers=1), activation_bits=None)
    shifted.cos, shifted.sin = model.cos.roll(-4, 0), model.sin.roll(-4, 0)
    torch.testing.assert_close(shifted(tokens), model(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [17, 40])
def test_refuses_more_than_the_context(length: int) -> None:
    model = built(small())
    with pytest.raises(ValueError, match=f"wanted at most 16 tokens .* found {length}"):
        model(torch.zeros(1, length, dtype=torch.int64))


def test_quantisers() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(30, 20, generator=generator).requires_grad_()
    effective = ternary(weight)
    scale = ternary_scale(weight)
    torch.testing.assert_close(effective, scale * ternary_codes(weight, scale))
    assert set(ternary_codes(weight, scale).unique().tolist()) == {-1.0, 0.0, 1.0}
    effective.sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))  # straight through
    x = torch.randn(5, 64, generator=generator)
    x[2] = 0
    top = x.abs().amax(-1, keepdim=True)
    levels = quantise_activations(x, 8) * 127 / top.clamp(min=1e-5)
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert bool(((quantise_activations(x, 8) - x).abs() <= top / 127 / 2 + 1e-6).all())


@pytest.mark.parametrize("columns", [1, 4, 7, 128])
def test_code_packing(columns: int) -> None:
    codes = torch.randint(-1, 2, (9, columns), generator=torch.Generator().manual_seed(columns))
    assert torch.equal(unpack_codes(pack_codes(codes), columns), codes.to(torch.int8))


def test_code_packing_is_least_significant_first() -> None:
    assert pack_codes(torch.tensor([[1, -1, 0, 1, -1]])).tolist() == [[0b01_00_10_01, 0b10]]
    with pytest.raises(ValueError, match="found 3"):
        unpack_codes(torch.tensor([[3]], dtype=torch.uint8), 4)


def test_shipped_form_is_the_trained_model(tmp_path: Path) -> None:
    latent = built(small(), weights="ternary")
    save_ternary(latent, tmp_path / "model.safetensors")
    loaded = load_ternary(tmp_path / "model.safetensors")
    assert loaded.config == latent.config
    tokens = torch.randint(0, 40, (2, 16))
    torch.testing.assert_close(loaded(tokens), latent(tokens), rtol=1e-4, atol=1e-4)


def test_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_ternary(built(small(), weights="ternary"), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="wanted a safetensors file"):
        load_ternary(path)


def test_the_shipped_model(root: Path) -> None:
    folder = root / "models/shipped"
    assert (folder / "model.safetensors").stat().st_size <= 1_200_000
    model = load_ternary(folder / "model.safetensors")
    tokenizer = Tokenizer.from_json(folder / "tokenizer.json")
    c = model.config
    assert (c.name, c.dim, c.hidden, c.layers, c.vocab) == (
        "trine-stories-1m",
        128,
        384,
        6,
        tokenizer.vocab_size,
    )
    assert (c.bos, c.eos) == (tokenizer.bos, tokenizer.eos)
    story = "Once upon a time, there was a little girl named Lily. She loved to play in the park."
    assert bits_per_byte(model, tokenizer, [story]) < 1.3


def test_bits_per_byte_counts_every_token_once() -> None:
    tokenizer = Tokenizer.from_json(train_tokenizer(["aaaa"], 260))
    model = FloatModel(small(vocab=260))
    with torch.no_grad():
        model.embedding.zero_()  # every id equally likely: log2(260) bits a token, also over many windows
    for count in (1, 15, 16, 17, 24, 25, 70):
        story = "xyz " * count
        tokens = len(tokenizer.encode(story))
        expected = tokens * torch.tensor(260.0).log2().item() / len(story)
        assert bits_per_byte(model, tokenizer, [story]) == pytest.approx(expected, rel=1e-5)


def test_stories_are_split_and_held_out_whole() -> None:
    text = "".join(f"Once upon a time there was dog {i}.\n\nIt ran. \n\n" for i in range(40))
    groups = split_stories(text)
    assert len(groups) == 40
    kept, held = hold_out(groups, 0.25, seed=3)
    assert (len(kept), len(held)) == (30, 10)
    assert not set(kept) & set(held)
    assert set(kept) | set(held) == {f"Once upon a time there was dog {i}.\n\nIt ran." for i in range(40)}
    assert hold_out(groups, 0.25, seed=3) == (kept, held)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\u00e2\u20ac\u0153Hi\u00e2\u20ac\u009d \n It\u00e2\u20ac\u2122s", "\"Hi\"\n\nIt's"),
        ("\u201cHi\u201d\n\n\n  it\u2019s  ", "\"Hi\"\n\nit's"),
        ("caf\u00e9 \u20ac", "caf\u00e9 \u20ac"),
    ],
)  # fmt: skip
def test_normalise(raw: str, clean: str) -> None:
    assert normalise(raw) == clean
