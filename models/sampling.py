"""Sampling, defined on integers: the same choice on every backend, machine and platform.

A choice is made from a list: the k largest logits l_0 >= l_1 >= ... of the vocabulary with their ids, in the
order of `numerics.order_key` (NaN lowest, ties by lowest id). fl() is one rounding to binary32.

1. T = fl(temperature); subnormals are 0. T = 0, or top_k = 1: the choice is the first id.
2. The list is cut to its first top_k entries (top_k = 0: not cut).
3. D_i = fl(fl(l_0 - l_i) * fl(fl(log2 e) / T)) to an integer with 16 fraction bits, to nearest, ties to even,
   at most 2**31 - 1; where D_i is NaN (both logits are +inf) it is 0.
4. The weight w_i is `numerics.exp2` of that integer, u0.24 (the table of the softmax), and 0 where l_i is NaN
   or -inf. W is their sum. Where l_0 is NaN or -inf, W is 0 and the choice is the first id.
5. P = floor(top_p * 2**32 + 1/2), from the exact value of top_p. Kept is the shortest prefix, at least one
   entry, whose sum K reaches ceil(P * W / 2**32).
6. r is uniform in 0..K-1: the draw below. The choice is the first i with w_0 + ... + w_i > r.

Draw: block a = 0, 1, ... is Philox4x64-10 of the key (seed, sequence) and the counter (position, a, 0, 0);
its words in order, block after block, are a stream of 64-bit numbers x. The first x with (x * K mod 2**64) >=
(2**64 mod K) gives r = x * K >> 64: exactly uniform. A second word is needed with probability below 2**-32.

Nothing is carried from one position to the next, so a run that is resumed, or checked by another backend,
makes the same choices.

Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The draw: Lemire,
"Fast random integer generation in an interval", ACM TOMACS 29(1), 2019.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from . import numerics

#: Above this the scale log2(e) / T would be subnormal, that is, zero.
MAX_TEMPERATURE = 2.0**126
LOG2_E = 1.4426950408889634
_WORD = 2**64
_PHILOX_ROUNDS = 10
_PHILOX_FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_PHILOX_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


@dataclass(frozen=True)
class Sampler:
    """Chooses an id from a list of the largest logits; the head of this file is the definition.

    Parameters
    ----------
    temperature: 0 (greedy) to 2**126.
    top_k: entries of the list that count; 0: all that the list has, 1: greedy.
    top_p: 0 (the first entry) to 1 (all): share of the weight that is kept, the list being the whole; what
        the vocabulary weighs outside it does not count.
    seed: 0 to 2**64 - 1.

    ValueError where a parameter or an argument is outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= MAX_TEMPERATURE:  # also false for NaN
            raise ValueError(f"temperature: wanted 0 (greedy) to 2**126, found {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k: wanted 0 (no limit) or more, found {self.top_k}")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p: wanted 0 to 1, found {self.top_p}")
        _check_word("seed", self.seed)

    @property
    def greedy(self) -> bool:
        """Whether every choice is the first id."""
        return self.top_k == 1 or float(numerics.constant(self.temperature)) == 0

    def choose(self, ids: Sequence[int] | Tensor, logits: Tensor, position: int, sequence: int = 0) -> int:
        """The id chosen.

        ids [k], logits [k] (binary32): the list. position: of the token whose logits these are; sequence:
        number of the text where one seed serves several; both 0 to 2**64 - 1.
        """
        _check_word("position", position)
        _check_word("sequence", sequence)
        if logits.dtype != torch.float32 or logits.ndim != 1 or not 1 <= len(logits) == len(ids):
            raise ValueError(
                f"logits: wanted as many float32 numbers as ids and one at least, found {logits.dtype} of "
                f"shape {tuple(logits.shape)} for {len(ids)} ids"
            )
        kept = self.kept(logits)
        total = sum(kept)
        if total == 0 or len(kept) == 1:
            return int(ids[0])
        below = draw(self.seed, sequence, position, total)
        for number, weight in zip(ids, kept, strict=False):
            below -= weight
            if below < 0:
                return int(number)
        raise AssertionError("a draw lies below the total")

    def kept(self, logits: Tensor) -> list[int]:
        """Weights of the entries that may be chosen (steps 1 to 5): a prefix of the list, one at least."""
        key = numerics.order_key(logits)
        if bool((key[1:] > key[:-1]).any()):
            raise ValueError("logits: wanted them in the order of numerics.top_k, found a larger one later")
        if self.greedy:
            return [numerics.PROBABILITY_MAX]
        weights = self._weights(logits[: self.top_k or None])
        share = int(Fraction(self.top_p) * 2**32 + Fraction(1, 2))
        need = -(-share * sum(weights) >> 32)
        total = 0
        for count, weight in enumerate(weights, 1):
            total += weight
            if total >= need:
                return weights[:count]
        raise AssertionError("the whole list has the whole weight")

    def _weights(self, logits: Tensor) -> list[int]:
        """Weights of all of `logits`, the first of which is the largest (steps 3 and 4)."""
        scale = numerics.fdiv(numerics.constant(LOG2_E), numerics.constant(self.temperature))
        scaled = numerics.fmul(numerics.fsub(logits[:1], logits), scale)
        distance = numerics.float_to_int(scaled, numerics.SCORE_FRACTION, numerics.SCORE_LIMIT)
        dead = logits.isnan() | (logits == -torch.inf)
        return numerics.exp2(distance).masked_fill(dead, 0).tolist()


def draw(seed: int, sequence: int, position: int, bound: int) -> int:
    """The r of `bound` > 0 (at most 2**64): uniform in 0..bound-1."""
    return uniform(_words(seed, sequence, position), bound)


def uniform(words: Iterator[int], bound: int) -> int:
    """An exactly uniform number in 0..bound-1 from uniform 64-bit words; takes one word, seldom more."""
    reject = _WORD % bound
    while True:
        product = next(words) * bound
        if product % _WORD >= reject:
            return product // _WORD


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x64-10: four 64-bit words from a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_PHILOX_ROUNDS):
        high0, low0 = divmod(c0 * _PHILOX_FACTORS[0], _WORD)
        high1, low1 = divmod(c2 * _PHILOX_FACTORS[1], _WORD)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _PHILOX_WEYL[0]) % _WORD, (k1 + _PHILOX_WEYL[1]) % _WORD
    return c0, c1, c2, c3


def _words(seed: int, sequence: int, position: int) -> Iterator[int]:
    block = 0
    while True:
        yield from philox((position, block, 0, 0), (seed, sequence))
        block += 1


def _check_word(name: str, value: int) -> None:
    if not 0 <= value < _WORD:
        raise ValueError(f"{name}: wanted 0 to 2**64 - 1, found {value}")
