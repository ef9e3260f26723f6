"""A program of integer corners: dot products as large as they can be, all softmax weights, rows of the head.

Random operands seldom make a query times a key that needs rounding, value scales that differ by the width of
the sums, equal logits, or a head that begins at an odd block of activations.
"""

from collections.abc import Iterator

import numpy as np

from hw.isa import SCALARS, Dest, Feed, Pass, Payload, Source, Target
from hw.machine import MachineConfig
from sim.entries import Entry
from sim.random_check import RandomCase

from .corners import ROWS, Memory, Row, program

__all__ = ["product_program"]

#: Shape of attention, older tokens, and the head.
_KV_HEADS, _GROUP, _SIZE, _OLDER = 2, 2, 16, 9
_VOCABULARY, _K, _FIRST = 24, 64, 16
_QUERY = _KV_HEADS * _GROUP * _SIZE


def product_program(machine: MachineConfig, seed: int) -> RandomCase:
    """The program with its memory; it finds the token of its last row."""
    rng, memory = np.random.default_rng(seed), Memory(seed)
    body = [*_attention(rng, memory), *_head(rng, memory)]
    return program(machine, seed, memory, body, Entry(0, _OLDER), found=True)


def _attention(rng: np.random.Generator, memory: Memory) -> Iterator[Row]:
    tape, heads, head_size = {"source": Source.TAPE}, _KV_HEADS * _GROUP, _SIZE
    exponent = rng.integers(-24, -12, ROWS)
    yield memory.fetch([np.full(4, 2.0**e * rng.uniform(0.5, 2)) for e in exponent])
    yield "MAP", {**tape, "n": 4, "dest": Dest.SCALAR, "d": SCALARS - 8}
    queries = rng.choice((-1, 1), (ROWS, heads, head_size)) * rng.choice(
        (1, 1, 1, 0.99997, 0.5), (ROWS, heads, head_size)
    )
    signs = np.sign(queries[:, ::_GROUP])
    yield memory.fetch(list(queries.reshape(ROWS, -1)))
    yield "MAP", {**tape, "n": _QUERY, "statistics": 1, "segment": head_size, "grid": 20}
    yield "QUANTISE", {"target": Target.QUERY, "n": _QUERY, "segment": head_size, "s1": SCALARS - 8}
    shape = (ROWS, _OLDER, _KV_HEADS, head_size)
    less = rng.choice((0, 0, 0, 1, 2, 5, 127), shape)
    turned = rng.choice((1, 1, 1, -1, 0), (ROWS, _OLDER, _KV_HEADS, 1))
    share = rng.choice((1.0, 0.6, 0.4, 0.25), (ROWS, _OLDER, _KV_HEADS, 1))
    # In every other row scores are large and near each other, so that their last bits decide the weights.
    share[::2], less[::2] = share[::2, :1], np.minimum(less[::2], 1)
    turned[::2] = turned[::2, :1]
    keys = (signs[:, None] * turned * np.rint(share * (127 - less))).astype(np.int8)
    scales = (2.0 ** rng.integers(-12, 1, (ROWS, _OLDER, _KV_HEADS, 2))).astype(np.float32)
    scales *= rng.uniform(0.9, 1.1, scales.shape).astype(np.float32)
    near = -13 - exponent[::2, None, None] + rng.integers(-3, 3, (ROWS // 2, 1, _KV_HEADS))
    scales[::2, :, :, 0] = 2.0**near
    # Value scales side by side that differ by about the bits of the sums.
    scales[..., 1] = 2.0 ** rng.choice((0, 0, -1, -23, -24, -25, -26, -27, -40), scales.shape[:-1])
    scales[..., 1][rng.random(scales.shape[:-1]) < 0.1] = 0
    row = np.concatenate(
        [scales.view(np.uint8).reshape(ROWS, _OLDER, -1), keys.view(np.uint8).reshape(ROWS, _OLDER, -1)],
        axis=2,
    )
    values = (
        rng.choice((-127, 127, 1, -1, 0, 64), shape).astype(np.int8).view(np.uint8).reshape(ROWS, _OLDER, -1)
    )
    geometry = {
        "kv_heads": _KV_HEADS,
        "group": _GROUP,
        "head_size": head_size,
        "first": 1,
        "last": 1,
        "feed": Feed.TAPE,
    }
    for half, data in ((Pass.KEY, row), (Pass.VALUE, values)):
        size = data.shape[2]
        assert size % 8 == 0
        yield memory.fetch_bytes(data.reshape(ROWS, -1), {"bytes": size, "sequence": 1})
        yield "ATTEND", {"half": half, **geometry}
    yield "MAP", {"source": Source.ATTENTION, "n": _QUERY, "d": 0}
    yield memory.store(Payload.ACTIVATION, 4 * _QUERY, 0)


def _head(rng: np.random.Generator, memory: Memory) -> Iterator[Row]:
    """HEAD from the second block of activations on; rows alike, scales at the ends."""
    yield memory.fetch([rng.standard_normal(96) for _ in range(ROWS)])
    yield "MAP", {"source": Source.TAPE, "n": 96, "statistics": 1, "stat": 1, "grid": 20}
    yield "QUANTISE", {"target": Target.MATMUL, "n": 96, "d": _FIRST, "stat": 1}
    rows = rng.integers(-127, 128, (ROWS, _VOCABULARY, _K)).astype(np.int8)
    rows[:, 5] = rows[:, 3]
    rows[:, 9] = 0
    rows[:, 11] = -rows[:, 3]
    scales = (2.0 ** rng.integers(-3, 4, (ROWS, _VOCABULARY))).astype(np.float32)
    scales[:, 5] = scales[:, 3]
    scales[:, 9] *= rng.choice((-1, 1), ROWS)
    ends = np.array([np.inf, -np.inf, np.nan, 0, -0.0, 3e38, -3e38, 2.0**-126], np.float32)
    where = rng.random(scales.shape) < 0.04
    scales[where] = rng.choice(ends, int(where.sum()))
    pairs = rows.reshape(ROWS, _VOCABULARY // 2, 2, _K).swapaxes(2, 3).reshape(ROWS, -1, 2 * _K)
    taken = np.concatenate([pairs.view(np.uint8), scales.view(np.uint8).reshape(ROWS, -1, 8)], axis=2)
    size = _VOCABULARY * (_K + 4)
    yield memory.fetch_bytes(taken.reshape(ROWS, -1), {"bytes": size, "stride": size})
    first = _FIRST + 16 * int(rng.integers(0, 3))
    yield "HEAD", {"rows": _VOCABULARY, "k": _K, "q": first, "scale": SCALARS - 7}
    yield memory.store(Payload.LOGITS, 4 * _VOCABULARY)
