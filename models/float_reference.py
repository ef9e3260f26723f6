"""The float model with a quantised model's weights: what the exact arithmetic is measured against."""

import torch
from torch import Tensor

from . import numerics
from .float_model import FloatModel, Layer
from .quantised import QuantisedModel

__all__ = ["float_reference"]


def float_reference(model: QuantisedModel) -> FloatModel:
    """Effective weights scale x code and int8 activations; everything else in float.

    A head that is the embedding is the float embedding; another one is its int8 codes, dequantised.
    """
    reference = FloatModel(model.config, "fixed", 8)

    def fill(target: Tensor, source: Tensor) -> None:
        assert target.shape == source.shape
        target.copy_(source)

    with torch.no_grad():
        fill(reference.embedding, model.embedding)
        fill(reference.final_gain, model.final_gain)
        if not model.config.tied_head:
            fill(reference.head, model.head_codes * model.head_scales[:, None] * numerics.INT8_LEVELS)
        for target, source in zip(reference.layers, model.layers, strict=True):
            assert isinstance(target, Layer)
            if source.attention_gain is not None and source.mlp_gain is not None:
                fill(target.attention_gain, source.attention_gain)
                fill(target.mlp_gain, source.mlp_gain)
            for name, linear in source.matrices():
                fill(getattr(target, name), linear.codes * linear.scale)
    return reference.eval()
