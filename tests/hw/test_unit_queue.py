"""UnitQueue: entries in order, none lost, none twice; a cycle through an empty one; depth."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from hw.unit_queue import UnitQueue


@pytest.mark.parametrize(("writes", "reads"), [(0.5, 0.5), (0.9, 0.3), (0.3, 0.9), (1.0, 1.0)])
@pytest.mark.parametrize("depth", [2, 4, 5])
def test_order(depth: int, writes: float, reads: float) -> None:
    dut, rng = UnitQueue(16, depth), random.Random(f"{depth}{writes}")
    inside: deque[int] = deque()
    most, passed = 0, 0

    async def bench(ctx) -> None:
        nonlocal most, passed
        for _ in range(2000):
            # One that was written before this cycle and is the oldest is there.
            assert ctx.get(dut.r_rdy) == bool(inside) and ctx.get(dut.level) == len(inside)
            if inside:
                assert ctx.get(dut.r_data) == inside[0]
            # Room for all but one at least; what is full takes no more.
            assert len(inside) >= depth - 1 or ctx.get(dut.w_rdy)
            assert len(inside) < depth or not ctx.get(dut.w_rdy)
            write = rng.random() < writes and ctx.get(dut.w_rdy)
            read = rng.random() < reads and bool(inside)
            value = rng.getrandbits(16)
            ctx.set(dut.w_data, value)
            ctx.set(dut.w_en, write)
            ctx.set(dut.r_en, read)
            if read:
                inside.popleft()
                passed += 1
            if write:
                inside.append(value)
            most = max(most, len(inside))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert passed > 400 and (most == depth or writes < reads or writes == 1.0)


def test_least_depth() -> None:
    with pytest.raises(ValueError, match="wanted a depth of 2 or more, found 1"):
        UnitQueue(8, 1)
