"""The bench of Vector: programs with what the interpreter's units say, and the units around it."""

import random
from dataclasses import dataclass, field

import numpy as np
import torch

from hw.isa import SCALARS, STATISTICS, Dest, Source, Target, encode
from hw.machine import MachineConfig
from hw.vector import Vector
from models import numerics
from sim.interpreter_tape import Tape
from sim.interpreter_units import Units

from .test_fp32_format import simulate
from .test_fp32_reference import corners, random_bits

GRIDS = (-44, -20, -60)


@dataclass
class Step:
    """One instruction, what it finds in its sources, and what it leaves behind."""

    name: str
    fields: dict[str, int]
    tape: bytes = b""
    attention: list[tuple[list[int], int]] = field(default_factory=list)
    after: dict[str, list[int]] = field(default_factory=dict)
    error: bool = False


def number(rng: random.Random, tame: bool = False) -> int:
    """Bits of a binary32 number: of moderate size, or unless tame now and then of any."""
    chance = rng.random() + tame
    if chance < 0.02:
        return rng.choice(corners())
    if chance < 0.05:
        return random_bits(rng)
    return rng.getrandbits(1) << 31 | rng.randrange(118, 133) << 23 | rng.getrandbits(23)


def _bits(x: torch.Tensor) -> list[int]:
    return numerics.float_bits(x).tolist()


class Program:
    """Instructions with what the interpreter says they do. Lower halves of memories are never written."""

    def __init__(self, machine: MachineConfig, seed: int) -> None:
        self.machine, self.rng = machine, random.Random(seed)
        self.units = Units(machine)
        for memory in (self.units.act, self.units.const, self.units.scalar):
            memory[:] = numerics.bits_float(torch.tensor([number(self.rng) for _ in memory]))
        for i in range(8):  # scalars as they are: small positive numbers
            self.units.scalar[i] = 2.0 ** -self.rng.randrange(10) * self.rng.uniform(1, 2)
        self.units.acc[:] = torch.tensor(
            [self.rng.getrandbits(32) - 2**31 >> self.rng.randrange(32) for _ in self.units.acc]
        )
        self.start = {name: getattr(self.units, name).clone() for name in ("act", "const", "scalar", "acc")}
        self.steps: list[Step] = []

    def address(self, size: int, n: int, upper: bool) -> int:
        """A word in one half of a memory of `size` elements, so that n of them fit."""
        half, lanes = size // 2, self.machine.lanes
        return self.rng.randrange(0, (half - n) // lanes + 1) * lanes + half * upper

    def map(self, numbers: list[int] | None = None, **fields: int) -> None:
        """MAP of these fields, the others at random; `numbers` are what a tape holds."""
        rng, machine, n = self.rng, self.machine, fields["n"]
        source, dest = fields["source"], fields["dest"]
        size = {
            Dest.ACTIVATION: machine.activation_words,
            Dest.CONSTANT: machine.constant_words,
            Dest.SCALAR: SCALARS,
        }[Dest(dest)]
        slots = -(-n // (fields["segment"] or n))
        accumulator = source == Source.ACCUMULATOR
        operands = machine.accumulator_rows if accumulator else machine.activation_words
        fields = {
            "a": self.address(operands, n, accumulator),
            "b": self.address(machine.activation_words, n, False),
            "c": self.address(machine.constant_words, n, False),
            "d": self.address(size, n, True),
            "s1": rng.randrange(8), "s2": rng.randrange(8),
            "stat": rng.randrange(STATISTICS - slots + 1),
            "grid": rng.choice(GRIDS),
            **fields,
        }  # fmt: skip
        step = Step("MAP", fields)
        memory = np.zeros(0, np.uint8)
        if source == Source.TAPE:
            numbers = [number(rng) for _ in range(n)] if numbers is None else numbers
            step.tape = b"".join(bits.to_bytes(4, "little") for bits in numbers)
            memory = np.frombuffer(step.tape, np.uint8)
        if source == Source.ATTENTION:
            lanes = machine.lanes
            scales = [number(rng) for _ in range(n // lanes)]
            sums = torch.tensor([rng.getrandbits(48) - 2**47 >> rng.randrange(48) for _ in range(n)])
            step.attention = list(zip(sums.reshape(-1, lanes).tolist(), scales, strict=True))
            self.units.attention.output = (sums.reshape(-1, lanes), numerics.bits_float(torch.tensor(scales)))
        tape = Tape(memory)
        tape.append(0, len(memory))
        self.units.map(fields, tape)
        written = {Dest.ACTIVATION: "act", Dest.CONSTANT: "const", Dest.SCALAR: "scalar"}[Dest(dest)]
        step.after[f"{written} {fields['d']}"] = _bits(getattr(self.units, written)[fields["d"] :][:n])
        if fields["statistics"]:
            where = slice(fields["stat"], fields["stat"] + slots)
            step.after[f"totals {fields['stat']}"] = self.units.stat_sum[where].tolist()
            step.after[f"maxima {fields['stat']}"] = _bits(self.units.stat_max[where])
        self.steps.append(step)

    def quantise(self, **fields: int) -> None:
        """QUANTISE of these fields, the others at random."""
        machine, n = self.machine, fields["n"]
        heads, target = -(-n // (fields["segment"] or n)), fields["target"]
        d = {Target.MATMUL: self.rng.randrange((machine.quantised_words - n) // 16 + 1) * 16, Target.QUERY: 0,
             Target.KEY: 8 * heads, Target.VALUE: 0}[Target(target)]  # fmt: skip
        c = self.address(machine.constant_words, n, False)
        fields = {"c": c, "d": d, "s1": self.rng.randrange(8), **fields}
        self.units.quantise(fields, Tape(np.zeros(0, np.uint8)))
        step = Step("QUANTISE", fields)
        if target == Target.MATMUL:
            step.after[f"q {d}"] = self.units.q[d : d + n].tolist()
        elif target == Target.QUERY:
            step.after["query 0"] = self.units.attention.query[:n].tolist()
            step.after["query_scale 0"] = _bits(self.units.attention.query_scale[:heads])
        else:
            step.after["stage_k 0"] = self.units.stage[0].tolist()
            step.after["stage_v 0"] = self.units.stage[1].tolist()
        self.steps.append(step)

    def norm(self, **fields: int) -> None:
        """NORM of these fields, the others at random."""
        step = Step("NORM", {"d": self.rng.randrange(64, SCALARS), "eps": 5, "c": 6, **fields})
        step.error = self.units.norm(step.fields)
        step.after[f"scalar {step.fields['d']}"] = _bits(self.units.scalar[step.fields["d"] :][:1])
        self.steps.append(step)

    def nothing(self, name: str, **fields: int) -> None:
        """An instruction of no elements."""
        self.steps.append(Step(name, {**fields, "n": 0}))


class Bench:
    """Plays the units around the vector unit, and compares after every ``done``."""

    def __init__(self, program: Program, patience: float = 0.7) -> None:
        self.program, self.rng, self.patience = program, random.Random(5), patience
        self.dut = Vector(program.machine)
        self.cycles: list[int] = []
        machine = program.machine
        self.found = {"q": [0] * machine.quantised_words, "query": [0] * machine.max_query,
                      "query_scale": [0] * machine.max_heads, "stage_k": [0] * machine.stage_bytes,
                      "stage_v": [0] * machine.stage_bytes}  # fmt: skip
        memory = self.dut.memory
        self.memories = {"act": memory.activation, "const": memory.constant, "scalar": memory.scalar,
                         "totals": memory.totals, "maxima": memory.maxima}  # fmt: skip

    def run(self) -> list[int]:
        """Cycles from the one in which an instruction was taken to its ``done``, for each."""
        simulate(self.dut, self._bench)
        return self.cycles

    def _read(self, ctx, name: str, first: int, size: int) -> list[int]:
        if name in self.found:
            return self.found[name][first : first + size]
        lanes, memory = self.program.machine.lanes, self.memories[name]
        if name in ("totals", "maxima"):
            return [ctx.get(memory[i]) for i in range(first, first + size)]
        return [ctx.get(memory[i // lanes])[i % lanes] for i in range(first, first + size)]

    def _catch(self, ctx) -> None:
        """Take what the unit writes in this cycle."""
        dut, lanes = self.dut, self.program.machine.lanes
        for port, name, bits in ((dut.q_write, "q", 8), (dut.query, "query", 16)):
            if ctx.get(port.en):
                first, data = ctx.get(port.address), ctx.get(port.data)
                values = np.frombuffer(data.to_bytes(lanes * bits // 8, "little"), f"<i{bits // 8}")
                self.found[name][first : first + lanes] = values.tolist()
        if ctx.get(dut.query.scale_en):
            self.found["query_scale"][ctx.get(dut.query.scale_head)] = ctx.get(dut.query.scale)
        stage = dut.stage
        assert not (ctx.get(stage.en) and ctx.get(stage.scale_en))
        if ctx.get(stage.en):
            row, first = ("stage_k", "stage_v")[ctx.get(stage.value)], ctx.get(stage.address)
            self.found[row][first : first + lanes] = ctx.get(stage.data).to_bytes(lanes, "little")
        if ctx.get(stage.scale_en):
            first = ctx.get(stage.scale_address)
            self.found["stage_k"][first : first + 4] = ctx.get(stage.scale).to_bytes(4, "little")

    def _compare(self, ctx, step: Step, number: int) -> None:
        for key, wanted in step.after.items():
            name, first = key.split()
            found = self._read(ctx, name, int(first), len(wanted))
            if found != wanted:
                i = next(i for i in range(len(wanted)) if wanted[i] != found[i])
                raise AssertionError(
                    f"step {number}, {step.name} {step.fields}: {name}[{int(first) + i}], element {i}: "
                    f"wanted {wanted[i]:#x}, found {found[i]:#x}"
                )

    async def _bench(self, ctx) -> None:
        dut, rng, program = self.dut, self.rng, self.program
        machine, lanes, start = program.machine, program.machine.lanes, program.start
        for name in ("act", "const", "scalar"):
            words = start[name].reshape(-1, lanes)
            for i in range(len(words)):
                ctx.set(self.memories[name][i], _bits(words[i]))
        acc = start["acc"].tolist()
        tape = b"".join(step.tape for step in program.steps)
        attention = [word for step in program.steps for word in step.attention]
        unit = dut.unit
        taken: list[tuple[int, Step, int]] = []
        sent = finished = now = elements = 0
        while finished < len(program.steps):
            offer = sent < len(program.steps)
            offer = offer and (ctx.get(unit.command.valid) or rng.random() < self.patience)
            ctx.set(unit.command.valid, offer)
            if offer:
                word = encode(program.steps[sent].name, **program.steps[sent].fields)
                ctx.set(unit.command.payload, {"word": word, "layer": sent, "position": 0})
            full = machine.unit_bytes
            arrived = full if self.patience == 1 else rng.choice((0, rng.randrange(full + 1), full))
            level = min(len(tape), arrived)
            ctx.set(dut.tape.level, level)
            ctx.set(dut.tape.data, int.from_bytes(tape[:level], "little"))
            waiting = bool(attention) and (ctx.get(dut.attention.valid) or rng.random() < self.patience)
            ctx.set(dut.attention.valid, waiting)
            if waiting:
                sums = sum((s & 2**48 - 1) << 48 * i for i, s in enumerate(attention[0][0]))
                ctx.set(dut.attention.payload, {"sums": sums, "scale": attention[0][1]})
            index = rng.randrange(SCALARS)
            ctx.set(dut.scalar.index, index)

            # Before the clock edge: who takes what.
            assert ctx.get(dut.scalar.value) == self._read(ctx, "scalar", index, 1)[0]
            take = ctx.get(dut.tape.take)
            assert take <= level
            assert not (take and ctx.get(dut.tape.starved))
            tape = tape[take:]
            if waiting and ctx.get(dut.attention.ready):
                attention.pop(0)
            row = ctx.get(dut.accumulator.address) if ctx.get(dut.accumulator.en) else None
            self._catch(ctx)
            elements += ctx.get(dut.elements)
            assert ctx.get(dut.busy) == bool(taken)
            done = ctx.get(unit.done)
            if ctx.get(dut.error):
                assert done
                assert ctx.get(dut.error_layer) == finished
            if done:
                assert ctx.get(dut.error) == taken[0][1].error
            accepted = offer and ctx.get(unit.command.ready)
            await ctx.tick()
            words = [rng.getrandbits(32) for _ in range(lanes)] if row is None else acc[row : row + lanes]
            ctx.set(dut.accumulator.data, sum((word & 2**32 - 1) << 32 * i for i, word in enumerate(words)))
            if done:
                began, step, number = taken.pop(0)
                self.cycles.append(now - began)
                self._compare(ctx, step, number)
                finished += 1
            if accepted:
                taken.append((now, program.steps[sent], sent))
                sent += 1
                ctx.set(unit.command.valid, 0)
            now += 1
            assert now < 400 * len(program.steps), "the unit does not finish"
        assert not tape
        assert not attention
        assert elements == sum(step.fields["n"] for step in program.steps if "n" in step.fields)
        for name in ("act", "const", "scalar"):
            wanted = _bits(getattr(program.units, name))
            assert self._read(ctx, name, 0, len(wanted)) == wanted, name
