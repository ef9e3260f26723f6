"""TritDecode: all codes, against numerics.pack_trits."""

import torch
from amaranth.sim import Simulator

from hw.trit_decode import TritDecode
from models import numerics


def test_all_codes():
    dut = TritDecode()
    gray3, gray2 = numerics.gray_trits(3), numerics.gray_trits(2)

    async def bench(ctx) -> None:
        for three, head in enumerate(gray3):
            for two, tail in enumerate(gray2):
                byte = int(numerics.pack_trits(torch.tensor([[*head, *tail]])))
                ctx.set(dut.byte, byte)
                assert (ctx.get(dut.three), ctx.get(dut.two)) == (three, two), f"byte {byte}"

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
