"""Register slices: every word once and in order, one a cycle, and no path through."""

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from boards.axi_slice import StreamSlice

WORDS = 150


def run(seed: int, offered: float, taken: float) -> int:
    """Cycles that `WORDS` words need; what the registers say may not follow the other side in a cycle."""
    dut: Any = StreamSlice(16)
    rng = random.Random(seed)
    words, found, cycles = [rng.randrange(1 << 16) for _ in range(WORDS)], [], 0

    async def bench(ctx):
        nonlocal cycles
        at, valid = 0, False
        while len(found) < WORDS:
            valid = valid or (at < WORDS and rng.random() < offered)
            ready = rng.random() < taken
            seen = []
            for opposite in (True, False):
                ctx.set(dut.i.valid, valid ^ opposite)
                ctx.set(dut.i.payload, words[at] if valid else rng.randrange(1 << 16))
                ctx.set(dut.o.ready, ready ^ opposite)
                seen.append((ctx.get(dut.i.ready), ctx.get(dut.o.valid), ctx.get(dut.o.payload)))
            assert seen[0] == seen[1], "a path through the slice"
            room, there, word = seen[1]
            if ready and there:
                found.append(word)
            await ctx.tick()
            if valid and room:
                at, valid = at + 1, False
            cycles += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == words
    return cycles


@pytest.mark.parametrize(
    ("seed", "offered", "taken"), [(1, 0.5, 0.5), (2, 0.9, 0.3), (3, 0.3, 0.9), (4, 1, 0.5)]
)
def test_every_word_once(seed: int, offered: float, taken: float):
    assert run(seed, offered, taken) < WORDS * 2 / min(offered, taken)


def test_a_word_a_cycle():
    assert run(5, 1, 1) == WORDS + 1
