"""InTurn: values of live tokens, of one row or two, in turns, with stalls, as close as they may come."""

import random

import pytest
from amaranth.hdl import ClockDomain, Module, unsigned
from amaranth.sim import Simulator

from hw.in_turn import InTurn


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("tokens", "live"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 3), (8, 8)])
def test_values(tokens: int, live: int, rows: int):
    rng = random.Random(live)
    m = Module()
    m.domains.sync = ClockDomain()  # one token needs none
    m.submodules.dut = dut = InTurn(unsigned(8), tokens, rows)
    expected: list[tuple[int, ...]] = []

    async def bench(ctx) -> None:
        pause = 0
        ctx.set(dut.more, live - 1)
        for cycle in range(400):
            en = rng.random() < 0.7
            come = pause == 0 and rng.random() < 0.7
            values = [rng.getrandbits(8) for _ in range(rows * tokens)]
            single = rng.random() < 0.3
            ctx.set(dut.en, en)
            ctx.set(dut.i_valid, come)
            ctx.set(dut.i, values)
            ctx.set(dut.single, single)
            left = list(expected)
            if come:
                sent = [(r, t) for r in range(1 if single else rows) for t in range(live)]
                left = [(1, values[r * tokens + t], t, r, t == live - 1, (r, t) == sent[-1]) for r, t in sent]
            found = tuple(ctx.get(s) for s in (dut.o_valid, dut.o, dut.token, dut.row, dut.last, dut.final))
            if left:
                assert found == left[0], f"cycle {cycle}"
            else:
                assert not found[0]
            await ctx.tick()
            if en:
                expected[:] = left[1:]
                pause = rows * live - 1 if come else max(0, pause - 1)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
