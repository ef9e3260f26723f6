"""Absmax against numerics."""

import random

import pytest

from hw.absmax import Absmax
from models import numerics

from .test_fp32_format import check_verilog
from .test_fp32_reference import corners, random_bits
from .test_square_sum import check_segments, floats


@pytest.mark.parametrize("lanes", [4, 16])
def test_maxima(lanes):
    rng = random.Random(70 + lanes)
    segments = [[random_bits(rng) for _ in range(rng.randrange(1, 6) * lanes)] for _ in range(150)]
    for corner in corners():
        for _ in range(3):
            segment = [rng.choice(corners()) for _ in range(lanes * 2)] if rng.random() < 0.5 else [0] * lanes
            segment[rng.randrange(len(segment))] = corner
            segments.append(segment)
    wanted = [int(numerics.float_bits(numerics.absmax(floats(segment)))) for segment in segments]
    check_segments(Absmax(lanes), segments, [{}] * len(segments), wanted, "maximum")


def test_verilog():
    check_verilog(Absmax(4))
