# amaranth: UnusedElaboratable=no
"""ActivationBuffer: random writes and block reads against a Python list."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.activation_buffer import BLOCK, ActivationBuffer
from hw.machine import CI, WIDE


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("tile", [1, 2, 4])
@pytest.mark.parametrize(("lanes", "head_lanes"), [(4, 4), (4, 16), (8, 32), (16, 16), (16, 64)])
def test_writes_and_reads(lanes: int, head_lanes: int, tile: int, bits: int):
    config = dataclasses.replace(
        CI, lanes=lanes, head_lanes=head_lanes, quantised_words=256, tile=tile, activation_bits=bits
    )
    rng = random.Random(lanes * head_lanes)
    dut = ActivationBuffer(config)
    model = [[0] * config.quantised_words for _ in range(tile)]
    expected: list[list[int]] = [[]] * tile

    async def bench(ctx) -> None:
        for _ in range(400):
            address = rng.randrange(0, config.quantised_words, lanes)
            values = [rng.getrandbits(bits) for _ in range(lanes)]
            en = rng.random() < 0.7
            token = rng.randrange(tile)
            ctx.set(dut.write.en, en)
            ctx.set(dut.write.token, token)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, sum(v << i * bits for i, v in enumerate(values)))
            block = rng.randrange(config.quantised_words // BLOCK)
            ctx.set(dut.read.block, block)
            ctx.set(dut.read.hold, hold := rng.random() < 0.3 and expected[0] != [])
            await ctx.tick()
            for t, content in enumerate(model):
                if not hold:
                    expected[t] = [
                        content[(block * BLOCK + i) % len(content)] for i in range(BLOCK * dut.banks)
                    ]
                assert ctx.get(dut.read.data[t]) == sum(v << i * bits for i, v in enumerate(expected[t]))
            if en:
                model[token][address : address + lanes] = values

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_two_parts_and_four_banks():
    """As on kv260: memories of 64 words, two one behind the other, four banks side by side."""
    config = dataclasses.replace(
        CI, lanes=8, head_lanes=64, quantised_words=8192, tile=2, activation_bits=8, family="xcup"
    )
    rng = random.Random(4)
    dut = ActivationBuffer(config)
    model = [[0] * config.quantised_words for _ in range(2)]
    expected: list[list[int]] = [[], []]
    blocks = config.quantised_words // BLOCK
    spots = [0, 3, 255, 256, 257, blocks - 2, blocks - 1]

    async def bench(ctx) -> None:
        for _ in range(1500):
            address = (rng.choice(spots) + rng.randrange(3)) % blocks * BLOCK + rng.choice((0, 8))
            values = [rng.getrandbits(8) for _ in range(8)]
            token = rng.randrange(2)
            ctx.set(dut.write.en, en := rng.random() < 0.7)
            ctx.set(dut.write.token, token)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, int.from_bytes(values, "little"))
            block = (rng.choice(spots) - rng.randrange(3)) % blocks
            ctx.set(dut.read.block, block)
            ctx.set(dut.read.hold, hold := rng.random() < 0.3 and expected[0] != [])
            await ctx.tick()
            for t, content in enumerate(model):
                if not hold:
                    expected[t] = [content[(block * BLOCK + i) % len(content)] for i in range(BLOCK * 4)]
                assert ctx.get(dut.read.data[t]) == int.from_bytes(expected[t], "little")
            if en:
                model[token][address : address + 8] = values

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_banks_follow_the_head():
    assert [ActivationBuffer(machine).banks for machine in (CI, WIDE)] == [1, 2]
