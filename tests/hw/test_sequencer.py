"""Sequencer: program order, loop, predicates, wait bounds and FETCH addresses, with units of random speed."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.isa import BY_NAME, INSTRUCTION_WORDS, NO_WAIT, Index, encode
from hw.machine import CI
from hw.sequencer import PROGRAM_STRIDE, UNITS, Sequencer

CONFIG = dataclasses.replace(CI, program_words=32, queue_depth=8)
UNIT_OF = {"MATMUL": 0, "HEAD": 0, "MAP": 1, "QUANTISE": 1, "NORM": 1, "ATTEND": 2, "STORE": 3}


def random_program(rng: random.Random) -> list[tuple[str, dict[str, int]]]:
    """Prologue, a loop and an epilogue of instructions with random waits and predicates."""

    def instruction():
        if rng.random() < 0.2:
            return "FETCH", {
                "base": 64 * rng.randrange(50), "stride": 64 * rng.randrange(9), "bytes": rng.randrange(300),
                "index": rng.choice(list(Index)), "per_position": rng.randrange(2), "kind": rng.randrange(3),
            }  # fmt: skip
        name = rng.choice(list(UNIT_OF))
        field = BY_NAME[name].fields[0].name
        waits = {f"wait_{u.name.lower()}": rng.choice((0, 1, 2, NO_WAIT, NO_WAIT)) for u in UNITS}
        return name, {field: rng.randrange(2), "predicate": rng.choice((0, 0, 0, 1, 2)), **waits}

    def some(n):
        return [instruction() for _ in range(n)]

    return [
        *some(4),
        ("LOOP", {"count": rng.randrange(1, 4)}),
        *some(10),
        ("NEXT", {}),
        *some(4),
        ("END", {}),
    ]


def expand(program, predicates: int, token: int, position: int, base: int):
    """What the units and the fetch engine must see, by the meaning in the instruction table."""
    issued, runs, pc, layer, body, count = [], [], 0, 0, 0, 0
    while True:
        name, f = program[pc]
        pc += 1
        if f.get("predicate") and not predicates >> f["predicate"] & 1:
            continue
        if name == "END":
            return issued, runs
        if name == "LOOP":
            layer, body, count = 0, pc, f["count"]
        elif name == "NEXT":
            layer += 1
            pc = body if layer < count else pc
        elif name == "FETCH":
            index = {Index.NONE: 0, Index.LAYER: layer, Index.POSITION: position, Index.TOKEN: token}[
                f["index"]
            ]
            size = f["bytes"] * (position if f["per_position"] else 1)
            if size:
                runs.append((base + f["base"] + index * f["stride"], size))
        else:
            issued.append((UNIT_OF[name], encode(name, **f), layer, f))


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed):
    rng = random.Random(seed)
    program = random_program(rng)
    predicates, token, position, base = 1 | rng.randrange(4) << 1, rng.randrange(100), rng.randrange(7), 8192
    expected, expected_runs = expand(program, predicates, token, position, base)
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
                _, _, valid, word, layer, where = await ctx.tick().sample(
                    port.command.valid, port.command.payload.word, port.command.payload.layer,
                    port.command.payload.position,
                )  # fmt: skip
                if valid and ready:
                    assert where == position
                    accepted[number].append((word, layer))
                working += int(bool(valid and ready)) - int(done)

        return process

    async def watch(ctx):
        while True:
            sample = await ctx.tick().sample(dut.issued, *[p.done for p in (dut.units[i] for i in range(4))])
            _, _, issued, *dones = sample
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
        for name, value in (("predicates", predicates), ("token", token), ("position", position),
                            ("memory_base", base), ("fetch_idle", 1)):  # fmt: skip
            ctx.set(getattr(dut, name), value)
        for _ in range(2):  # a second doorbell runs the same program again
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().until(dut.finished)
            await ctx.tick()
            assert not ctx.get(dut.running)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(host)
    for number in range(4):
        sim.add_testbench(unit(number), background=True)
    sim.add_testbench(watch, background=True)
    sim.add_testbench(engine, background=True)
    sim.run()

    assert runs == expected_runs * 2
    for number in range(4):
        mine = [(word, layer) for u, word, layer, _ in expected if u == number]
        assert accepted[number] == mine * 2, f"unit {UNITS[number].name}"
    unfinished, sequence = [0] * 4, iter(expected * 2)
    for event, number in order:
        if event == "done":
            unfinished[number] -= 1
            continue
        target, _, _, fields = next(sequence)
        for u, other in enumerate(UNITS):
            bound = fields[f"wait_{other.name.lower()}"]
            assert bound == NO_WAIT or unfinished[u] <= bound, f"issued past {other.name} bound {bound}"
        unfinished[target] += 1
    assert unfinished == [0] * 4


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
