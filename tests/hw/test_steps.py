# amaranth: UnusedElaboratable=no
"""Steps with its token table: what follows a step, the log, stop tokens, batches, errors."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.isa import MANY_TILES
from hw.machine import CI
from hw.ports import EntryWrite
from hw.steps import Steps
from hw.token_table import TokenTable

CONFIG = dataclasses.replace(CI, tile=4, max_context=16)


def expected(entries, tile, steps, batch, stops, found):
    """(entries, chunk, predicate) at the begin of each step, the log, the table after: as isa.END says."""
    table, chunk, log, begun, stopped = list(entries), len(entries), [], [], set()
    for step in range(steps):
        begun.append((list(table), chunk, chunk > tile))
        first = (chunk - 1) // tile * tile
        more = min(tile, chunk - first) - 1
        if batch:
            log += found[step][: more + 1]
            table[: more + 1] = [
                (token, position + 1, base, 0)
                for token, (_, position, base, _) in zip(found[step], table[: more + 1], strict=False)
            ]
            stopped |= {t for t in range(more + 1) if found[step][t] in stops}
        else:
            log.append(found[step][more])
            _, position, base, _ = table[chunk - 1]
            table[0], chunk = (found[step][more], position + 1, base, 0), 1
            stopped |= {0} if log[-1] in stops else set()
        if len(stopped) == (more + 1 if batch else 1):
            break
    return begun, log, table


@pytest.mark.parametrize("seed", range(12))
def test_steps(seed):
    rng = random.Random(seed)
    batch, tile = seed % 2, rng.randrange(1, 5)
    count = rng.randrange(1, tile + 1) if batch else rng.randrange(1, 12)
    steps = rng.randrange(1, 6)
    entries = [
        (rng.randrange(50), rng.randrange(30), rng.randrange(90), rng.randrange(2)) for _ in range(count)
    ]
    found = [[rng.randrange(5) for _ in range(4)] for _ in range(steps)]
    stops = rng.sample(range(5), rng.randrange(3))
    begun, log, after = expected(entries, tile, steps, batch, stops, found)

    m = Module()
    m.submodules.dut = dut = Steps(CONFIG)
    m.submodules.table = table = TokenTable(CONFIG)
    host = EntryWrite().create()
    with m.If(dut.running):
        connect(m, dut.write, table.write)
    with m.Else():
        m.d.comb += [getattr(table.write, name).eq(getattr(host, name)) for name in ("en", "index", "entry")]
    m.d.comb += [
        table.read[0].index.eq(dut.entries.index), dut.entries.entry.eq(table.read[0].entry),
        # The last tile's tokens beside its first, as the front end leaves them.
        dut.more.eq((dut.chunk - 1) % Mux(dut.tile == 0, 1, dut.tile)),
    ]  # fmt: skip
    seen = []

    async def bench(ctx):
        async def all_entries():
            rows = []
            for i in range(count):
                ctx.set(table.read[1].index, i)
                entry = ctx.get(table.read[1].entry)
                rows.append((entry.token, entry.position, entry.base, entry.continues))
            return rows

        for i, (token, position, base, continues) in enumerate(entries):
            ctx.set(host.en, 1)
            ctx.set(host.index, i)
            ctx.set(host.entry, {"token": token, "position": position, "base": base, "continues": continues})
            await ctx.tick()
        ctx.set(host.en, 0)
        for name, value in (("tokens", count), ("tile", tile), ("steps", steps), ("batch", batch),
                            ("wanted", 0b1000)):  # fmt: skip
            ctx.set(getattr(dut, name), value)
        for i, stop in enumerate(stops):
            ctx.set(dut.stops[i], {"token": stop, "used": 1})
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        finished, step = False, 0
        while not finished:
            while not ctx.get(dut.begin):
                await ctx.tick()
            many = ctx.get(dut.predicates) >> MANY_TILES & 1
            assert ctx.get(dut.predicates) & ~(1 << MANY_TILES) == 0b1001
            seen.append((await all_entries(), ctx.get(dut.chunk), bool(many)))
            for _ in range(rng.randrange(1, 4)):
                await ctx.tick()
            ctx.set(dut.next_token, found[step])
            ctx.set(dut.ended, 1)
            assert ctx.get(dut.step) and ctx.get(dut.step_tokens) == begun[step][1]
            await ctx.tick()
            ctx.set(dut.ended, 0)
            for _ in range((count if batch else 1) + 2):
                finished = finished or bool(ctx.get(dut.finished))
                if ctx.get(dut.begin) or finished:
                    break
                await ctx.tick()
            step += 1
        await ctx.tick()
        assert not ctx.get(dut.running) and ctx.get(dut.generated) == step
        assert await all_entries() == after
        for i, token in enumerate(log):
            ctx.set(dut.log_index, i)
            await ctx.tick()
            assert ctx.get(dut.log_token) == token, f"log {i}"

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert seen == begun


def test_an_error_ends_the_run():
    dut = Steps(CONFIG)

    async def bench(ctx):
        for name, value in (("tokens", 1), ("tile", 1), ("steps", 5), ("failed", 1), ("start", 1)):
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick()
        ctx.set(dut.ended, 1)
        await ctx.tick()
        ctx.set(dut.ended, 0)
        assert ctx.get(dut.finished)
        await ctx.tick()
        assert not ctx.get(dut.running) and ctx.get(dut.generated) == 1

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
