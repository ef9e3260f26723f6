"""`models.sampling` against a reference in integers and fractions; distributions; pinned choices."""

import itertools
import math
import random
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import numerics, sampling
from models.sampling import MAX_TEMPERATURE, Sampler, draw, philox, uniform
from tests.hw import test_fp32_reference as fp32
from tests.models import test_numerics_reference as reference

from .bit_patterns import RANDOM, floats, number_bits

MINUS_INF = fp32.INF | fp32.SIGN
words = st.integers(0, 2**64 - 1)
temperatures = st.one_of(
    st.sampled_from([0.0, 1e-40, 2.0**-126, 1e-6, 0.1, 0.8, 1.0, 3.0, 1e6, MAX_TEMPERATURE]),
    st.floats(2.0**-10, 8.0),
)
shares = st.one_of(st.sampled_from([0.0, 2.0**-33, 0.5, 0.9, 1 - 2.0**-33, 1.0]), st.floats(0, 1))


# --- the reference ----------------------------------------------------------------------------------------


def rank(bits):
    """Key of the order of logits: NaN, -inf, numbers, +inf; subnormals are zeros."""
    bits = fp32.flushed(bits)
    if fp32.is_nan(bits):
        return -2, Fraction(0)
    if fp32.is_inf(bits):
        return (-1 if bits & fp32.SIGN else 1), Fraction(0)
    return 0, fp32.value(bits)


def ordered(numbers):
    """(ids, patterns) in the order of numerics.top_k."""
    ids = sorted(range(len(numbers)), key=lambda i: (rank(numbers[i]), -i), reverse=True)
    return ids, [numbers[i] for i in ids]


def wanted_kept(numbers, temperature, top_k, top_p):
    """Weights of the kept prefix of `numbers`, which are in order."""
    t = fp32.flushed(reference.constant(Fraction(temperature)))
    if t == 0 or top_k == 1:
        return [2**24 - 1]
    scale = reference.divide(reference.constant(Fraction(1.4426950408889634)), t)
    weights = []
    for number in numbers[: top_k or len(numbers)]:
        if rank(number)[0] < 0:
            weights.append(0)
            continue
        difference = reference.multiply(reference.subtract(numbers[0], number), scale)
        weights.append(
            reference.exp2(0 if fp32.is_nan(difference) else fp32.to_int(difference, 16, 2**31 - 1)[0])
        )
    share = math.floor(Fraction(top_p) * 2**32 + Fraction(1, 2))
    for count in range(1, len(weights) + 1):
        if sum(weights[:count]) >= Fraction(share * sum(weights), 2**32):
            return weights[:count]
    raise AssertionError("no prefix")


def numpy_words(seed, sequence, position):
    """The stream of 64-bit words from numpy's Philox, which counts up before each block."""
    for block in itertools.count():
        before = (position + (block << 64) - 1) % 2**256
        # numpy's counter is one 256-bit number, ours has the block in its second word.
        generator = np.random.Philox(counter=before, key=seed + (sequence << 64))
        yield from (int(word) for word in generator.random_raw(4))


def wanted_choice(ids, numbers, sampler, position, sequence):
    """The id by the definition, with numpy's generator."""
    kept = wanted_kept(numbers, sampler.temperature, sampler.top_k, sampler.top_p)
    total = sum(kept)
    if rank(numbers[0])[0] < 0 or len(kept) == 1:
        return ids[0]
    limit = 2**64 // total * total  # as many words lead to each number
    for word in numpy_words(sampler.seed, sequence, position):
        number, below = divmod(word * total, 2**64)
        if below >= 2**64 - limit:
            return ids[next(i for i in range(len(kept)) if sum(kept[: i + 1]) > number)]
    raise AssertionError("the stream does not end")


# --- exactness --------------------------------------------------------------------------------------------


@RANDOM
@given(
    numbers=st.one_of(
        st.lists(number_bits, min_size=1, max_size=20),
        st.lists(st.floats(-12, 12, width=32).map(reference.constant), min_size=1, max_size=20),
    ),
    temperature=temperatures, top_k=st.integers(0, 24), top_p=shares,
    seed=words, position=words, sequence=words,
)  # fmt: skip
def test_exact(numbers, temperature, top_k, top_p, seed, position, sequence):
    ids, numbers = ordered(numbers)
    sampler = Sampler(temperature, top_k, top_p, seed)
    assert sampler.kept(floats(numbers)) == wanted_kept(numbers, temperature, top_k, top_p)
    found = sampler.choose(ids, floats(numbers), position, sequence)
    assert found == wanted_choice(ids, numbers, sampler, position, sequence)
    assert sampler.choose(torch.tensor(ids), floats(numbers), position, sequence) == found


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [  # of the authors' kat_vectors (Random123)
        ((0,) * 4, (0,) * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x452821E638D01377, 0xBE5466CF34E90C6C),
            None,
        ),
    ],
)
def test_philox(counter, key, block):
    found = philox(counter, key)
    whole = sum(word << 64 * i for i, word in enumerate(counter))
    generator = np.random.Philox(counter=(whole - 1) % 2**256, key=key[0] + (key[1] << 64))
    assert list(found) == [int(word) for word in generator.random_raw(4)]
    if block is not None:
        assert " ".join(f"{word:016x}" for word in found) == block


def test_uniform_takes_each_number_equally_often_and_rejects_the_rest():
    # All 2**64 words cannot be tried: words whose product lands on either side of each border can.
    for bound in (1, 2, 3, 7, 2**24 - 1, 2**31 - 1, 2**63 + 1, 2**64 - 1):
        share, rest = divmod(2**64, bound)
        for number in {0, bound // 2, bound - 1}:
            low = -(-(number * 2**64 + rest) // bound)  # least word that gives `number`
            high = -(-((number + 1) * 2**64) // bound) - 1  # greatest
            assert high - low + 1 == share
            assert uniform(iter([low]), bound) == uniform(iter([high]), bound) == number
            if low * bound - bound >= number * 2**64:  # the word below leads to `number` too: refused
                assert uniform(iter([low - 1, high]), bound) == number
                with pytest.raises(StopIteration):
                    uniform(iter([low - 1]), bound)


def test_draw_is_of_seed_sequence_and_position():
    found = {draw(a, b, c, 2**64) for a in range(4) for b in range(4) for c in range(4)}
    assert len(found) == 64


# --- distribution -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vary", ["position", "sequence", "seed"])
def test_distribution(vary):
    logits = torch.tensor([2.0, 1.5, 1.5, 1.0, 0.0, -1.0, -2.5, -30.0])
    draws, counts = 2000, [0] * len(logits)
    for i in range(draws):
        seed, position, sequence = (
            7 + i * (vary == "seed"),
            i * (vary == "position"),
            i * (vary == "sequence"),
        )
        counts[Sampler(0.9, seed=seed).choose(range(8), logits, position, sequence)] += 1
    shares = torch.softmax(logits.double() / 0.9, 0).tolist()
    assert counts[7] == 0  # its share is 1e-16
    square = sum((n - draws * p) ** 2 / (draws * p) for n, p in list(zip(counts, shares, strict=True))[:7])
    assert square < 22.46  # chi-square of 6 degrees of freedom: exceeded by 1 in 1000 seeds


def test_weights_are_the_softmax():
    logits = torch.randn(64, generator=torch.manual_seed(3)).mul(4).sort(descending=True).values
    for temperature in (0.25, 0.7, 1.0, 2.0):
        kept = torch.tensor(Sampler(temperature).kept(logits), dtype=torch.float64)
        shares = torch.softmax(logits.double() / temperature, 0)[: len(kept)]
        assert float((kept / kept.sum() - shares).abs().max()) < 2e-5


# --- edges ------------------------------------------------------------------------------------------------


def kept(numbers, *parameters):
    """Number of entries kept."""
    return len(Sampler(*parameters).kept(torch.tensor(numbers)))


def test_greedy_is_argmax():
    logits = torch.tensor([0.5, 3.0, -1.0, 3.0, float("nan")])
    ids = sorted(range(5), key=lambda i: (-int(numerics.order_key(logits)[i]), i))
    for sampler in (Sampler(0.0), Sampler(1e-39), Sampler(5.0, top_k=1)):
        assert sampler.greedy
        assert sampler.choose(ids, logits[ids], 9) == numerics.argmax(logits) == 1
    assert not Sampler(2.0**-126).greedy


def test_top_p_edges():
    logits = [1.0, 1.0, 1.0, 1.0]
    assert [kept(logits, 1.0, 0, p) for p in (0.0, 0.25, 0.2501, 0.5, 0.75, 1.0)] == [1, 1, 2, 2, 3, 4]
    assert kept([0.0, -50.0, -math.inf], 1.0, 0, 1.0) == 1  # what weighs nothing is never kept
    # Half of 2 (2**24 - 1), and one unit of 2**-32 more; half a unit rounds up.
    assert [kept([1.0, 1.0], 1.0, 0, 0.5 + d) for d in (0, 2**-34, 2**-33, 2**-32)] == [1, 1, 2, 2]


def test_borders_of_the_draw(monkeypatch):
    logits = torch.tensor([1.0, 0.5, 0.5])
    a, b, c = Sampler().kept(logits)
    for r, wanted in ((0, 0), (a - 1, 0), (a, 1), (a + b - 1, 1), (a + b, 2), (a + b + c - 1, 2)):
        monkeypatch.setattr(sampling, "draw", lambda *_, r=r: r)
        assert Sampler().choose(range(3), logits, 0) == wanted


def test_top_k_comes_before_top_p():
    assert kept([1.0, 1.0, 1.0, 1.0], 1.0, 2, 0.5) == 1
    assert kept([1.0, 1.0, 1.0, 1.0], 1.0, 9, 1.0) == 4


def test_temperatures_at_the_ends():
    assert kept([1.0, 1.0 - 2**-20, -3e38], 2.0**-126, 0, 1.0) == 1
    assert Sampler(2.0**-126).kept(torch.tensor([1.0, 1.0])) == [2**24 - 1] * 2
    assert Sampler(MAX_TEMPERATURE).kept(torch.tensor([100.0, -100.0])) == [2**24 - 1] * 2
    assert kept([3e38, -3e38], 1.0, 0, 1.0) == 1  # the difference overflows


def test_infinities_and_nan():
    inf, nan = math.inf, math.nan
    assert Sampler().kept(torch.tensor([inf, inf, 5.0, -inf, nan])) == [2**24 - 1] * 2
    assert {Sampler(seed=s).choose([8, 9, 7], torch.tensor([0.0, 0.0, -inf]), 0) for s in range(30)} == {8, 9}
    for numbers in ([-inf, -inf, nan], [nan, nan]):
        for top_p in (0.0, 0.5, 1.0):
            assert Sampler(top_p=top_p).choose([5, 6, 7][: len(numbers)], torch.tensor(numbers), 3) == 5


# --- determinism ------------------------------------------------------------------------------------------


def test_pinned_choices():
    logits = torch.arange(16, dtype=torch.float32).mul(-0.25)
    ids = range(100, 116)
    sampler = Sampler(0.8, 12, 0.95, 20240229)
    assert [sampler.choose(ids, logits, position) for position in range(12)] == PINNED[0]
    assert [sampler.choose(ids, logits, 5, sequence) for sequence in range(12)] == PINNED[1]
    assert sampler.kept(logits) == PINNED[2]
    assert draw(1, 2, 3, 2**64) == PINNED[3]


#: These change only if the definition does: then texts of old seeds change too.
PINNED = (
    [106, 101, 100, 102, 100, 102, 100, 100, 102, 101, 102, 101],
    [102, 102, 103, 101, 104, 101, 102, 107, 102, 101, 106, 100],
    [16777215, 12274536, 8980181, 6570070, 4806735, 3516696, 2572882, 1882347, 1377161],
    11765738615671844847,
)


def test_no_state():
    logits = torch.randn(20, generator=torch.manual_seed(1)).sort(descending=True).values
    positions = list(range(40))
    wanted = [Sampler(seed=4).choose(range(20), logits, position) for position in positions]
    random.Random(2).shuffle(positions)
    sampler = Sampler(seed=4)
    assert {p: sampler.choose(range(20), logits, p) for p in positions} == dict(enumerate(wanted))


# --- properties -------------------------------------------------------------------------------------------


@RANDOM
@given(st.lists(number_bits, min_size=1, max_size=16), temperatures, st.integers(0, 20), shares, words, words)
def test_choice_lies_in_the_kept_set(numbers, temperature, top_k, top_p, seed, position):
    ids, numbers = ordered(numbers)
    sampler = Sampler(temperature, top_k, top_p, seed)
    chosen = sampler.choose(ids, floats(numbers), position)
    weights = sampler.kept(floats(numbers))
    place = ids.index(chosen)
    assert place < len(weights) <= (top_k or len(ids))
    assert weights[place] > 0 or sum(weights) == 0 == place


@RANDOM
@given(st.lists(number_bits, min_size=1, max_size=16), temperatures, shares, shares)
def test_top_p_is_monotone(numbers, temperature, p, q):
    logits = floats(ordered(numbers)[1])
    less, more = (Sampler(temperature, 0, share).kept(logits) for share in sorted((p, q)))
    assert more[: len(less)] == less


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", v) for v in (-0.1, math.nan, math.inf, 2.0**127)]
    + [("top_k", -1), ("top_p", -0.01), ("top_p", 1.01), ("top_p", math.nan), ("seed", -1), ("seed", 2**64)],
)
def test_refuses_parameters(name, value):
    with pytest.raises(ValueError, match=rf"{name}: wanted .*, found {re.escape(str(value))}"):
        Sampler(**{name: value})


def test_refuses_arguments():
    sampler, logits = Sampler(), torch.tensor([2.0, 1.0])
    for position, sequence, name in ((-1, 0, "position"), (0, 2**64, "sequence")):
        with pytest.raises(ValueError, match=f"{name}: wanted"):
            sampler.choose([1, 2], logits, position, sequence)
    for ids, wrong in (([1], logits), ([], logits[:0]), ([1, 2], logits.double()), ([1, 2], logits[None])):
        with pytest.raises(ValueError, match=r"logits: wanted as many .*, found"):
            sampler.choose(ids, wrong, 0)
    with pytest.raises(ValueError, match="wanted them in the order"):
        sampler.choose([1, 2], logits.flip(0), 0)
