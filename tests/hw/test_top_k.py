"""TopK against numerics.top_k: signs, zeros, subnormals, infinities, NaNs, ties; any number of tokens."""

import random

import pytest
import torch
from amaranth.sim import Simulator

from hw.top_k import TopK
from models import numerics

NAN, INF, SIGN = 0x7FC00000, 0x7F800000, 0x80000000
CORNERS = [0, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, INF, INF + 1, NAN]
CORNERS += [magnitude | SIGN for magnitude in CORNERS]


def sequences(rng: random.Random) -> list[list[int]]:
    """All pairs of corners, hand-made ties, random sequences, ascending and descending ones."""
    made = [[a, b] for a in CORNERS for b in CORNERS]
    made += [[NAN], [NAN | SIGN, NAN, SIGN | INF], [SIGN, 0, SIGN], [0, SIGN], [5, 0x3F800000, 0x3F800000]]
    for _ in range(40):
        few = [*(rng.getrandbits(32) for _ in range(4)), rng.choice(CORNERS)]
        made.append(rng.choices(few, k=rng.randint(1, 20)))
    made += [list(range(INF - 9, INF)), list(range(INF, INF - 9, -1)), [7 << 23] * 12]
    return made


def tiles(rng: random.Random, tokens: int) -> list[list[list[int]]]:
    """The sequences, as many of one length at a time as there are live tokens: a random number."""
    left = sorted(sequences(rng), key=len)
    made = []
    while left:
        live = [left.pop() for _ in range(min(rng.randint(1, tokens), len(left)))]
        rows = min(len(sequence) for sequence in live)
        made.append([sequence[:rows] for sequence in live])
    rng.shuffle(made)
    return made


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
@pytest.mark.parametrize(("entries", "tokens"), [(1, 1), (1, 2), (5, 1), (4, 2), (8, 4), (3, 8)])
def test_sequences(entries: int, tokens: int, family: str):
    rng = random.Random(entries)
    dut = TopK(entries, tokens, family)

    async def read(ctx, token: int, rank: int) -> tuple[int, int, int]:
        ctx.set(dut.read.token, token)
        ctx.set(dut.read.rank, rank)
        await ctx.tick()
        assert not ctx.get(dut.done)
        return ctx.get(dut.read.valid), ctx.get(dut.read.index), ctx.get(dut.read.value)

    async def bench(ctx) -> None:
        assert not any([(await read(ctx, t, r))[0] for t in range(tokens) for r in range(entries)])
        before = [0] * tokens
        for tile in tiles(rng, tokens):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            numbers = [(t, x) for row in zip(*tile, strict=True) for t, x in enumerate(row)]
            for i, (token, number) in enumerate(numbers):
                while rng.random() < 0.2:
                    ctx.set(dut.valid, 0)
                    ctx.set(dut.token, rng.randrange(tokens))
                    ctx.set(dut.value, INF)
                    ctx.set(dut.last, rng.getrandbits(1))
                    ctx.set(dut.read.token, rng.randrange(tokens))
                    await ctx.tick()
                    assert not ctx.get(dut.done)
                ctx.set(dut.valid, 1)
                ctx.set(dut.token, token)
                ctx.set(dut.value, number)
                ctx.set(dut.last, i == len(numbers) - 1)
                await ctx.tick()
            ctx.set(dut.valid, 0)
            ctx.set(dut.token, rng.randrange(tokens))
            await ctx.tick()
            assert ctx.get(dut.done)

            for t, sequence in enumerate(tile):
                ids, values = numerics.top_k(numerics.bits_float(torch.tensor(sequence)), entries)
                wanted = list(zip(ids.tolist(), numerics.float_bits(values).tolist(), strict=True))
                before[t] = wanted[0][0]
                for rank, entry in enumerate(wanted):
                    assert await read(ctx, t, rank) == (1, *entry), [hex(x) for x in sequence]
                for rank in {len(wanted), entries, 127, 128, 255}:
                    assert rank < len(wanted) or not (await read(ctx, t, rank))[0], f"{rank} of {sequence}"
            for t in range(len(tile), 8):
                assert not (await read(ctx, t, 0))[0], "not live"
            assert [ctx.get(dut.next_token[t]) for t in range(tokens)] == before

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
