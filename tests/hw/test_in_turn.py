"""InTurn: values of live tokens one after another, with stalls, as close as they may come."""

import random

import pytest
from amaranth.hdl import ClockDomain, Module, unsigned
from amaranth.sim import Simulator

from hw.in_turn import InTurn


@pytest.mark.parametrize(("tokens", "live"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 3), (8, 8)])
def test_values(tokens: int, live: int):
    rng = random.Random(live)
    m = Module()
    m.domains.sync = ClockDomain()  # one token needs none
    m.submodules.dut = dut = InTurn(unsigned(8), tokens)
    expected: list[tuple[int, int, int, int]] = []

    async def bench(ctx) -> None:
        pause = 0
        ctx.set(dut.more, live - 1)
        for cycle in range(400):
            en = rng.random() < 0.7
            come = pause == 0 and rng.random() < 0.7
            values = [rng.getrandbits(8) for _ in range(tokens)]
            ctx.set(dut.en, en)
            ctx.set(dut.i_valid, come)
            ctx.set(dut.i, values)
            left = list(expected)
            if come:
                left = [(1, values[t], t, t == live - 1) for t in range(live)]
            found = (ctx.get(dut.o_valid), ctx.get(dut.o), ctx.get(dut.token), ctx.get(dut.last))
            if left:
                assert found == left[0], f"cycle {cycle}"
            else:
                assert not found[0]
            await ctx.tick()
            if en:
                expected[:] = left[1:]
                pause = live - 1 if come else max(0, pause - 1)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
