"""`models.numerics` against `test_numerics_reference`: exhaustive where the inputs are few."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import numerics
from tests.hw import test_fp32_reference as fp32
from tests.models import test_numerics_reference as reference

from .bit_patterns import LENGTH, RANDOM, bits, floats, integers, number_bits, scale_bits, vectors, wide

# --- fixed point, statistics ------------------------------------------------------------------------------


@RANDOM
@given(st.lists(st.tuples(st.integers(0, 2**62 - 1), st.integers(0, 400)), min_size=1, max_size=LENGTH))
def test_round_shift(pairs):
    pairs += [(value >> min(shift, 62) << shift % 7, shift % 64) for value, shift in pairs]
    pairs = [(value, shift) for value, shift in pairs if value < 2**62]
    found = numerics.round_shift(integers([v for v, _ in pairs]), integers([s for _, s in pairs]))
    assert found.tolist() == [reference.round_shift(*pair) for pair in pairs]


def test_round_shift_of_the_largest():
    pairs = [(2**62 - d, shift) for d in (1, 2**61, 2**61 + 1) for shift in (0, 1, 60, 61, 62, 63, 64, 127)]
    found = numerics.round_shift(integers([v for v, _ in pairs]), integers([s for _, s in pairs]))
    assert found.tolist() == [reference.round_shift(*pair) for pair in pairs]


@RANDOM
@given(vectors)
def test_absmax(a):
    found = numerics.absmax(floats(a).reshape(3, -1))
    wanted = [reference.absmax(a[i : i + LENGTH // 3]) for i in range(0, LENGTH, LENGTH // 3)]
    assert bits(found) == wanted
    assert bits(numerics.live_scale(found)) == [reference.live_scale(x) for x in wanted]


def test_least_scale_that_lives():
    least = reference.LEAST_ABSMAX
    assert bits(numerics.live_scale(floats([least - 1, least, least + 1]))) == [0, least, least + 1]
    codes = numerics.quantise(floats([least - 1, least]).unsqueeze(-1), floats([least - 1, least]), 127)
    assert codes.tolist() == [[0], [127]]


@RANDOM
@given(vectors, st.integers(-110, 110), st.integers(20, 230))
def test_square_sum(a, grid, exponent):
    around = [x & 0x807FFFFF | min(exponent + (x >> 23 & 7), 254) << 23 for x in a]  # of similar size
    for numbers in (a, around, [x for x in a if x & fp32.INF != fp32.INF] or [0]):
        total, saturated = numerics.square_sum(floats(numbers), grid)
        assert (int(total), bool(saturated)) == reference.square_sum(numbers, grid)


def test_square_sum_at_saturation():
    root = [0x4F000000]  # 2**31: four squares are 2**64, two are 2**63, the largest sum is one less
    for numbers, grid in ((root, 0), (root * 2, 0), (root * 2, 1), (root * 4, 1), ([0x4F7FFFFF] * 2, 1)):
        total, saturated = numerics.square_sum(floats(numbers), grid)
        assert (int(total), bool(saturated)) == reference.square_sum(numbers, grid)
    assert bool(numerics.square_sum(floats(root * 2), 0)[1])
    assert not numerics.square_sum(floats(root), 0)[1]


@RANDOM
@given(scale_bits, wide.map(abs), st.integers(-60, 20), st.sampled_from([0x3727C5AC, 0x179ABE15, 0]))
def test_norm_scale(maximum, total, c_exponent, eps):
    c = reference.constant(2.0**c_exponent / 3)
    found = numerics.norm_scale(floats([maximum]), integers([total]), floats([c]), floats([eps]))
    assert bits(found) == [reference.norm_scale(maximum, total, c, eps)]


@RANDOM
@given(vectors, st.sampled_from([127, 32767]), st.one_of(st.none(), scale_bits))
def test_quantise(a, levels, other):
    maximum = reference.absmax(a) if other is None else other  # any maximum must at least clip
    found = numerics.quantise(floats(a), floats([maximum])[0], levels)
    assert found.tolist() == reference.quantise(a, maximum, levels)


# --- linear, position -------------------------------------------------------------------------------------


@RANDOM
@given(st.integers(0, 2**32), st.integers(1, 70), st.sampled_from([1, 127, 32767]))
def test_linear(seed, k, limit):
    draw = np.random.default_rng(seed)
    q, weight = draw.integers(-32767, 32768, (2, k)), draw.integers(-limit, limit + 1, (3, k))
    wanted = [[sum(int(a) * int(b) for a, b in zip(x, w, strict=True)) for w in weight] for x in q]
    acc = numerics.integer_linear(torch.from_numpy(q), torch.from_numpy(weight).to(torch.int32))
    assert acc.tolist() == wanted
    scale = reference.constant(1 / (3 + k))
    found = numerics.dequantise(acc, floats([scale]))
    assert bits(found) == [fp32.multiply(fp32.from_int(i), scale) for row in wanted for i in row]


@pytest.mark.parametrize(("context", "size", "base"), [(512, 16, 1e4), (64, 64, 1e5), (3, 2, 10.0)])
def test_rope_table(context, size, base):
    table = numerics.rope_table(context, size, base)
    assert table.shape == (context, size)
    assert table.dtype == torch.float32
    for position in {0, 1, 2, context // 2, context - 1}:
        for j in range(size // 2):
            angle = position * base ** (-2 * j / size)
            wanted = math.cos(angle), math.sin(angle)
            assert table[position, 2 * j : 2 * j + 2].tolist() == pytest.approx(
                wanted, rel=2**-23, abs=2**-40
            )


@RANDOM
@given(vectors, vectors)
def test_rope(a, row):
    found = bits(numerics.rope(floats(a), floats(row)))
    for j in range(0, LENGTH, 2):
        assert tuple(found[j : j + 2]) == reference.rope(a[j], a[j + 1], row[j], row[j + 1])


# --- tables -----------------------------------------------------------------------------------------------


def test_sigmoid_everywhere():
    t = torch.arange(-(16 << 12), (16 << 12) + 1)
    found = numerics.sigmoid(t)
    assert found.tolist() == [reference.sigmoid(i) for i in t.tolist()]
    assert bool((found.diff() >= 0).all())
    error = (found.double() / 2**24 - torch.sigmoid(t.double() / 2**12)).abs().max()
    assert 2**-17 < error < 2**-16  # the stated bound, and that it is no idle one


@RANDOM
@given(vectors)
def test_silu(a):
    assert bits(numerics.silu(floats(a))) == [reference.silu(x) for x in a]


@RANDOM
@given(vectors)
def test_relu2(a):
    assert bits(numerics.relu2(floats(a))) == [reference.relu2(x) for x in a]


def test_relu2_of_what_is_not_above_zero():
    a = [0x80000000, 0x80000001, 0x80800000, 0xBF800000, 0xFF7FFFFF, 0xFF800000, 0, 1]
    assert bits(numerics.relu2(floats(a))) == [0] * len(a)
    assert bits(numerics.relu2(floats([0x7F800001, 0xFFC00000, 0xFF800001]))) == [0x7FC00000] * 3
    assert bits(numerics.relu2(floats([0x40400000, 0x7F800000, 0x60000000, 0x1F000000]))) == [
        0x41100000, 0x7F800000, 0x7F800000, 0,
    ]  # fmt: skip


def test_exp2_every_fraction():
    fraction = torch.arange(2**16)
    found = numerics.exp2(fraction)
    assert found.tolist() == [reference.exp2(i) for i in fraction.tolist()]
    assert bool((found.diff() <= 0).all())
    error = (found.double() / 2**24 - torch.exp2(-fraction.double() / 2**16)).abs().max()
    assert 2**-21 < error < 2**-19.9


@RANDOM
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=LENGTH))
def test_exp2(distances):
    distances += [distance % (30 << 16) for distance in distances]
    assert numerics.exp2(integers(distances)).tolist() == [reference.exp2(i) for i in distances]


# --- attention --------------------------------------------------------------------------------------------


@RANDOM
@given(st.integers(-(2**39), 2**39), number_bits, number_bits)
def test_attention_score(dot, query_scale, key_scale):
    found = numerics.attention_score(integers([dot]), floats([query_scale]), floats([key_scale]))
    assert found.tolist() == [reference.attention_score(dot, query_scale, key_scale)]


@RANDOM
@given(
    st.lists(scale_bits, min_size=1, max_size=LENGTH), st.lists(st.integers(0, 2**24 - 1), min_size=LENGTH)
)
def test_value_weight(scales, probabilities):
    exponent = reference.value_exponent(max(scales))
    assert numerics.value_exponent(floats([max(scales)])).tolist() == [exponent]
    found = numerics.value_weight(
        integers(probabilities[: len(scales)]), floats(scales), torch.tensor(exponent)
    )
    wanted = [reference.value_weight(p, s, exponent) for p, s in zip(probabilities, scales, strict=False)]
    assert found.tolist() == wanted
    assert max(wanted) < 2**24


@RANDOM
@given(st.lists(scale_bits, min_size=1, max_size=LENGTH))
def test_value_exponent(scales):
    scales += [s & ~0x7FFFFF for s in scales] + [s | 1 for s in scales if s]
    wanted = [reference.value_exponent(s) for s in scales]
    assert numerics.value_exponent(floats(scales)).tolist() == wanted


@RANDOM
@given(st.integers(-(2**44), 2**44), st.integers(0, 2**40), st.integers(-126, 127))
def test_attention_output(acc, total, exponent):
    for count in (total, 0):
        found = numerics.attention_output(integers([[acc]]), integers([count]), integers([exponent]))
        assert bits(found) == [reference.attention_output(acc, count, exponent)]


# --- choice, codes ----------------------------------------------------------------------------------------


@RANDOM
@given(st.lists(number_bits, min_size=1, max_size=LENGTH))
def test_argmax(a):
    for numbers in (a, a + a[::-1], [x & 0x80000001 for x in a], [x & 0xC0800000 for x in a]):
        assert numerics.argmax(floats(numbers)) == reference.argmax(numbers)
        assert int(numerics.order_key(floats(numbers)).argmax()) == reference.argmax(numbers)


def test_order_of_corners():
    corners = fp32.corners()
    key = numerics.order_key(floats(corners)).tolist()
    for a, left in zip(corners, key, strict=True):
        for b, right in zip(corners, key, strict=True):
            assert (right > left) == reference.argmax([a, b]), (hex(a), hex(b))


def test_gray_order():
    for digits in range(6):
        found = numerics.gray_trits(digits)
        assert list(found) == [reference.gray(number, digits) for number in range(3**digits)]
    steps = zip(numerics.gray_trits(5), numerics.gray_trits(5)[1:], strict=False)
    assert all(sum(abs(a - b) for a, b in zip(x, y, strict=True)) == 1 for x, y in steps)


def test_pack_every_byte():
    wanted = [reference.gray(byte % 27, 3) + reference.gray(byte // 27, 2) for byte in range(243)]
    found = numerics.unpack_trits(torch.arange(243)[:, None], 5)
    assert found.tolist() == [list(trits) for trits in wanted]
    assert numerics.pack_trits(found)[:, 0].tolist() == list(range(243))


@given(st.integers(1, 17), st.integers(1, 4), st.integers(0, 2**32))
def test_pack_pads_with_zeros(k, rows, seed):
    codes = torch.from_numpy(np.random.default_rng(seed).integers(-1, 2, (rows, k)))
    packed = numerics.pack_trits(codes)
    assert packed.shape == (rows, -(-k // 5))
    assert torch.equal(numerics.unpack_trits(packed, k), codes)
    assert not numerics.unpack_trits(packed, packed.shape[1] * 5)[:, k:].any()
