"""The float model with a quantised model's weights: what the exact arithmetic is measured against."""

import torch
from torch import Tensor

from .float_model import FloatModel, Layer
from .quantised import MATRICES, SITE_MATRICES, QuantisedModel

__all__ = ["float_reference"]


def float_reference(model: QuantisedModel) -> FloatModel:
    """Effective weights; int8 activations where a matrix is ternary, float ones otherwise; all else in float.

    A head that is the embedding is the float embedding; another one is its codes, dequantised.
    """
    ternary = any(model.form(name) is None for name in MATRICES)
    reference = FloatModel(model.config, "fixed", 8 if ternary else None)
    bits = {name: model.activations[site] for site, names in SITE_MATRICES.items() for name in names}

    def fill(target: Tensor, source: Tensor) -> None:
        assert target.shape == source.shape
        target.copy_(source)

    with torch.no_grad():
        fill(reference.embedding, model.embedding)
        fill(reference.final_gain, model.final_gain)
        if not model.config.tied_head:
            fill(reference.head, model.head.dequantised(model.activations["final"]))
        for target, source in zip(reference.layers, model.layers, strict=True):
            assert isinstance(target, Layer)
            for site, gain in source.gains():
                fill(getattr(target, f"{site}_gain"), gain)
            for name, matrix in source.matrices():
                fill(getattr(target, name), matrix.dequantised(bits[name]))
    return reference.eval()
