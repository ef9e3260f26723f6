"""SkidBuffer: what comes out is what went in, whatever the stalls, and nothing waits without a cause."""

import random

import pytest
from amaranth.lib.data import StructLayout
from amaranth.sim import Simulator

from hw.skid_buffer import SkidBuffer

from .test_fp32_format import check_verilog

SHAPE = StructLayout({"low": 7, "high": 9})


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_stalls(stall: float, gap: float):
    rng = random.Random(7)
    items = [rng.getrandbits(16) for _ in range(400)]
    dut, found, waits = SkidBuffer(SHAPE), [], 0

    async def bench(ctx) -> None:
        nonlocal waits
        sent, offered = 0, False
        for cycle in range(20_000):
            if len(found) == len(items):
                break
            offered = offered or (sent < len(items) and rng.random() >= gap)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, SHAPE.from_bits(items[sent] if offered else rng.getrandbits(16)))
            # What is offered does not change, nor is it withdrawn, until it is taken.
            ready = ctx.get(dut.i.ready)
            ctx.set(dut.o.ready, rng.random() >= stall)
            assert ctx.get(dut.i.ready) == ready, "i.ready must be a register"
            held = sent - len(found)
            assert ctx.get(dut.o.valid) == (held > 0 or offered), f"cycle {cycle}"
            if ctx.get(dut.o.valid):
                assert ctx.get(dut.o.payload).as_bits() == items[len(found)]
                if ctx.get(dut.o.ready):
                    found.append(items[len(found)])
            waits += offered and not ready
            if offered and ready:
                sent, offered = sent + 1, False
            assert sent - len(found) in (0, 1)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == items
    assert bool(waits) == (stall > 0)


def test_verilog():
    check_verilog(SkidBuffer(SHAPE))
