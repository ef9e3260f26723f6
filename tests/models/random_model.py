"""Seeded random quantised models for tests: tiny, but of every shape that the configuration allows."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch

from models import numerics
from models.config import ModelConfig
from models.integer import CODE_RANGE, SCALE_LIMIT, IntegerLinear, activation_one, padded_groups
from models.integer_quantise import quantise_int8
from models.quantised import (
    MATRICES,
    SITE_MATRICES,
    SITES,
    Linear,
    Matrix,
    QuantisedLayer,
    QuantisedModel,
    matrix_shapes,
)


class Form(NamedTuple):
    """Width, group and minima of an integer matrix."""

    bits: int = 8
    group: int = 0
    minima: bool = False


def integer_forms(form: Form, *names: str) -> dict[str, Form]:
    """That form for each of the names, or for all matrices and the head."""
    return dict.fromkeys(names or (*MATRICES, "head"), form)


#: Models with integer matrices, for `random_model`: all int8; all int4 in groups with minima and 12-bit
#: activations; ternary, int8 and int4 side by side.
INTEGER_MODELS: dict[str, dict] = {
    "int8": {"integer": integer_forms(Form(8))},
    "int4": {
        "integer": integer_forms(Form(4, 16, True)),
        "activations": dict.fromkeys(SITES, 12),
        "inner_norm": False,
        "hidden": 44,
    },
    "mixed": {
        "integer": integer_forms(Form(8), "o")
        | integer_forms(Form(4, 32), "gate", "down")
        | integer_forms(Form(4, 16, True), "head"),
        "activations": {"o": 12, "down": 12},
        "hidden": 56,
    },
}


def random_model(
    seed: int = 0,
    *,
    norm: Literal["rms", "l2"] = "rms",
    gains: bool = True,
    inner_norm: bool = True,
    inner_gain: bool = False,
    activation: Literal["silu", "relu2"] = "silu",
    kv_heads: int = 2,
    tied: bool = True,
    dim: int = 32,
    hidden: int = 48,
    layers: int = 2,
    heads: int = 4,
    vocab: int = 50,
    context: int = 32,
    integer: Mapping[str, Form] | None = None,
    activations: Mapping[str, int] | None = None,
) -> QuantisedModel:
    """A model whose hidden states stay of moderate size, so that its logits differ from token to token.

    Matrices (and "head") in ``integer`` have random codes of that form, where the others are ternary; then
    the head is not the embedding. ``activations``: bits by site, 8 where it is not there.
    """
    integer = integer or {}
    widths = dict.fromkeys(SITES, 8) | dict(activations or {})
    one = {name: activation_one(widths[site]) for site, names in SITE_MATRICES.items() for name in names}
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
        inner_gain=inner_gain,
        activation=activation,
        tied_head=tied and "head" not in integer,
    )
    random = torch.Generator().manual_seed(seed)

    def gain(n: int = dim) -> torch.Tensor:
        return torch.rand(n, generator=random) + 0.5

    # l2 shrinks a vector by its length, where rms leaves it at unit mean square
    def typical(columns: int) -> float:
        return columns if norm == "l2" else columns**-0.5

    def linear(shape: tuple[int, int]) -> Linear:
        codes = torch.randint(-1, 2, shape, generator=random, dtype=torch.int8)
        scale = torch.rand((), generator=random) * 0.5 + 0.75
        return Linear(codes, float((scale * typical(shape[1])).float()))

    def matrix(name: str) -> Matrix:
        shape = shapes[name]
        return (
            random_integer(random, shape, integer[name], typical(shape[1]) / one[name])
            if name in integer
            else linear(shape)
        )

    shapes = matrix_shapes(config)
    embedding = torch.randn(vocab, dim, generator=random)
    head = embedding if tied else torch.randn(vocab, dim, generator=random)
    blocks = tuple(
        QuantisedLayer(
            gain() if gains else None,
            gain() if gains else None,
            *(matrix(name) for name in MATRICES),
            o_gain=gain() if inner_gain else None,
            down_gain=gain(hidden) if inner_gain else None,
        )
        for _ in range(layers)
    )
    final_gain = gain()
    if "head" in integer:
        last = random_integer(random, (vocab, dim), integer["head"], 1 / one["head"])
    else:
        last = quantise_int8(head, widths["final"])
    return QuantisedModel(config, embedding, blocks, final_gain, last, activations=widths).check()


def random_integer(random: torch.Generator, shape: tuple[int, int], form: Form, size: float) -> IntegerLinear:
    """An integer matrix [out, in] of that form; by row_scale rows have about ``size`` as root mean square."""
    rows, columns = shape
    least, most = CODE_RANGE[form.bits]
    codes = torch.randint(least, most + 1, shape, generator=random, dtype=torch.int8)
    scales = minima = None
    if form.group:
        groups = (rows, padded_groups(columns, form.group))
        scales = torch.randint(0, SCALE_LIMIT + 1, groups, generator=random, dtype=torch.int16)
        if form.minima:
            limit = min(SCALE_LIMIT * (most + 1) // 4, numerics.GROUP_LIMIT)
            minima = torch.randint(-limit, limit + 1, groups, generator=random).to(torch.int16)
    unit = IntegerLinear(codes, form.bits, torch.ones(rows), form.group, scales, minima)
    spread = unit.integers().double().square().mean(-1).sqrt().clamp(min=1)
    row_scale = (torch.rand(rows, generator=random) * 0.5 + 0.75) * size / spread
    return IntegerLinear(codes, form.bits, row_scale.float(), form.group, scales, minima)
