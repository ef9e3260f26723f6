"""Sigmoid against numerics."""

import random
from pathlib import Path

import pytest
import torch

from hw.sigmoid import Sigmoid
from models import numerics

from .cell_forms import equal_forms
from .test_fp32_format import check_pipeline, check_verilog

END = 16 << 12


@pytest.mark.parametrize("latency", [3, 4])
def test_values(latency: int):
    rng = random.Random(50)
    knots = [i << 7 for i in range(513)]
    edges = {k + d for k in knots for d in (-1, 0, 1) if 0 <= k + d <= END}
    arguments = sorted(edges | {rng.randrange(END) for _ in range(1500)})
    arguments += [-t for t in arguments]
    rng.shuffle(arguments)
    wanted = numerics.sigmoid(torch.tensor(arguments)).tolist()
    vectors = [({"t": t}, {"o": o}) for t, o in zip(arguments, wanted, strict=True)]
    check_pipeline(Sigmoid(latency), latency, vectors, seed=51)


def test_other_latencies_are_refused():
    with pytest.raises(ValueError, match="latency must be 3 or 4, found 2"):
        Sigmoid(2)


def test_verilog():
    check_verilog(Sigmoid())


def equal(folder: Path, change: tuple[str, str] = ("", "")) -> bool:
    """Whether the form of UltraScale+ cells has the results of the plain form; pauses."""
    stimuli = "top.en = draw() % 8 != 0; top.t = draw() & 0x3ffff;"
    return equal_forms(
        Sigmoid, {"en": 1, "t": 18}, {"o": 25}, stimuli, "dsp48e2_interpolate.v", folder, change
    )


def test_cells(tmp_path: Path):
    assert equal(tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".RND(48'h00007fffff80)", ".RND(48'h000080000000)"),
        (".CREG(32'd1)", ".CREG(32'd0)"),
    ],
)
def test_a_wrong_block_is_seen(right: str, wrong: str, tmp_path: Path):
    assert not equal(tmp_path, (right, wrong))
