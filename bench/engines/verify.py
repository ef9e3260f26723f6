"""Every form is simulated against numerics before it is measured."""

import dataclasses
import random

import torch
from amaranth.sim import Simulator

from models import numerics

from .array import ACTIVATIONS, Form, LookUpArray

__all__ = ["verify"]


def _vectors(rng: random.Random, count: int, values: tuple[int, ...] | range) -> list[list[int]]:
    return [[rng.choice(values) for _ in range(ACTIVATIONS)] for _ in range(count)]


def verify(form: Form, family: str, rows: int = 40, seed: int = 1) -> None:
    """Build both banks, look up random rows and those of the largest sums; `AssertionError` where a sum is
    not that of `numerics.integer_linear` and the partial sum."""
    rng = random.Random(seed)
    dut = LookUpArray(dataclasses.replace(form, primitives=False), family)
    banks = [_vectors(rng, form.tokens, range(-127, 128)) for _ in range(form.banks)]
    banks[0][0] = rng.choices((-127, 127), k=ACTIVATIONS)
    largest = [1 if a > 0 else -1 for a in banks[0][0]]
    work = []
    for n in range(rows):
        trits = _vectors(rng, form.rows, (-1, 0, 1))
        if n < 2:
            trits[0] = [t * (1 - 2 * n) for t in largest]
        work.append((n % form.banks if n >= 2 else 0, trits, rng.random() < 0.3))
    limit = (1 << form.partial_bits - 1) - 1 - ACTIVATIONS * 127
    partials = [
        [[rng.randint(-limit, limit) for _ in range(form.tokens)] for _ in range(form.rows)] for _ in work
    ]

    def codes(trits: list[int]) -> list[int]:
        groups = [tuple(trits[i : i + form.group]) for i in range(0, ACTIVATIONS, form.group)]
        found = [form.code(group) for group in groups]
        if form.group == 5:  # the code of the tape
            assert found == numerics.pack_trits(torch.tensor([trits]))[0].tolist()
        return found

    def expected(n: int) -> list[list[int]]:
        bank, trits, first = work[n]
        sums = numerics.integer_linear(torch.tensor(banks[bank]), torch.tensor(trits)).T.tolist()
        return [
            [s + (0 if first else p) for s, p in zip(row, partial, strict=True)]
            for row, partial in zip(sums, partials[n], strict=True)
        ]

    async def bench(ctx) -> None:
        for bank, vectors in enumerate(banks):
            built = [
                [
                    form.built(tuple(vector[i * form.group : (i + 1) * form.group]), dut.biases[i])
                    for vector in vectors
                ]
                for i in range(form.tables)
            ]
            ctx.set(dut.write, 1)
            ctx.set(dut.write_bank, bank)
            for entry in range(form.entries):
                ctx.set(dut.entry, entry)
                mask = (1 << dut.value_bits) - 1
                ctx.set(dut.value, [[table[entry] & mask for table in tokens] for tokens in built])
                await ctx.tick()
        ctx.set(dut.write, 0)
        for cycle in range(rows + dut.latency):
            if cycle < rows:
                bank, trits, _ = work[cycle]
                ctx.set(dut.codes, [codes(row) for row in trits])
                ctx.set(dut.bank, bank)
            late = cycle - dut.latency + 2
            if 0 <= late < rows:
                ctx.set(dut.partial, [[p & (1 << form.partial_bits) - 1 for p in r] for r in partials[late]])
                ctx.set(dut.first, work[late][2])
            await ctx.tick()
            done = cycle - dut.latency + 1
            if 0 <= done < rows:
                found = [[s - (s >> form.partial_bits - 1 << form.partial_bits) for s in r]
                         for r in ctx.get(dut.sum)]  # fmt: skip
                assert found == expected(done), f"{family} {form.name}: row {done}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
