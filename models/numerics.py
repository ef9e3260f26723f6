"""The numerics contract: every primitive operation of Trine, defined once, on torch tensors.

The golden models and the interpreter call these functions; the RTL is tested against them. Integers are
``torch.int64`` unless a docstring says otherwise; floats are ``torch.float32`` holding binary32 values.

Rules that hold everywhere:

* a float operation rounds once, to nearest, ties to even; there is no fused multiply-add;
* subnormal inputs are read as zero and subnormal results (after IEEE rounding) become zero, sign kept;
* a NaN result is the canonical quiet NaN 0x7FC00000;
* a reduction adds integers, so its result does not depend on order;
* "fixed-point rounding" (`round_shift`) is to nearest, halves upwards.

`docs/numerics.md` gives the reasons and the error bounds.
"""

import math
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

#: Smallest normal binary32; below it lies zero.
MIN_NORMAL = 2.0**-126
#: An absolute maximum below this quantises to all zeros with scale 0.
MIN_ABSMAX = 2.0**-100
#: Grid exponent of squares unless calibration says otherwise.
DEFAULT_GRID = -44
#: Sums of squares saturate here (64-bit register, sign bit unused).
SQUARE_SUM_MAX = 2**63 - 1
#: Fraction bits of attention scores and of the argument of the sigmoid table.
SCORE_FRACTION = 16
SIGMOID_FRACTION = 12
#: Attention probabilities are u0.24, never 1.0.
PROBABILITY_BITS = 24
PROBABILITY_MAX = 2**24 - 1
SCORE_LIMIT = 2**31 - 1
INT8_LEVELS = 127
INT16_LEVELS = 32767
#: 12-bit mantissas lie within +-MANTISSA_LEVELS; the shared exponent scales by MANTISSA_ONE.
MANTISSA_LEVELS = 2047
MANTISSA_ONE = 2048
#: Bits of the sums of LINEAR and HEAD; group scales and minima lie within +-GROUP_LIMIT.
WIDE_SUM_BITS = 48
GROUP_LIMIT = 2**15 - 1


# --- binary32 ---------------------------------------------------------------------------------------------


def float_bits(x: Tensor) -> Tensor:
    """Bit patterns of binary32 values as int64 in 0..2**32-1."""
    return x.contiguous().view(torch.int32).to(torch.int64) & 0xFFFFFFFF


def bits_float(bits: Tensor) -> Tensor:
    """binary32 values with the given bit patterns (int64, low 32 bits count)."""
    low = bits & 0xFFFFFFFF
    return torch.where(low >= 2**31, low - 2**32, low).to(torch.int32).view(torch.float32)


def flush(x: Tensor) -> Tensor:
    """x with subnormals as zero of their sign and every NaN as the canonical one."""
    zeroed = torch.where(x.abs() < MIN_NORMAL, x * 0.0, x)
    return zeroed.masked_fill(x.isnan(), torch.nan)


def fadd(a: Tensor, b: Tensor) -> Tensor:
    """fl(a + b)."""
    return flush(flush(a) + flush(b))


def fsub(a: Tensor, b: Tensor) -> Tensor:
    """fl(a - b)."""
    return flush(flush(a) - flush(b))


def fmul(a: Tensor, b: Tensor) -> Tensor:
    """fl(a * b). The product of two binary32 is exact in binary64, so it is rounded once, from there."""
    return flush((flush(a).double() * flush(b).double()).float())


def fdiv(a: Tensor, b: Tensor) -> Tensor:
    """fl(a / b), correctly rounded (binary64 division then binary32 is innocuous: 53 >= 2 * 24 + 2)."""
    return flush((flush(a).double() / flush(b).double()).float())


def fsqrt(a: Tensor) -> Tensor:
    """fl(sqrt(a)), correctly rounded, through binary64 for the same reason as `fdiv`."""
    return flush(torch.sqrt(flush(a).double()).float())


def constant(value: float) -> Tensor:
    """The binary32 constant nearest to a Python float, as a 0-d tensor."""
    return flush(torch.tensor(value, dtype=torch.float64).float())


def int_to_float(i: Tensor) -> Tensor:
    """fl(i) for int64 i: one rounding, whatever the magnitude.

    Above 2**53 a conversion through binary64 would round twice, so the low bits are folded into a sticky bit.
    """
    i = i.to(torch.int64)
    wide = i.abs() >= 2**53
    sticky = (i >> 11 << 11) | ((i & 0x7FF) != 0).to(torch.int64) << 11
    return torch.where(wide, sticky, i).to(torch.float64).to(torch.float32)


def float_to_int(x: Tensor, shift: int, limit: int) -> Tensor:
    """clip(rne(x * 2**shift), -limit, limit) as int64; NaN gives 0."""
    scaled = flush(x).double() * 2.0**shift
    return (
        torch.nan_to_num(torch.round(scaled), nan=0.0, posinf=limit, neginf=-limit)
        .clamp(-limit, limit)
        .to(torch.int64)
    )


def scale_power(x: Tensor, exponent: Tensor) -> Tensor:
    """fl(x * 2**exponent), the power of two being a binary32 number itself (exponent in -126..127)."""
    return fmul(x, torch.pow(2.0, exponent.double()).float())


# --- fixed point ------------------------------------------------------------------------------------------


def round_shift(value: Tensor, shift: Tensor | int) -> Tensor:
    """floor(value / 2**shift + 1/2) for int64 0 <= value < 2**62 and any shift >= 0."""
    shift = torch.as_tensor(shift, dtype=torch.int64)
    small = shift.clamp(max=62)
    half = torch.where(small > 0, torch.ones_like(small) << (small - 1).clamp(min=0), torch.zeros_like(small))
    return torch.where(shift > 62, torch.zeros_like(value), (value + half) >> small)


# --- statistics -------------------------------------------------------------------------------------------


def absmax(x: Tensor) -> Tensor:
    """max |x| over the last dimension (binary32, >= +0; infinities count, NaN counts as 0x7FC00000)."""
    return bits_float((float_bits(flush(x)) & 0x7FFFFFFF).amax(dim=-1))


def square_sum(x: Tensor, grid: int = DEFAULT_GRID) -> tuple[Tensor, Tensor]:
    """Sum over the last dimension of floor(x**2 / 2**grid), and whether it saturated.

    The square is the full product of the two 24-bit significands. A term or a sum above 2**63 - 1, an
    infinity or a NaN saturates.
    """
    bits = float_bits(flush(x))
    exponent = bits >> 23 & 0xFF
    significand = torch.where(exponent > 0, bits & 0x7FFFFF | 0x800000, torch.zeros_like(bits))
    product = significand * significand
    left = 2 * (exponent - 150) - grid
    over = (exponent == 255) | ((product > 0) & (left > 0) & (product >= (1 << (63 - left.clamp(0, 63)))))
    down = product >> (-left).clamp(0, 63)
    term = torch.where(left > 0, product << left.clamp(0, 62), down)
    term = torch.where(over, torch.zeros_like(term), term)
    high, low = (term >> 32).sum(-1), (term & 0xFFFFFFFF).sum(-1)
    high = high + (low >> 32)
    saturated = over.any(-1) | (high >= 2**31)
    total = torch.where(saturated, torch.full_like(high, SQUARE_SUM_MAX), high << 32 | low & 0xFFFFFFFF)
    return total, saturated


def live_scale(maximum: Tensor) -> Tensor:
    """The scale that is stored: the absolute maximum itself, or 0 where it is below 2**-100."""
    return torch.where(maximum < MIN_ABSMAX, torch.zeros_like(maximum), maximum)


def shared_exponent(maximum: Tensor) -> Tensor:
    """E: the least power of two above the absolute maximum, of 12-bit mantissas (SkipOPU's float-fixed mode).

    Above 2**127 it is infinite; infinity and NaN stay.
    """
    bits = float_bits(maximum)
    exponent = bits >> 23
    return bits_float(torch.where(exponent == 255, bits, (exponent + 1) << 23))


def norm_scale(maximum: Tensor, total: Tensor, c: Tensor, eps: Tensor) -> Tensor:
    """fl(live_scale(maximum) * r), r = fl(1 / fl(sqrt(fl(fl(fl(total) * c) + eps)))).

    c folds in the grid: c = 2**grid / n (RMS) or 2**grid * n (the ak42 form).
    """
    return fmul(live_scale(maximum), inverse_root(total, c, eps))


def inverse_root(total: Tensor, c: Tensor, eps: Tensor) -> Tensor:
    """The r of `norm_scale`."""
    mean = fadd(fmul(int_to_float(total), c), eps)
    return fdiv(torch.ones_like(mean), fsqrt(mean))


def live_exponent(maximum: Tensor) -> Tensor:
    """`shared_exponent`, or 0 where the maximum is below 2**-100: the scale of 12-bit mantissas."""
    return torch.where(maximum < MIN_ABSMAX, torch.zeros_like(maximum), shared_exponent(maximum))


# --- quantise ---------------------------------------------------------------------------------------------


def quantise(x: Tensor, maximum: Tensor, levels: int) -> Tensor:
    """q = rne(fl(x * fl(levels / maximum))) clipped to +-levels (int64); 0 where maximum < 2**-100.

    x is [..., n], already multiplied by its gain; maximum [...] is the absmax of that product.
    """
    inverse = fdiv(torch.full_like(maximum, float(levels)), maximum)
    q = float_to_int(fmul(x, inverse.unsqueeze(-1)), 0, levels)
    return torch.where((maximum < MIN_ABSMAX).unsqueeze(-1), torch.zeros_like(q), q)


def quantise_mantissa(x: Tensor, maximum: Tensor) -> Tensor:
    """q = rne(fl(x * fl(2048 / E))) clipped to +-2047 (int64); 0 where maximum < 2**-100.

    E is `shared_exponent`. x is [..., n], already multiplied by its gain; maximum [...] is the absmax of that
    product. The factor is a power of two, so only the rounding to an integer, or the clip of what rounds to
    2048, changes a normal x.
    """
    inverse = fdiv(torch.full_like(maximum, float(MANTISSA_ONE)), shared_exponent(maximum))
    q = float_to_int(fmul(x, inverse.unsqueeze(-1)), 0, MANTISSA_LEVELS)
    return torch.where((maximum < MIN_ABSMAX).unsqueeze(-1), torch.zeros_like(q), q)


# --- linear -----------------------------------------------------------------------------------------------

#: Rows of a matrix that `integer_linear` converts together.
_ROWS_AT_ONCE = 256


def integer_linear(q: Tensor, weight: Tensor) -> Tensor:
    """Exact integer products: q [..., k] times weight [rows, k], both small integers; int64 [..., rows].

    binary64 holds every sum exactly while |q| * |weight| * k < 2**53. Weights of many rows that are not
    binary64 yet are converted some rows at a time, and to binary32 where that holds every sum (2**24).
    """
    if weight.dtype == torch.float64 or weight.shape[0] <= _ROWS_AT_ONCE:
        return (q.double() @ weight.double().T).to(torch.int64)
    largest = max(int(weight.max()), -int(weight.min()))
    exact = int(q.abs().max()) * largest * q.shape[-1] <= 2**24
    dtype = torch.float32 if exact else torch.float64
    x = q.to(dtype)
    return torch.cat([(x @ part.to(dtype).T).to(torch.int64) for part in weight.split(_ROWS_AT_ONCE)], -1)


def grouped_linear(
    q: Tensor, weight: Tensor, group: int = 0, scales: Tensor | None = None, minima: Tensor | None = None
) -> Tensor:
    """Sums of LINEAR and HEAD, int64 [..., rows] within 48 bits (modulo 2**48, as a signed number).

    q [..., k] and weight [rows, k] are small integers. Without ``group`` it is `integer_linear`. Else
    acc[r] = sum over groups g of scales[r, g] * (q . weight[r] over the group) + minima[r, g] * (sum of q
    over it); scales and minima are integers [rows, ceil(k / group)] of 16 bits; the last group is what
    remains of k.
    """
    if group:
        assert scales is not None
        k = q.shape[-1]
        total = torch.zeros(*q.shape[:-1], weight.shape[0], dtype=torch.int64)
        for g, at in enumerate(range(0, k, group)):
            part = q[..., at : at + group]
            total += scales[:, g] * integer_linear(part, weight[:, at : at + group])
            if minima is not None:
                total += minima[:, g] * part.sum(-1, keepdim=True)
    else:
        total = integer_linear(q, weight)
    half = 1 << WIDE_SUM_BITS - 1
    return ((total + half) & (2 * half - 1)) - half


def dequantise(acc: Tensor, scale: Tensor) -> Tensor:
    """fl(fl(acc) * scale)."""
    return fmul(int_to_float(acc), scale)


# --- position ---------------------------------------------------------------------------------------------


def rope_table(context: int, head_size: int, base: float) -> Tensor:
    """[context, head_size] binary32 rows cos0, sin0, cos1, sin1, ... (interleaved pairs; RoFormer 3.2.2)."""
    pair = torch.arange(0, head_size, 2, dtype=torch.float64)
    angle = torch.arange(context, dtype=torch.float64)[:, None] * base ** (-pair / head_size)[None, :]
    return flush(torch.stack((angle.cos(), angle.sin()), dim=-1).reshape(context, head_size).float())


def rope(x: Tensor, row: Tensor) -> Tensor:
    """Rotate the pairs (2j, 2j+1) of x [..., head_size] by row (cos, sin interleaved) [..., head_size].

    even: fl(fl(x0 cos) - fl(x1 sin)); odd: fl(fl(x1 cos) + fl(x0 sin)).
    """
    x0, x1, cos, sin = x[..., 0::2], x[..., 1::2], row[..., 0::2], row[..., 1::2]
    even = fsub(fmul(x0, cos), fmul(x1, sin))
    odd = fadd(fmul(x1, cos), fmul(x0, sin))
    return torch.stack((even, odd), dim=-1).reshape(x.shape)


# --- SiLU and ReLU squared --------------------------------------------------------------------------------

#: Intervals of the sigmoid table over [0, 16); each spans 2**7 steps of 2**-12.
SIGMOID_INTERVALS = 512


@lru_cache(maxsize=1)
def sigmoid_table() -> tuple[tuple[int, int], ...]:
    """(base, step) for each of 512 intervals: sigma on [0, 16] in u0.24, linear between the knots.

    Error below 2**-16: (2**-5)**2 / 8 * max|sigma''| (0.0963) = 1.2e-5, plus one unit of 2**-24.
    """
    knots = [round(2**24 / (1 + math.exp(-i / 32))) for i in range(SIGMOID_INTERVALS + 1)]
    return tuple((a, b - a) for a, b in pairwise(knots))


def sigmoid(t: Tensor) -> Tensor:
    """sigma(t / 2**12) as u1.24 integers 0..2**24, for int64 t within +-16 * 2**12."""
    table = torch.tensor(sigmoid_table(), dtype=torch.int64)
    magnitude = t.abs()
    index = (magnitude >> 7).clamp(max=SIGMOID_INTERVALS - 1)
    base, step = table[index, 0], table[index, 1]
    positive = base + (step * (magnitude - (index << 7)) + 64 >> 7)
    return torch.where(t < 0, 2**24 - positive, positive)


def silu(x: Tensor) -> Tensor:
    """fl(x * sigma), sigma from `sigmoid` on rne(x * 2**12) saturated at +-16 (exact as binary32)."""
    t = float_to_int(x, SIGMOID_FRACTION, 16 << SIGMOID_FRACTION)
    return fmul(x, scale_power(int_to_float(sigmoid(t)), torch.tensor(-24)))


def relu2(x: Tensor) -> Tensor:
    """fl(r * r), r = x where x > 0 or x is a NaN, else +0 (-0 and -infinity too): ReLU squared."""
    kept = flush(x)
    r = torch.where((kept > 0) | kept.isnan(), kept, torch.zeros_like(kept))
    return fmul(r, r)


# --- attention --------------------------------------------------------------------------------------------

#: Entries of the exp2 table: the upper 8 of 16 fraction bits.
EXP2_ENTRIES = 256


@lru_cache(maxsize=1)
def exp2_table() -> tuple[tuple[int, int], ...]:
    """(base, step) for each 1/256 of an octave: 2**-f in u1.24 and its fall to the next knot.

    Error below 2**-19.9: (2**-8)**2 / 8 * ln(2)**2 = 9.2e-7, plus one unit of 2**-24.
    """
    knots = [round(2**24 * 2 ** (-i / EXP2_ENTRIES)) for i in range(EXP2_ENTRIES + 1)]
    return tuple((a, a - b) for a, b in pairwise(knots))


def exp2(distance: Tensor) -> Tensor:
    """2**(-distance / 2**16) as u0.24 integers, at most 2**24 - 1, for int64 distance >= 0."""
    table = torch.tensor(exp2_table(), dtype=torch.int64)
    fraction = distance & 0xFFFF
    index = fraction >> 8
    base, step = table[index, 0], table[index, 1]
    value = base - (step * (fraction & 0xFF) + 128 >> 8)
    return round_shift(value, distance >> 16).clamp(max=PROBABILITY_MAX)


def attention_score(dot: Tensor, query_scale: Tensor, key_scale: Tensor) -> Tensor:
    """rne(fl(fl(fl(dot) * query_scale) * key_scale) * 2**16), saturated to +-(2**31 - 1)."""
    return float_to_int(fmul(dequantise(dot, query_scale), key_scale), SCORE_FRACTION, SCORE_LIMIT)


def value_exponent(largest: Tensor) -> Tensor:
    """e such that 2**e is the least power of two at or above `largest` (> 0); -126 where it is 0.

    128 where there is none: above 2**127, infinite or NaN.
    """
    bits = float_bits(largest)
    exponent = (bits >> 23) - 127 + ((bits & 0x7FFFFF) != 0).to(torch.int64)
    return torch.where(bits == 0, torch.full_like(exponent, -126), exponent.clamp(max=128))


def value_weight(probability: Tensor, value_scale: Tensor, exponent: Tensor) -> Tensor:
    """round_shift of probability * (value_scale / 2**exponent): u0.24 integers.

    probability u0.24 int64, value_scale binary32 >= 0 (a live scale), exponent from `value_exponent`. An
    infinite scale and NaN count as 2**128.
    """
    bits = float_bits(value_scale).clamp(max=0x7F800000)
    significand = torch.where(bits > 0, bits & 0x7FFFFF | 0x800000, torch.zeros_like(bits))
    return round_shift(probability * significand, exponent + 150 - (bits >> 23))


def attention_output(acc: Tensor, total: Tensor, exponent: Tensor) -> Tensor:
    """fl(fl(acc) * w), w = fl(fl(fl(1 / fl(total)) * fl(1 / 127)) * 2**exponent); 0 where total is 0.

    acc [..., head_size] sums value weights times int8 values; total [...] sums probabilities.
    """
    return fmul(int_to_float(acc), output_scale(total, exponent).unsqueeze(-1))


def output_scale(total: Tensor, exponent: Tensor) -> Tensor:
    """The w of `attention_output`."""
    reciprocal = fdiv(torch.ones(total.shape), int_to_float(total))
    scale = scale_power(fmul(reciprocal, constant(1 / 127)), exponent)
    return torch.where(total == 0, torch.zeros_like(scale), scale)


# --- choice -----------------------------------------------------------------------------------------------


def order_key(x: Tensor) -> Tensor:
    """int64 keys in the order of the binary32 values; -0 and +0 get the same key, NaN lies below all."""
    bits = float_bits(flush(x))
    magnitude = bits & 0x7FFFFFFF
    key = torch.where(bits >= 2**31, -magnitude, magnitude)
    return torch.where(magnitude > 0x7F800000, torch.full_like(key, -(2**31)), key)


def argmax(logits: Tensor) -> int:
    """Index of the largest logit; ties go to the lowest index."""
    key = order_key(logits)
    return int((key == key.max()).nonzero()[0, 0])


def top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices (int64) and values of the k largest of logits [n], largest first; all of them where n < k.

    The order is that of `argmax`, so the first index is the argmax. Values have subnormals and NaN as `flush`
    makes them.
    """
    count = logits.shape[0]
    distinct = order_key(logits) * count - torch.arange(count)
    ids = torch.topk(distinct, min(k, count)).indices
    return ids, flush(logits)[ids]


# --- ternary codes ----------------------------------------------------------------------------------------

TRITS_PER_BYTE = 5


@lru_cache(maxsize=8)
def gray_trits(digits: int) -> tuple[tuple[int, ...], ...]:
    """The 3**digits trit vectors in reflected ternary Gray order, beginning at (-1, ..., -1).

    Neighbours differ by one in one trit, so a builder makes a table of all dot products with one adder.
    The first trit changes fastest. (Knuth, TAOCP 7.2.1.1, reflected mixed-radix Gray code.)
    """
    if digits == 0:
        return ((),)
    rows: list[tuple[int, ...]] = []
    for number, tail in enumerate(gray_trits(digits - 1)):
        heads = (-1, 0, 1) if number % 2 == 0 else (1, 0, -1)
        rows += [(head, *tail) for head in heads]
    return tuple(rows)


def pack_trits(codes: Tensor) -> Tensor:
    """Pack trits [rows, k] into bytes [rows, ceil(k / 5)] (int64), zero-padded.

    A byte is gray(first three) + 27 * gray(last two), each gray() being the position in `gray_trits`.
    """
    rows, k = codes.shape
    groups = torch.ones(rows, -(-k // TRITS_PER_BYTE), TRITS_PER_BYTE, dtype=torch.uint8)
    groups.reshape(rows, -1)[:, :k] = codes + 1
    number = groups[..., TRITS_PER_BYTE - 1].clone()  # base-3 digits, least first: below 243
    for digit in reversed(range(TRITS_PER_BYTE - 1)):
        number *= 3
        number += groups[..., digit]
    return _trit_bytes()[number.to(torch.int64)]


def unpack_trits(packed: Tensor, k: int) -> Tensor:
    """Inverse of `pack_trits`: bytes [rows, n] to trits [rows, k]; bytes above 242 are no codes."""
    three = torch.tensor(gray_trits(3), dtype=torch.int64)
    two = torch.tensor(gray_trits(2), dtype=torch.int64)
    trits = torch.cat((three[packed % 27], two[packed // 27]), dim=-1)
    return trits.reshape(packed.shape[0], -1)[:, :k]


@lru_cache(maxsize=1)
def _trit_bytes() -> Tensor:
    """The byte of five trits by the number whose base-3 digits (least first) are trit + 1."""
    number = torch.arange(3**TRITS_PER_BYTE)
    return _gray_positions(3)[number % 27] + 27 * _gray_positions(2)[number // 27]


@lru_cache(maxsize=8)
def _gray_positions(digits: int) -> Tensor:
    """Position in Gray order by the number whose base-3 digits (least first) are trit + 1."""
    table = torch.zeros(3**digits, dtype=torch.int64)
    for position, trits in enumerate(gray_trits(digits)):
        table[sum((trit + 1) * 3**i for i, trit in enumerate(trits))] = position
    return table


# --- integer codes ----------------------------------------------------------------------------------------


def pack_pair(even: Tensor, odd: Tensor, bits: int, unit: int) -> Tensor:
    """Codes of two rows [n] side by side as bytes (int64), n filled up with zeros to a multiple of ``unit``.

    8 bits: a byte of the even row, then one of the odd row. 4 bits: both in a byte, the even row low.
    """
    n = even.shape[0]
    both = torch.zeros(-(-n // unit) * unit, 2, dtype=torch.int64)
    both[:n, 0], both[:n, 1] = even, odd
    both &= (1 << bits) - 1
    return both.reshape(-1) if bits == 8 else both[:, 0] | both[:, 1] << 4


def unpack_pair(data: Tensor, n: int, bits: int) -> tuple[Tensor, Tensor]:
    """Inverse of `pack_pair`: the first ``n`` codes (int64) of both rows."""
    both = data.reshape(-1, 2) if bits == 8 else torch.stack((data & 15, data >> 4), -1)
    half = 1 << bits - 1
    signed = ((both + half) & (2 * half - 1)) - half
    return signed[:n, 0], signed[:n, 1]
