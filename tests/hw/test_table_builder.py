"""TableBuilder: every entry of every table against the dot products in numerics' Gray order."""

import random

import pytest
from amaranth.sim import Simulator

from hw.table_builder import TableBuilder, gray_steps
from models import numerics


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
def test_steps_walk_the_gray_order(digits: int):
    trits = [-1] * digits
    walk = [tuple(trits)]
    for digit, sign in gray_steps(digits):
        trits[digit] += sign
        walk.append(tuple(trits))
    assert tuple(walk) == numerics.gray_trits(digits)


def vectors(rng: random.Random, tables: int) -> list[list[list[int]]]:
    """Lists of groups of one token, always of the same lengths; a vector ends in each list's last group."""
    lengths = (1, tables - 1, tables, tables + 1, 2 * tables, 2 * tables + 2)
    random_ones = [[[rng.randint(-127, 127) for _ in range(5)] for _ in range(n)] for n in lengths]
    return [[[127] * 5] * tables, [[-127] * 5] * tables, [[-127, 127, -127, 127, -127]], *random_ones]


@pytest.mark.parametrize("pause", [0.0, 0.4])
@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_tables(tokens: int, pause: float):
    tables = 3
    rng = random.Random(5)
    dut = TableBuilder(tables, tokens)
    # Groups of all tokens: a group is a list of five for each token.
    work = [
        [list(groups) for groups in zip(*vector, strict=True)]
        for vector in zip(*(vectors(rng, tables) for _ in range(tokens)), strict=True)
    ]
    stream = [(group, i == len(vector) - 1) for vector in work for i, group in enumerate(vector)]
    chunks = [(v[i : i + tables], i + tables >= len(v)) for v in work for i in range(0, len(v), tables)]

    async def feed(ctx) -> None:
        for group, last in stream:
            while rng.random() < pause:
                await ctx.tick()
            ctx.set(dut.groups.valid, 1)
            packed = [int.from_bytes([v & 0xFF for v in of_token], "little") for of_token in group]
            ctx.set(dut.groups.p.activations, packed)
            ctx.set(dut.groups.p.last, last)
            await ctx.tick().until(dut.groups.ready)
            ctx.set(dut.groups.valid, 0)

    async def collect(ctx) -> None:
        three: dict[int, list[list[int]]] = {}
        two: dict[int, list[list[int]]] = {}
        done = 0
        async for _, _, *sampled in ctx.tick().sample(
            dut.write_three, dut.write_two, dut.entry, dut.three, dut.two, dut.built, dut.bytes, dut.last
        ):
            write_three, write_two, entry, now_three, now_two, built, count, last = sampled
            if write_three:
                three[entry] = [list(of_table) for of_table in now_three]
            if write_two:
                two[entry] = [list(of_table) for of_table in now_two]
            if not built:
                continue
            groups, expected_last = chunks[done]
            assert (count, last) == (len(groups), expected_last)
            for found, digits, part in ((three, 3, slice(0, 3)), (two, 2, slice(3, 5))):
                order = numerics.gray_trits(digits)
                assert sorted(found) == list(range(len(order)))
                for entry, trits in enumerate(order):
                    for i, group in enumerate(groups):
                        wanted = [
                            sum(t * a for t, a in zip(trits, of_token[part], strict=True))
                            for of_token in group
                        ]
                        assert found[entry][i] == wanted, f"chunk {done}, table {i}, {trits} of {group}"
            three, two = {}, {}
            done += 1
            if done == len(chunks):
                return

    async def grant(ctx) -> None:
        while True:
            ctx.set(dut.free, 0)
            while rng.random() < pause:
                _, _, write = await ctx.tick().sample(dut.write_three)
                assert not write, "wrote tables that were not free"
            ctx.set(dut.free, 1)
            built = 0
            while not built:
                _, _, built = await ctx.tick().sample(dut.built)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(grant, background=True)
    sim.add_testbench(collect)
    sim.run()
