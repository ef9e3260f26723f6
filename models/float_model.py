"""The plain float transformer, once: training with straight-through quantisation, and the float reference.

Three uses of one definition:

- ``weights="ternary"``: the parameters are latent floats; the forward pass sees b1.58 ternary weights
  (BitNet b1.58, arXiv 2402.17764: scale = mean|W|, code = clip(round(W / scale), -1, 1)) and gradients pass
  straight through;
- ``weights="fixed"`` with ``activation_bits=8``: the float reference of a ternary model; the parameters are
  the effective weights scale x code;
- ``weights="fixed"`` with ``activation_bits=None``: an ordinary float Llama.

Nothing here is bit-exact; the exact arithmetic is ``models.numerics``.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import ModelConfig, matrix_shapes

#: Attributes of a layer that are gains, or None.
GAINS = ("attention_gain", "mlp_gain", "o_gain", "down_gain")


def ternary_scale(weight: Tensor) -> Tensor:
    """The b1.58 scale of a latent matrix: mean|W|, one element."""
    return weight.abs().mean().clamp(min=1e-5)


def ternary_codes(weight: Tensor, scale: Tensor) -> Tensor:
    """Codes -1, 0, +1 (float) of a latent matrix."""
    return (weight / scale).round().clamp(-1, 1)


def ternary(weight: Tensor) -> Tensor:
    """The effective weight scale x code with a straight-through gradient to ``weight``."""
    scale = ternary_scale(weight)
    return weight + (ternary_codes(weight, scale) * scale - weight).detach()


def quantise_activations(x: Tensor, bits: int) -> Tensor:
    """Symmetric per-token fake quantisation over the last axis, straight-through gradient."""
    top = 2 ** (bits - 1) - 1
    scale = top / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return x + ((x * scale).round().clamp(-top, top) / scale - x).detach()


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def rope_table(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """cos and sin, each [context, head_size / 2] float32, computed in float64."""
    exponents = torch.arange(0, config.head_size, 2, dtype=torch.float64) / config.head_size
    angles = torch.outer(torch.arange(config.context, dtype=torch.float64), config.rope_base**-exponents)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (2j, 2j + 1) of x [batch, tokens, heads, head_size] by position (interleaved RoPE)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


@dataclass
class KVCache:
    """Keys and values seen so far, for generation.

    Members
    -------
    keys, values: per layer [batch, kv_heads, context, head_size] float32.
    length: tokens held, the same for every sequence of the batch.
    """

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0

    @classmethod
    def empty(cls, config: ModelConfig, batch: int, context: int | None = None) -> "KVCache":
        """A cache with room for ``context`` tokens (default: the model's context)."""
        shape = (batch, config.kv_heads, context or config.context, config.head_size)
        return cls(
            [torch.zeros(shape) for _ in range(config.layers)],
            [torch.zeros(shape) for _ in range(config.layers)],
        )


class Layer(nn.Module):
    """One layer's parameters: seven matrices [out, in] without bias, and its gains."""

    q: nn.Parameter
    k: nn.Parameter
    v: nn.Parameter
    o: nn.Parameter
    gate: nn.Parameter
    up: nn.Parameter
    down: nn.Parameter

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        for name, shape in matrix_shapes(config).items():
            spread = shape[1] ** -0.5 / (1 if name not in ("o", "down") else (2 * config.layers) ** 0.5)
            self.register_parameter(name, nn.Parameter(torch.randn(shape) * spread))
        gain = torch.ones(config.dim)
        self.attention_gain = nn.Parameter(gain.clone(), requires_grad=config.block_gain)
        self.mlp_gain = nn.Parameter(gain.clone(), requires_grad=config.block_gain)
        self.o_gain, self.down_gain = None, None
        if config.inner_gain:
            self.o_gain = nn.Parameter(gain.clone())
            self.down_gain = nn.Parameter(torch.ones(config.hidden))


class FloatModel(nn.Module):
    """The transformer of ``config``.

    Parameters
    ----------
    config: shape and semantics.
    weights: "ternary" (latent, quantised on the fly) or "fixed" (used as they are).
    activation_bits: width of the inputs of every linear but the head; None leaves them in float.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        config: ModelConfig,
        weights: Literal["ternary", "fixed"] = "fixed",
        activation_bits: int | None = 8,
    ) -> None:
        super().__init__()
        self.config, self.weights, self.activation_bits = config, weights, activation_bits
        self.embedding = nn.Parameter(torch.randn(config.vocab, config.dim) * 0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final_gain = nn.Parameter(torch.ones(config.dim))
        if not config.tied_head:
            self.head = nn.Parameter(torch.randn(config.vocab, config.dim) * 0.02)
        cos, sin = rope_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _normalise(self, x: Tensor) -> Tensor:
        if self.config.norm == "rms":
            return rms_norm(x, self.config.norm_eps)
        return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12) * x.shape[-1] ** -0.5

    def _linear(self, x: Tensor, *matrices: Tensor) -> Tensor:
        """x [.., in] -> [.., sum of outs]: quantise once, multiply by all ``matrices`` [out, in]."""
        if self.activation_bits is not None:
            x = quantise_activations(x, self.activation_bits)
        used = [ternary(w) if self.weights == "ternary" else w for w in matrices]
        return functional.linear(x, torch.cat(used) if len(used) > 1 else used[0])

    def _block_input(self, x: Tensor, gain: Tensor) -> Tensor:
        x = self._normalise(x)
        return x * gain if self.config.block_gain else x

    def _inner_input(self, x: Tensor, gain: Tensor | None) -> Tensor:
        x = self._normalise(x) if self.config.inner_norm else x
        return x if gain is None else x * gain

    def _activate(self, x: Tensor) -> Tensor:
        return functional.silu(x) if self.config.activation == "silu" else functional.relu(x).square()

    def _attention(self, layer: Layer, x: Tensor, index: int, cache: KVCache | None) -> Tensor:
        c, (batch, tokens, _) = self.config, x.shape
        fused = self._linear(self._block_input(x, layer.attention_gain), layer.q, layer.k, layer.v)
        fused = fused.view(batch, tokens, c.heads + 2 * c.kv_heads, c.head_size)
        start = cache.length if cache else 0
        turned = rotate(
            fused[:, :, : c.heads + c.kv_heads],
            self.cos[start : start + tokens],
            self.sin[start : start + tokens],
        ).transpose(1, 2)
        q, k = turned[:, : c.heads], turned[:, c.heads :]
        v = fused[:, :, c.heads + c.kv_heads :].transpose(1, 2)
        mask = None
        if cache:
            cache.keys[index][:, :, start : start + tokens] = k
            cache.values[index][:, :, start : start + tokens] = v
            k, v = cache.keys[index][:, :, : start + tokens], cache.values[index][:, :, : start + tokens]
            if tokens > 1:
                mask = torch.ones(tokens, start + tokens, dtype=torch.bool).tril(start)
        group = c.heads // c.kv_heads
        if tokens == 1:  # the queries of a group share K and V without a copy
            q = q.reshape(batch, c.kv_heads, group, c.head_size)
            weight = (q @ k.transpose(-1, -2) * c.head_size**-0.5).softmax(
                -1
            )  # faster than the library's here
            out = (weight @ v).reshape(batch, c.heads, 1, c.head_size)
        else:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out = out.transpose(1, 2).reshape(batch, tokens, c.dim)
        return self._linear(self._inner_input(out, layer.o_gain), layer.o)

    def _mlp(self, layer: Layer, x: Tensor) -> Tensor:
        fused = self._linear(self._block_input(x, layer.mlp_gain), layer.gate, layer.up)
        gate, up = fused.chunk(2, -1)
        return self._linear(self._inner_input(self._activate(gate) * up, layer.down_gain), layer.down)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits [batch, tokens, vocab] of token ids [batch, tokens]; a cache is continued and extended.

        Raises ValueError where the tokens would pass the end of the context or of the cache.
        """
        room = cache.keys[0].shape[2] - cache.length if cache else self.config.context
        if tokens.shape[1] > room:
            raise ValueError(
                f"model {self.config.name!r}: wanted at most {room} tokens (what the context leaves), "
                f"found {tokens.shape[1]}; shorten the prompt or cut it into windows"
            )
        table = self.embedding
        if self.weights == "ternary":  # stored in 16 bits, so train with what is stored
            table = table + (table.half().float() - table).detach()
        x = functional.embedding(tokens, table)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            x = x + self._attention(layer, x, index, cache)
            x = x + self._mlp(layer, x)
        if cache:
            cache.length += tokens.shape[1]
        x = rms_norm(x, self.config.final_eps) * self.final_gain
        return functional.linear(x, table if self.config.tied_head else self.head)

    @torch.inference_mode()
    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """``prompt`` and the next ``count`` ids by argmax (ties: the lowest id)."""
        ids, cache = list(prompt), KVCache.empty(self.config, 1)
        fed = 0
        for _ in range(count):
            logits = self(torch.tensor([ids[fed:]]), cache)[0, -1]
            fed = len(ids)
            ids.append(int((logits == logits.max()).nonzero()[0]))
        return ids
