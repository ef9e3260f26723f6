"""LutOr under Yosys: the OR of its words, in a module of its own."""

import random

from amaranth.sim import Simulator

from hw.lut_or import LutOr
from hw.machine import KV260
from hw.tape import TapeReader
from sim.emit import emit_component


def test_words():
    rng, dut = random.Random(9), LutOr(7, 4)

    async def bench(ctx) -> None:
        for _ in range(200):
            words = [rng.getrandbits(7) & rng.getrandbits(7) for _ in range(4)]
            for n, word in enumerate(words):
                ctx.set(dut.i[n], word)
            assert ctx.get(dut.o) == words[0] | words[1] | words[2] | words[3]

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


def test_only_synthesis_has_it_apart():
    for cells in (False, True):
        text = emit_component(TapeReader(KV260, 4), "tape", primitives=cells)
        assert ("LutOr" in text) == cells
