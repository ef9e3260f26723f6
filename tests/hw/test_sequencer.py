"""Sequencer: program order, loops, tiles, predicates, wait bounds, FETCH runs, with units of random speed."""

import dataclasses
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from hw.isa import BY_NAME, INSTRUCTION_WORDS, NO_WAIT, Index, Loop, encode
from hw.machine import CI
from hw.ports import entry_layout
from hw.sequencer import PROGRAM_STRIDE, UNITS, Sequencer

CONFIG = dataclasses.replace(CI, program_words=32, queue_depth=8)
UNIT_OF = {"MATMUL": 0, "HEAD": 0, "MAP": 1, "QUANTISE": 1, "NORM": 1, "ATTEND": 2, "STORE": 3}


def random_program(rng: random.Random) -> list[tuple[str, dict[str, int]]]:
    """A loop over tiles, one over layers with one over tiles in it, and instructions around them."""

    def instruction():
        waits = {f"wait_{u.name.lower()}": rng.choice((0, 1, 2, NO_WAIT, NO_WAIT)) for u in UNITS}
        common = {"predicate": rng.choice((0, 0, 0, 1, 2)), "tiled": rng.randrange(2)}
        if rng.random() < 0.3:
            sequence = rng.randrange(2)
            size = rng.randrange(1 << 26) if not sequence and rng.random() < 0.3 else rng.randrange(300)
            return "FETCH", {
                "base": 64 * rng.randrange(50), "stride": 64 * rng.randrange(9), "bytes": size,
                "index": Index.LAYER if sequence else rng.choice(list(Index)), "sequence": sequence,
                "kind": rng.randrange(3), "wait_store": rng.choice((0, 1, 2, NO_WAIT)), **common,
            }  # fmt: skip
        name = rng.choice(list(UNIT_OF))
        field = BY_NAME[name].fields[0].name
        return name, {field: rng.randrange(2), **common, **waits}

    def some(n):
        return [instruction() for _ in range(n)]

    return [
        *some(2),
        ("LOOP", {"register": Loop.TILE}),
        *some(2),
        ("NEXT", {"register": Loop.TILE}),
        ("LOOP", {"count": rng.randrange(1, 4), "register": Loop.LAYER}),
        *some(2),
        ("LOOP", {"register": Loop.TILE}),
        *some(6),
        ("NEXT", {"register": Loop.TILE}),
        *some(2),
        ("NEXT", {"register": Loop.LAYER}),
        *some(3),
        ("END", {}),
    ]


def expand(program, predicates: int, table, tile: int, base: int):
    """What the units and the fetch engine must see, by the meaning in the instruction table.

    Also, for each FETCH, its `wait_store` and the STOREs before it.
    """
    issued, runs, fetches, pc, layer, first = [], [], [], 0, 0, 0
    body = {Loop.LAYER: 0, Loop.TILE: 0}
    count = 0
    while True:
        name, f = program[pc]
        pc += 1
        if f.get("predicate") and not predicates >> f["predicate"] & 1:
            continue
        live = min(tile, len(table) - first)
        mine = table[first : first + (live if f.get("tiled") else 1)]
        if name == "END":
            return issued, runs, fetches
        if name == "LOOP":
            body[f["register"]] = pc
            if f["register"] == Loop.LAYER:
                layer, count = 0, f["count"]
            else:
                first = 0
        elif name == "NEXT" and f["register"] == Loop.LAYER:
            layer += 1
            pc = body[Loop.LAYER] if layer < count else pc
        elif name == "NEXT":
            if first + tile < len(table):
                first, pc = first + tile, body[Loop.TILE]
        elif name == "FETCH":
            where = base + f["base"]
            fetches.append((f["wait_store"], sum(unit == 3 for unit, *_ in issued)))
            for t, (token, position, row, continues) in enumerate(mine):
                index = {Index.NONE: 0, Index.LAYER: layer, Index.POSITION: position, Index.TOKEN: token,
                         Index.ENTRY: first + t}[f["index"]]  # fmt: skip
                if f["sequence"]:
                    if t == 0 or not continues:
                        runs.append((where + index * f["stride"] + row * f["bytes"], f["bytes"] * position))
                elif t == 0 or f["index"] in (Index.POSITION, Index.TOKEN, Index.ENTRY):
                    runs.append((where + index * f["stride"], f["bytes"]))
        else:
            issued.append((UNIT_OF[name], encode(name, **f), layer, first, len(mine) - 1, f))


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed):
    rng = random.Random(seed)
    program = random_program(rng)
    predicates, base = 1 | rng.randrange(4) << 1, 8192
    tile, count = rng.randrange(1, CONFIG.tile + 1), rng.randrange(1, 11)
    table = [
        (rng.randrange(100), rng.randrange(7), rng.randrange(40), rng.randrange(2)) for _ in range(count)
    ]
    expected, expected_runs, fetches = expand(program, predicates, table, tile, base)
    expected_runs = [run for run in expected_runs if run[1]]
    dut = Sequencer(CONFIG)
    accepted = [[] for _ in UNITS]
    runs: list[tuple[int, int]] = []
    order: list[tuple[str, int]] = []  # ("issue", unit) and ("done", unit) events, as the bounds see them

    def unit(number):
        async def process(ctx):
            unit_rng = random.Random(seed * 10 + number)
            port, working = dut.units[number], 0
            while True:
                ready, done = working < 2 and unit_rng.random() < 0.5, working > 0 and unit_rng.random() < 0.2
                ctx.set(port.command.ready, ready)
                ctx.set(port.done, done)
                p = port.command.payload
                _, _, valid, *seen = await ctx.tick().sample(
                    port.command.valid, p.word, p.layer, p.first, p.more
                )
                if valid and ready:
                    accepted[number].append(tuple(seen))
                working += int(bool(valid and ready)) - int(done)

        return process

    async def watch(ctx):
        while True:
            sample = await ctx.tick().sample(dut.fetched, dut.issued, *[dut.units[i].done for i in range(4)])
            _, _, fetched, issued, *dones = sample
            if fetched:
                order.append(("fetch", 0))
            if issued:
                order.append(("issue", 0))
            order.extend(("done", i) for i, done in enumerate(dones) if done)

    async def engine(ctx):
        engine_rng = random.Random(seed)
        while True:
            ready = engine_rng.random() < 0.4
            ctx.set(dut.run.ready, ready)
            _, _, valid, address, size = await ctx.tick().sample(
                dut.run.valid, dut.run.payload.address, dut.run.payload.bytes
            )
            if valid and ready:
                runs.append((address, size))

    async def host(ctx):
        for i, (name, fields) in enumerate(program):
            word = encode(name, **fields)
            for j in range(INSTRUCTION_WORDS):
                ctx.set(dut.program_address, PROGRAM_STRIDE * i + j)
                ctx.set(dut.program_data, word >> 32 * j & 0xFFFFFFFF)
                ctx.set(dut.program_en, 1)
                await ctx.tick()
        ctx.set(dut.program_en, 0)
        for name, value in (("predicates", predicates), ("tile", tile), ("tokens", count),
                            ("memory_base", base), ("fetch_idle", 1)):  # fmt: skip
            ctx.set(getattr(dut, name), value)
        for _ in range(2):  # a second doorbell runs the same program again
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().until(dut.finished)
            await ctx.tick()
            assert not ctx.get(dut.running)

    m = Module()
    m.submodules.dut = dut
    m.submodules.table = memory = Memory(
        shape=entry_layout(),
        depth=256,
        init=[dict(zip(entry_layout().members, row, strict=True)) for row in table],
    )
    read = memory.read_port(domain="comb")
    m.d.comb += [read.addr.eq(dut.entries.index), dut.entries.entry.eq(read.data)]

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(host)
    for number in range(4):
        sim.add_testbench(unit(number), background=True)
    sim.add_testbench(watch, background=True)
    sim.add_testbench(engine, background=True)
    sim.run()

    assert runs == expected_runs * 2
    for number in range(4):
        mine = [row[1:5] for row in expected if row[0] == number]
        assert accepted[number] == mine * 2, f"unit {UNITS[number].name}"
    unfinished, sequence = [0] * 4, iter(expected * 2)
    stores = sum(unit == 3 for unit, *_ in expected)
    waited = iter(fetches + [(wait, before + stores) for wait, before in fetches])
    stored = 0
    for event, number in order:
        if event == "done":
            unfinished[number] -= 1
            stored += number == 3
            continue
        if event == "fetch":
            wait, before = next(waited)
            assert wait == NO_WAIT or before - stored <= wait, "a FETCH overtook a STORE"
            continue
        target, *_, fields = next(sequence)
        for u, other in enumerate(UNITS):
            bound = fields[f"wait_{other.name.lower()}"]
            assert bound == NO_WAIT or unfinished[u] <= bound, f"issued past {other.name} bound {bound}"
        unfinished[target] += 1
    assert unfinished == [0] * 4 and not list(waited)


def test_unknown_opcode_ends_the_run():
    dut = Sequencer(CONFIG)
    seen = []

    async def host(ctx):
        ctx.set(dut.fetch_idle, 1)
        ctx.set(dut.program_data, 63)
        ctx.set(dut.program_en, 1)
        await ctx.tick()
        ctx.set(dut.program_en, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(12):
            seen.append((ctx.get(dut.unknown), ctx.get(dut.finished)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(host)
    sim.run()
    assert sum(unknown for unknown, _ in seen) == 1 and sum(finished for _, finished in seen) == 1
