"""binary32 numbers as bit patterns: conversions and hypothesis strategies for the tests of `models`."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from tests.hw import test_fp32_reference as fp32

#: Numbers in one of `vectors`: they share the cost of a call.
LENGTH = 12
RANDOM = settings(deadline=None, max_examples=100)

#: Any pattern; corners (subnormals, infinities, NaN, powers of two and neighbours); moderate exponents.
number_bits = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from(fp32.corners()),
    st.builds(lambda bits, e: bits & 0x807FFFFF | e << 23, st.integers(0, 2**32 - 1), st.integers(90, 160)),
)
vectors = st.lists(number_bits, min_size=LENGTH, max_size=LENGTH)
#: Positive numbers that scales can be: 2**-100 up to 2**99, or zero.
scale_bits = st.one_of(
    st.just(0), st.integers(27 << 23, (227 << 23) - 1), st.sampled_from([27 << 23, 127 << 23])
)
#: Signed integers of every width up to 63 bits.
wide = st.builds(lambda i, shift: i >> shift, st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 62))


def floats(bits: list[int]) -> Tensor:
    """binary32 numbers of the given patterns."""
    return torch.from_numpy(np.array(bits, np.uint32).view(np.float32).copy())


def bits(x: Tensor) -> list[int]:
    """Patterns of all elements."""
    assert x.dtype == torch.float32
    return x.reshape(-1).numpy().view(np.uint32).tolist()


def integers(values: list[int]) -> Tensor:
    """int64."""
    return torch.tensor(values, dtype=torch.int64)
