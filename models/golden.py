"""The golden model: a quantised model computed with the functions of `models.numerics`, nothing else.

Every reduction adds integers, so the result for a token does not depend on how a sequence is cut into
chunks: `GoldenModel.forward` over T tokens equals T calls with one token, bit for bit. It defines what the
interpreter, the RTL and a board must produce.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from . import numerics
from .config import ModelConfig
from .quantised import (
    IntegerLinear,
    Matrix,
    QuantisedLayer,
    QuantisedModel,
    norm_constants,
    query_constant,
    site_width,
)

__all__ = ["GoldenModel", "KVCache", "Observer", "SaturationError"]

#: Called with (site, layer, x [T, n]) for every input whose squares are summed.
Observer = Callable[[str, int, Tensor], None]
#: Queries whose attention is computed at once: bounds memory, changes no result.
_QUERY_BLOCK = 64


class SaturationError(ArithmeticError):
    """A sum of squares saturated.

    Members
    -------
    site, layer: where (``models.quantised.SITES``; the final norm counts as layer ``config.layers``).
    """

    def __init__(self, name: str, site: str, layer: int, grid: int) -> None:
        self.site, self.layer = site, layer
        super().__init__(
            f"model {name!r}: layer {layer}, input of {site}: wanted a sum of squares below 2^63 on the grid "
            f"2^{grid}, found more (or infinities); raise the grid exponent: calibrate on more typical text"
        )


@dataclass
class KVCache:
    """Quantised keys and values of one sequence.

    Members
    -------
    k, v: int8 [layers, context, kv_heads, head_size].
    s_k, s_v: binary32 [layers, context, kv_heads], the absmax of each head (0 below 2**-100).
    length: tokens held; rows from there on are zero.
    """

    k: Tensor
    v: Tensor
    s_k: Tensor
    s_v: Tensor
    length: int = 0

    @classmethod
    def empty(cls, config: ModelConfig) -> "KVCache":
        """A cache with room for the whole context."""
        shape = (config.layers, config.context, config.kv_heads)
        codes = (*shape, config.head_size)
        return cls(
            torch.zeros(codes, dtype=torch.int8),
            torch.zeros(codes, dtype=torch.int8),
            torch.zeros(shape),
            torch.zeros(shape),
        )


class GoldenModel:
    """Computes a `QuantisedModel` exactly.

    Parameters
    ----------
    model: what to compute; checked.
    observer: sees the normalised inputs, for calibration.

    Members
    -------
    config: the model's configuration.
    """

    def __init__(self, model: QuantisedModel, observer: Observer | None = None) -> None:
        self._model, self._observer = model.check(), observer
        c = self.config = model.config
        self._rope = numerics.rope_table(c.context, c.head_size, c.rope_base)
        self._query_constant = query_constant(c.head_size)
        self._norms = {
            site: norm_constants(c, site_width(c, site), grid, final=site == "final")
            for site, grid in model.grids.items()
        }

    # --- pieces -------------------------------------------------------------------------------------------

    def _input(self, x: Tensor, site: str, layer: int, gain: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quantise x [T, n] for a linear: codes int64 [T, n]; scales binary32 [T], the norm in them.

        Where the site has 12-bit activations, a power of two stands for the absolute maximum.
        """
        scaled = x if gain is None else numerics.fmul(x, gain)
        maximum = numerics.absmax(scaled)
        if self._model.activations[site] == 12:
            codes, live = numerics.quantise_mantissa(scaled, maximum), numerics.live_exponent(maximum)
        else:
            codes = numerics.quantise(scaled, maximum, numerics.INT8_LEVELS)
            live = numerics.live_scale(maximum)
        if site in ("o", "down") and not self.config.inner_norm:
            return codes, live
        if self._observer:
            self._observer(site, layer, x)
        grid = self._model.grids[site]
        total, saturated = numerics.square_sum(x, grid)
        if bool(saturated.any()):
            raise SaturationError(self.config.name, site, layer, grid)
        return codes, numerics.fmul(live, numerics.inverse_root(total, *self._norms[site]))

    @staticmethod
    def _linear(codes: Tensor, scale: Tensor, matrix: Matrix) -> Tensor:
        """y [T, out] of quantised inputs [T, in] and their scales [T].

        Ternary: fl(fl(acc) * fl(scale * k)); of integers: fl(fl(fl(acc) * scale) * row_scale).
        """
        if isinstance(matrix, IntegerLinear):
            acc = numerics.grouped_linear(codes, matrix.codes, matrix.group, matrix.scales, matrix.minima)
            return numerics.fmul(numerics.dequantise(acc, scale[:, None]), matrix.row_scale)
        accumulated = numerics.integer_linear(codes, matrix.codes)
        return numerics.dequantise(accumulated, numerics.fmul(scale, matrix.constant)[:, None])

    @staticmethod
    def _by_head(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
        """Quantise x [T, heads, head_size] by head: int64 codes and live scales [T, heads]."""
        maximum = numerics.absmax(x)
        return numerics.quantise(x, maximum, levels), numerics.live_scale(maximum)

    def _attend(self, q: Tensor, s_q: Tensor, cache: KVCache, layer: int, first: int) -> Tensor:
        """Attention output [T, dim] of queries int64 [T, heads, head_size], scales [T, heads].

        Query t has position first + t and sees the positions up to its own.
        """
        c = self.config
        blocks = []
        for start in range(0, q.shape[0], _QUERY_BLOCK):
            block, scale = q[start : start + _QUERY_BLOCK], s_q[start : start + _QUERY_BLOCK]
            count = block.shape[0]
            seen = first + start + count
            k, v = cache.k[layer, :seen].double(), cache.v[layer, :seen].double()
            s_k, s_v = cache.s_k[layer, :seen].T, cache.s_v[layer, :seen].T  # [kv, P]
            position = torch.arange(first + start, seen)
            visible = torch.arange(seen) <= position[:, None]  # [T, P]
            grouped = block.reshape(count, c.kv_heads, -1, c.head_size).double()  # [T, kv, group, size]
            # binary64 holds these integer sums exactly, see numerics.integer_linear
            dot = torch.einsum("tkgs,pks->tkgp", grouped, k).to(torch.int64)
            query_scale = scale.reshape(count, c.kv_heads, -1, 1)
            score = numerics.attention_score(dot, query_scale, s_k[:, None])
            shown = visible[:, None, None]
            highest = score.masked_fill(~shown, -numerics.SCORE_LIMIT).amax(-1, keepdim=True)
            probability = numerics.exp2((highest - score).clamp(min=0)).masked_fill(~shown, 0)
            shown_s_v = torch.where(visible[:, None], s_v, 0.0)  # [T, kv, P]
            exponent = numerics.value_exponent(numerics.absmax(shown_s_v))[..., None]  # [T, kv, 1]
            weight = numerics.value_weight(probability, shown_s_v[:, :, None], exponent[..., None])
            acc = torch.einsum("tkgp,pks->tkgs", weight.double(), v).to(torch.int64)
            out = numerics.attention_output(acc, probability.sum(-1), exponent.expand(acc.shape[:-1]))
            blocks.append(out.reshape(count, c.dim))
        return torch.cat(blocks)

    def _attention(self, layer: QuantisedLayer, x: Tensor, index: int, cache: KVCache) -> Tensor:
        c, tokens, first = self.config, x.shape[0], cache.length
        codes, scale = self._input(x, "attention", index, layer.attention_gain)
        q, k, v = (
            self._linear(codes, scale, matrix).reshape(tokens, -1, c.head_size)
            for matrix in (layer.q, layer.k, layer.v)
        )
        row = self._rope[first : first + tokens, None]
        q_codes, q_max = self._by_head(numerics.rope(q, row), numerics.INT16_LEVELS)
        new = slice(first, first + tokens)
        k_codes, cache.s_k[index, new] = self._by_head(numerics.rope(k, row), numerics.INT8_LEVELS)
        v_codes, cache.s_v[index, new] = self._by_head(v, numerics.INT8_LEVELS)
        cache.k[index, new], cache.v[index, new] = k_codes.to(torch.int8), v_codes.to(torch.int8)
        out = self._attend(q_codes, numerics.fmul(q_max, self._query_constant), cache, index, first)
        return self._linear(*self._input(out, "o", index, layer.o_gain), layer.o)

    def _mlp(self, layer: QuantisedLayer, x: Tensor, index: int) -> Tensor:
        codes, scale = self._input(x, "mlp", index, layer.mlp_gain)
        up, gate = self._linear(codes, scale, layer.up), self._linear(codes, scale, layer.gate)
        function = {"silu": numerics.silu, "relu2": numerics.relu2}[self.config.activation]
        hidden = numerics.fmul(function(gate), up)
        return self._linear(*self._input(hidden, "down", index, layer.down_gain), layer.down)

    # --- the model ----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def forward(self, tokens: list[int], cache: KVCache | None = None) -> Tensor:
        """Logits binary32 [T, vocab] of T >= 1 new tokens; ``cache`` is continued and extended.

        Raises ValueError for ids outside the vocabulary or more tokens than the context leaves, and
        SaturationError.
        """
        c, cache = self.config, cache if cache is not None else KVCache.empty(self.config)
        room = c.context - cache.length
        if not 1 <= len(tokens) <= room:
            raise ValueError(
                f"model {c.name!r}: wanted 1 to {room} tokens (what the context leaves), found "
                f"{len(tokens)}; shorten the prompt or cut it into windows"
            )
        if wrong := [token for token in tokens if not 0 <= token < c.vocab]:
            raise ValueError(
                f"model {c.name!r}: wanted token ids 0 to {c.vocab - 1}, found {wrong[0]}; "
                f"is the tokenizer of another model?"
            )
        x = numerics.flush(self._model.embedding[torch.tensor(tokens)])
        for index, layer in enumerate(self._model.layers):
            x = numerics.fadd(x, self._attention(layer, x, index, cache))
            x = numerics.fadd(x, self._mlp(layer, x, index))
        cache.length += len(tokens)
        return self._linear(*self._input(x, "final", c.layers, self._model.final_gain), self._model.head)

    def generate(
        self, prompt: list[int], count: int, cache: KVCache | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Greedy decoding: ``count`` times the next id and the logits [vocab] that chose it."""
        cache = cache if cache is not None else KVCache.empty(self.config)
        tokens = prompt
        for _ in range(count):
            logits = self.forward(tokens, cache)[-1]
            token = numerics.argmax(logits)
            yield token, logits
            tokens = [token]
