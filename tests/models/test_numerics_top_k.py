"""numerics.top_k against `test_numerics_reference.argmax`, taken again and again."""

from hypothesis import given
from hypothesis import strategies as st

from models import numerics
from tests.hw import test_fp32_reference as fp32
from tests.models import test_numerics_reference as reference

from .bit_patterns import LENGTH, RANDOM, bits, floats, number_bits


def largest(numbers: list[int], k: int) -> list[int]:
    """Indices of the k largest, or of all: each the first largest of those that are left."""
    left, found = list(range(len(numbers))), []
    while left and len(found) < k:
        found.append(left.pop(reference.argmax([numbers[i] for i in left])))
    return found


def check(numbers: list[int], k: int) -> None:
    ids, values = numerics.top_k(floats(numbers), k)
    wanted = largest(numbers, k)
    assert ids.tolist() == wanted, [hex(x) for x in numbers]
    assert bits(values) == [fp32.flushed(numbers[i]) for i in wanted]


@RANDOM
@given(st.lists(number_bits, min_size=1, max_size=LENGTH), st.integers(1, 2 * LENGTH + 1))
def test_top_k(a, k):
    for numbers in (a, a + a[::-1], [x & 0x80000001 for x in a], [x & 0xC0800000 for x in a]):
        check(numbers, k)
        assert int(numerics.top_k(floats(numbers), k)[0][0]) == numerics.argmax(floats(numbers))


def test_corners():
    corners = fp32.corners()
    check(corners, len(corners))
    check(corners[::-1], 7)


def test_many_logits():
    """As many as a vocabulary can have: the keys stay distinct."""
    count = 1 << 20
    logits = floats([0xFF800000, 0x7FC00000, 0x80000000, 0x7F800000]).repeat(count // 4)
    ids, _ = numerics.top_k(logits, count)
    assert ids.tolist() == [i for r in (3, 2, 0, 1) for i in range(r, count, 4)]
