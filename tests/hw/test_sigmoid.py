"""Sigmoid against numerics."""

import random

import torch

from hw.sigmoid import Sigmoid
from models import numerics

from .test_fp32_format import check_pipeline, check_verilog

END = 16 << 12


def test_values():
    rng = random.Random(50)
    knots = [i << 7 for i in range(513)]
    edges = {k + d for k in knots for d in (-1, 0, 1) if 0 <= k + d <= END}
    arguments = sorted(edges | {rng.randrange(END) for _ in range(1500)})
    arguments += [-t for t in arguments]
    rng.shuffle(arguments)
    wanted = numerics.sigmoid(torch.tensor(arguments)).tolist()
    vectors = [({"t": t}, {"o": o}) for t, o in zip(arguments, wanted, strict=True)]
    check_pipeline(Sigmoid(), Sigmoid.LATENCY, vectors, seed=51)


def test_verilog():
    check_verilog(Sigmoid())
