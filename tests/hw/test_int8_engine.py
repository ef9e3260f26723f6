"""Int8Engine: rows of random length, with pauses and stalls, against exact sums."""

import random

import pytest
from amaranth.sim import Simulator

from hw.int8_engine import Int8Engine


def packed(values: list[int]) -> int:
    return int.from_bytes(bytes(v & 0xFF for v in values), "little")


def rows_for(rng: random.Random, lanes: int, tokens: int) -> list[list[tuple[list[int], list[list[int]]]]]:
    """Rows of units (codes, activations of each token): corner values, then random ones."""
    corners = [(a, b) for a in (-128, -127, 127) for b in (-127, 127)]
    rows = [
        [([a] * lanes, [[b if t % 2 == 0 else -b] * lanes for t in range(tokens)])] * 3 for a, b in corners
    ]
    for _ in range(25):
        rows.append([
            (
                [rng.randint(-128, 127) for _ in range(lanes)],
                [[rng.randint(-127, 127) for _ in range(lanes)] for _ in range(tokens)],
            )
            for _ in range(rng.choice((1, 1, 2, 5)))
        ])  # fmt: skip
    return rows


@pytest.mark.parametrize("last_apart", [False, True])
@pytest.mark.parametrize(("lanes", "tokens"), [(1, 1), (4, 1), (16, 1), (1, 4), (4, 2), (16, 4)])
def test_rows(lanes: int, tokens: int, last_apart: bool):
    rng = random.Random(lanes)
    dut = Int8Engine(lanes, tokens)
    rows = rows_for(rng, lanes, tokens)
    expected = [
        [sum(a * b for codes, of in row for a, b in zip(codes, of[t], strict=True)) for t in range(tokens)]
        for row in rows
    ]
    events = []
    for row in rows:
        events += [(1, not last_apart and i == len(row) - 1, *unit) for i, unit in enumerate(row)]
        events += [(0, 1, *row[0])] * last_apart

    async def bench(ctx) -> None:
        queue = iter(events)
        found: list[list[int]] = []
        since_last: list[int] = []
        while len(found) < len(expected):
            enable = rng.random() < 0.8
            idle = (0, 0, [99] * lanes, [[99] * lanes] * tokens)
            stalled = events[0]
            event = stalled if not enable else next(queue, idle) if rng.random() < 0.8 else idle
            take, last, codes, activations = event
            ctx.set(dut.en, enable)
            ctx.set(dut.take, take)
            ctx.set(dut.last, last)
            ctx.set(dut.codes, packed(codes))
            ctx.set(dut.activations, [packed(of_token) for of_token in activations])
            _, _, valid, totals = await ctx.tick().sample(dut.valid, dut.sums)
            if enable:
                since_last = [age + 1 for age in since_last]
                if valid:
                    found.append(list(totals))
                    assert since_last.pop(0) == dut.latency
                if last:
                    since_last.append(0)
        assert found == expected

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
