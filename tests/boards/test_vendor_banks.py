# amaranth: UnusedElaboratable=no
"""Banks: pages to banks, random stalls on every channel, base addresses from registers."""

import random

import pytest
from amaranth.sim import Simulator

from boards.vendor.banks import PAGE, Banks


@pytest.mark.parametrize(("count", "stall"), [(2, 0.0), (4, 0.3), (16, 0.7)])
def test_pages_go_to_banks_in_turn(count: int, stall: float):
    channels, bursts, rng = 3, 80, random.Random(count)
    dut = Banks(count, channels, 64)
    bases = [rng.randrange(1 << 40) * PAGE + 123 * (i == 1) for i in range(count)]
    asked = [[(rng.randrange(1 << 32) // 64 * 64, rng.randrange(256)) for _ in range(bursts)]
             for _ in range(channels)]  # fmt: skip
    found = [[] for _ in range(channels)]
    ready = []

    async def registers(ctx):
        port = dut.registers
        for i, base in enumerate(bases):
            for half in range(2):
                ctx.set(port.addr, 2 * i + half)
                ctx.set(port.wdata, base >> 32 * half & 0xFFFF_FFFF)
                ctx.set(port.write, 1)
                await ctx.tick()
        ctx.set(port.write, 0)
        for i, base in enumerate(bases):
            back = 0
            for half in range(2):
                ctx.set(port.addr, 2 * i + half)
                await ctx.tick()
                back |= ctx.get(port.rdata) << 32 * half
            assert back == base // PAGE * PAGE
        ready.append(True)

    def send(channel):
        async def process(ctx):
            local = random.Random(channel)
            while not ready:
                await ctx.tick()
            for address, length in asked[channel]:
                while local.random() < stall:
                    await ctx.tick()
                ctx.set(dut.bursts[channel].payload.addr, address)
                ctx.set(dut.bursts[channel].payload.len, length)
                ctx.set(dut.bursts[channel].valid, 1)
                while True:
                    *_, taken = await ctx.tick().sample(dut.bursts[channel].ready)
                    if taken:
                        break
                ctx.set(dut.bursts[channel].valid, 0)

        return process

    def take(channel):
        async def process(ctx):
            local, held = random.Random(100 + channel), None
            out = dut.placed[channel]
            while len(found[channel]) < bursts:
                willing = local.random() >= stall
                ctx.set(out.ready, willing)
                _, _, valid, address, length = await ctx.tick().sample(
                    out.valid, out.payload.addr, out.payload.len
                )
                assert held is None or (valid and held == (address, length))
                held = (address, length) if valid and not willing else None
                if valid and willing:
                    found[channel].append((address, length))

        return process

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(registers)
    for channel in range(channels):
        sim.add_testbench(send(channel), background=True)
        sim.add_testbench(take(channel))
    sim.run_until(1e-8 * 20_000)

    for channel in range(channels):
        wanted = []
        for address, length in asked[channel]:
            page, offset = divmod(address, PAGE)
            base = bases[page % count] // PAGE * PAGE
            wanted.append((base + page // count * PAGE + offset, length))
        assert found[channel] == wanted


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_number_of_banks_that_is_no_power_of_two(count: int):
    with pytest.raises(ValueError, match="power of two"):
        Banks(count, 1, 64)
