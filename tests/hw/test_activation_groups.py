"""ActivationGroups on its buffer: every length, random pauses, one group a cycle without them."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.activation_buffer import BLOCK, ActivationBuffer
from hw.activation_groups import ActivationGroups
from hw.machine import CI


@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize(("tokens", "width"), [(1, 1), (2, 1), (4, 1), (1, 2), (4, 2)])
def test_groups(tokens: int, width: int, pause: float):
    rng = random.Random(3)
    size = CI.quantised_words
    content = [[rng.randrange(1, 256) for _ in range(size)] for _ in range(tokens)]
    m = Module()
    m.submodules.buffer = buffer = ActivationBuffer(dataclasses.replace(CI, tile=tokens, activation_bits=8))
    m.submodules.dut = dut = ActivationGroups(tokens, width)
    wiring.connect(m, dut.read, buffer.read)

    async def bench(ctx) -> None:
        ctx.set(buffer.write.en, 1)
        for token, numbers in enumerate(content):
            ctx.set(buffer.write.token, token)
            for i in range(0, size, CI.lanes):
                ctx.set(buffer.write.address, i)
                ctx.set(buffer.write.data, int.from_bytes(numbers[i : i + CI.lanes], "little"))
                await ctx.tick()
        ctx.set(buffer.write.en, 0)

        for k in [*range(1, 35), 80, 81, 160, 199]:
            q = rng.randrange(0, size - k, BLOCK)
            ctx.set(dut.q, q)
            ctx.set(dut.k, k)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.q, 0)
            ctx.set(dut.k, 1)
            cycles = last = 0
            found: list[list[int]] = [[] for _ in range(tokens)]
            while not last:
                ready, both = rng.random() >= pause, width > 1 and rng.random() >= pause
                ctx.set(dut.groups.ready, ready)
                if width > 1:
                    ctx.set(dut.both, both)
                _, _, valid, group = await ctx.tick().sample(dut.groups.valid, dut.groups.payload)
                cycles += 1
                if valid and ready:
                    for t in range(tokens):
                        count = 2 if both and group.more else 1
                        found[t] += group.activations[t].to_bytes(5 * width, "little")[: 5 * count]
                    last = group.last
            assert found == [numbers[q : q + k] + [0] * (-k % 5) for numbers in content], f"q {q}, k {k}"
            assert pause or cycles == 1 + -(-len(found[0]) // (5 * width))
            for _ in range(rng.randrange(3)):
                assert not ctx.get(dut.groups.valid)
                await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
