"""Seeded random quantised models for tests: tiny, but of every shape that the configuration allows."""

from typing import Literal

import torch

from models.config import ModelConfig
from models.quantised import MATRICES, Linear, QuantisedLayer, QuantisedModel, matrix_shapes, quantise_head


def random_model(
    seed: int = 0,
    *,
    norm: Literal["rms", "l2"] = "rms",
    gains: bool = True,
    inner_norm: bool = True,
    kv_heads: int = 2,
    tied: bool = True,
    dim: int = 32,
    hidden: int = 48,
    layers: int = 2,
    heads: int = 4,
    vocab: int = 50,
    context: int = 32,
) -> QuantisedModel:
    """A model whose hidden states stay of moderate size, so that its logits differ from token to token."""
    config = ModelConfig(
        name=f"random {seed}",
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        vocab=vocab,
        context=context,
        norm=norm,
        block_gain=gains,
        inner_norm=inner_norm,
        tied_head=tied,
    )
    random = torch.Generator().manual_seed(seed)

    def gain() -> torch.Tensor:
        return torch.rand(dim, generator=random) + 0.5

    def linear(shape: tuple[int, int]) -> Linear:
        codes = torch.randint(-1, 2, shape, generator=random, dtype=torch.int8)
        # l2 shrinks a vector by its length, where rms leaves it at unit mean square
        typical = shape[1] if norm == "l2" else shape[1] ** -0.5
        scale = torch.rand((), generator=random) * 0.5 + 0.75
        return Linear(codes, float((scale * typical).float()))

    embedding = torch.randn(vocab, dim, generator=random)
    head = embedding if tied else torch.randn(vocab, dim, generator=random)
    blocks = tuple(
        QuantisedLayer(
            gain() if gains else None,
            gain() if gains else None,
            *(linear(matrix_shapes(config)[name]) for name in MATRICES),
        )
        for _ in range(layers)
    )
    return QuantisedModel(config, embedding, blocks, gain(), *quantise_head(head)).check()
