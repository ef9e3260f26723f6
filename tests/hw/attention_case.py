"""Attention of a token as the unit sees it; what must come out, from functions of models.numerics alone."""

from dataclasses import dataclass, field

import torch

from hw.isa import Feed
from models import numerics
from models.numerics import float_bits


@dataclass
class Case:
    """Random operands of one attention: rows (visible tokens) x K/V heads x elements.

    The last row is staged if the feeds have the stage; without feeds from the tape it is the only one.
    `staged` more rows before it are in the stage as well, those of older tokens of the tile.
    """

    kv_heads: int
    group: int
    head_size: int
    tokens: int
    seed: int
    spread: float = 4.0
    value_spread: int = 3
    feeds: tuple[Feed, ...] = (Feed.TAPE, Feed.STAGE)
    staged: int = 0
    q: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        shape = (self.tokens, self.kv_heads, self.head_size)
        self.q = torch.randint(-32767, 32768, (self.heads, self.head_size), generator=rng)
        self.k = torch.randint(-127, 128, shape, generator=rng)
        self.v = torch.randint(-127, 128, shape, generator=rng)
        size = 32767 * 127 * self.head_size**0.5
        self.s_q = torch.rand(self.heads, generator=rng) * self.spread / size
        self.s_k = torch.rand(shape[:2], generator=rng)
        power = torch.randint(-self.value_spread, self.value_spread + 1, shape[:2], generator=rng)
        self.s_v = (1 + torch.rand(shape[:2], generator=rng)) * 2.0**power

    @property
    def position(self) -> int:
        """Rows on the tape."""
        return self.tokens - (Feed.STAGE in self.feeds) - self.staged

    @property
    def heads(self) -> int:
        return self.kv_heads * self.group

    def scores(self, limit: int = numerics.SCORE_LIMIT) -> torch.Tensor:
        """[tokens, heads]."""
        k, s_k = (x.repeat_interleave(self.group, 1) for x in (self.k, self.s_k))
        dot = (self.q * k).sum(-1)
        if limit == numerics.SCORE_LIMIT:
            return numerics.attention_score(dot, self.s_q, s_k)
        product = numerics.fmul(numerics.dequantise(dot, self.s_q), s_k)
        return numerics.float_to_int(product, numerics.SCORE_FRACTION, limit)

    def saturated(self) -> int:
        return int((self.scores(2**62).abs() > numerics.SCORE_LIMIT).sum())

    def probabilities(self) -> torch.Tensor:
        """[tokens, heads], u0.24."""
        score = self.scores()
        return numerics.exp2(score.amax(0) - score)

    def output(self) -> list[tuple[list[int], int]]:
        """(sums, scale bits) of each head; zeros where nothing is visible."""
        if self.tokens == 0:
            return [([0] * self.head_size, 0)] * self.heads
        p = self.probabilities()
        exponent = numerics.value_exponent(self.s_v.amax(0)).repeat_interleave(self.group)
        w = numerics.value_weight(p, self.s_v.repeat_interleave(self.group, 1), exponent)
        acc = (w[:, :, None] * self.v.repeat_interleave(self.group, 1)).sum(0)
        scale = float_bits(numerics.output_scale(p.sum(0), exponent))
        return [(acc[h].tolist(), int(scale[h])) for h in range(self.heads)]

    def key_row(self, token: int) -> bytes:
        pairs = torch.stack((self.s_k[token], self.s_v[token]), -1).flatten()
        scales = b"".join(int(bits).to_bytes(4, "little") for bits in float_bits(pairs))
        return scales + bytes(self.k[token].flatten().remainder(256).tolist())

    def value_row(self, token: int) -> bytes:
        return bytes(self.v[token].flatten().remainder(256).tolist())


def sequence(
    shape: tuple[int, int, int],
    position: int,
    count: int,
    seed: int,
    feeds: tuple[Feed, ...] = (Feed.TAPE, Feed.STAGE),
    spread: float = 4.0,
) -> list[Case]:
    """`count` neighbouring tokens, the first at `position`: the rows of one are a prefix of the next one's.

    Rows that no feed has are not visible.
    """
    begin = 0 if Feed.TAPE in feeds else position
    ends = [position + (i + 1 if Feed.STAGE in feeds else 0) for i in range(count)]
    whole = Case(*shape, ends[-1] - begin, seed, spread, feeds=feeds)
    cases = []
    for i, end in enumerate(ends):
        staged = i if Feed.STAGE in feeds else 0
        case = Case(*shape, end - begin, 100 * seed + i, spread, feeds=feeds, staged=staged)
        for name in ("k", "v", "s_k", "s_v"):
            setattr(case, name, getattr(whole, name)[: end - begin])
        cases.append(case)
    return cases
