"""The bench of Vector: programs with what the reference says, and the units around it."""

import dataclasses
import random
from dataclasses import dataclass, field

import torch

from hw.isa import SCALARS, STATISTICS, Dest, Function, Source, Target, encode
from hw.machine import MachineConfig
from hw.vector import Vector
from models import numerics

from .test_fp32_format import simulate
from .test_fp32_reference import corners, random_bits
from .vector_reference import Reference

GRIDS = (-44, -20, -60)
#: Memories of the unit that are one for all tokens of a tile.
COMMON = ("const", "scalar")


@dataclass
class Step:
    """One instruction of `live` tokens, what it finds in its sources, and what it leaves behind.

    `after`: (memory, token, first element) to the bits of elements; the token of common memories is 0.
    """

    name: str
    fields: dict[str, int]
    live: int = 1
    tape: bytes = b""
    attention: list[tuple[list[int], int]] = field(default_factory=list)
    after: dict[tuple[str, int, int], list[int]] = field(default_factory=dict)
    error: bool = False


def number(rng: random.Random, tame: bool = False) -> int:
    """Bits of a binary32 number: of moderate size, or unless tame now and then of any."""
    chance = rng.random() + tame
    if chance < 0.02:
        return rng.choice(corners())
    if chance < 0.05:
        return random_bits(rng)
    return rng.getrandbits(1) << 31 | rng.randrange(118, 133) << 23 | rng.getrandbits(23)


def tiles(machine: MachineConfig, tile: int) -> MachineConfig:
    """The machine with a tile of so many tokens, and small banks where they are many; that of one token has
    multiplications of four cycles."""
    return dataclasses.replace(
        machine, tile=tile, activation_words=2048 // tile, multiply_cycles=4 if tile == 1 else 3
    )


def bits_of(x: torch.Tensor) -> list[int]:
    """Bits of binary32 numbers, or integers as they are."""
    return (numerics.float_bits(x) if x.is_floating_point() else x).tolist()


class Program:
    """Instructions with what the reference says they do. Lower halves of memories are never written; that of
    the partial sums has binary32 numbers.

    An instruction acts for `live` tokens where it is given, else for a random number of them.
    """

    def __init__(self, machine: MachineConfig, seed: int, live: int | None = None) -> None:
        self.machine, self.rng, self.live = machine, random.Random(seed), live
        self.state = Reference(machine)
        for memory in (self.state.act, self.state.const, self.state.scalar):
            numbers = torch.tensor([number(self.rng) for _ in range(memory.numel())])
            memory[:] = numerics.bits_float(numbers).reshape(memory.shape)
        for i in range(16):  # scalars as they are: small positive numbers
            self.state.scalar[i] = 2.0 ** -self.rng.randrange(10) * self.rng.uniform(1, 2)
        half = self.state.acc[:, machine.accumulator_rows // 2 :]
        acc = [self.rng.getrandbits(32) - 2**31 >> self.rng.randrange(32) for _ in range(half.numel())]
        half[:] = torch.tensor(acc).reshape(half.shape)
        half = self.state.acc[:, : machine.accumulator_rows // 2]
        half[:] = torch.tensor([number(self.rng) for _ in range(half.numel())]).reshape(half.shape)
        self.start = {name: getattr(self.state, name).clone() for name in ("act", "const", "scalar", "acc")}
        self.steps: list[Step] = []

    def address(self, size: int, n: int, upper: bool) -> int:
        """A word in one half of a memory of `size` elements, so that n of them fit."""
        half, lanes = size // 2, self.machine.lanes
        return self.rng.randrange(0, (half - n) // lanes + 1) * lanes + half * upper

    def tokens(self) -> int:
        """Live tokens of the next instruction."""
        return self.live or self.rng.randrange(self.machine.tile) + 1

    def words(self, dest: int, live: int, most: int = 6) -> int:
        """Elements of a MAP, `most` words at most, that fit `dest` for so many tokens."""
        room = SCALARS // 2 // live if dest == Dest.SCALAR else most * self.machine.lanes
        return self.rng.randrange(1, min(most, room // self.machine.lanes) + 1) * self.machine.lanes

    def _leaves(self, step: Step, name: str, token: int, first: int, size: int) -> None:
        memory = getattr(self.state, name)
        memory = memory if name in COMMON else memory[token]
        step.after[name, token, first] = bits_of(memory[first : first + size])

    def map(self, numbers: list[int] | None = None, live: int | None = None, **fields: int) -> None:
        """MAP of these fields, the others at random; `numbers` are what a tape holds, for all tokens."""
        rng, machine, n = self.rng, self.machine, fields["n"]
        live = live or self.tokens()
        source, dest = fields["source"], fields["dest"]
        size = {
            Dest.ACTIVATION: machine.activation_words,
            Dest.CONSTANT: machine.constant_words,
            Dest.SCALAR: SCALARS,
        }[Dest(dest)]
        step_size = fields["segment"] or n
        slots = -(-n // step_size)
        accumulator = source == Source.ACCUMULATOR
        of_matmul = accumulator or source == Source.LINEAR
        operands = machine.accumulator_rows if of_matmul else machine.activation_words
        constants = live * step_size if fields["function"] == Function.ROPE else n
        fields = {
            "a": self.address(operands, n, accumulator),
            "b": self.address(machine.activation_words, n, False),
            "c": self.address(machine.constant_words, constants, False),
            "d": self.address(size, n if dest == Dest.ACTIVATION else live * n, True),
            "s1": rng.randrange(8), "s2": rng.randrange(8),
            "stat": rng.randrange(STATISTICS - slots + 1),
            "grid": rng.choice(GRIDS),
            **fields,
        }  # fmt: skip
        step = Step("MAP", fields, live)
        stream = scales = torch.zeros(0)
        if source == Source.TAPE:
            numbers = [number(rng) for _ in range(live * n)] if numbers is None else numbers
            step.tape = b"".join(bits.to_bytes(4, "little") for bits in numbers)
            stream = numerics.bits_float(torch.tensor(numbers)).reshape(live, n)
        if source == Source.ATTENTION:
            lanes = machine.lanes
            heads = [number(rng) for _ in range(live * n // lanes)]
            stream = torch.tensor(
                [rng.getrandbits(48) - 2**47 >> rng.randrange(48) for _ in range(live * n)]
            ).reshape(live, n)
            step.attention = list(zip(stream.reshape(-1, lanes).tolist(), heads, strict=True))
            scales = numerics.bits_float(torch.tensor(heads)).reshape(live, -1)
        self.state.map(fields, live, stream, scales)
        for t in range(live):
            if dest == Dest.ACTIVATION:
                self._leaves(step, "act", t, fields["d"], n)
            if fields["statistics"]:
                self._leaves(step, "totals", t, fields["stat"], slots)
                self._leaves(step, "maxima", t, fields["stat"], slots)
        if dest != Dest.ACTIVATION:
            written = "const" if dest == Dest.CONSTANT else "scalar"
            self._leaves(step, written, 0, fields["d"], live * n)
        self.steps.append(step)

    def quantise(self, live: int | None = None, **fields: int) -> None:
        """QUANTISE of these fields, the others at random."""
        machine, n = self.machine, fields["n"]
        live = live or self.tokens()
        heads, target = -(-n // (fields["segment"] or n)), fields["target"]
        d = {Target.MATMUL: self.rng.randrange((machine.quantised_words - n) // 16 + 1) * 16, Target.QUERY: 0,
             Target.KEY: 8 * heads, Target.VALUE: 0}[Target(target)]  # fmt: skip
        c = self.address(machine.constant_words, n, False)
        fields = {"c": c, "d": d, "s1": self.rng.randrange(8), "mantissa": 0, **fields}
        self.state.quantise(fields, live)
        step = Step("QUANTISE", fields, live)
        for t in range(live):
            if target == Target.MATMUL:
                self._leaves(step, "q", t, fields["d"], n)
            elif target == Target.QUERY:
                self._leaves(step, "query", t, 0, n)
                self._leaves(step, "query_scale", t, 0, heads)
            else:
                self._leaves(step, "stage_k", t, 0, machine.stage_bytes)
                self._leaves(step, "stage_v", t, 0, machine.stage_bytes)
        self.steps.append(step)

    def norm(self, live: int | None = None, **fields: int) -> None:
        """NORM of these fields, the others at random."""
        live = live or self.tokens()
        d = self.rng.randrange(64, SCALARS - live + 1)
        step = Step("NORM", {"d": d, "eps": 5, "c": 6, "mantissa": 0, **fields}, live)
        step.error = self.state.norm(step.fields, live)
        for t in range(live):
            self._leaves(step, "scalar", 0, (step.fields["d"] + t) % SCALARS, 1)
        self.steps.append(step)

    def nothing(self, name: str, **fields: int) -> None:
        """An instruction of no elements."""
        self.steps.append(Step(name, {**fields, "n": 0}, self.tokens()))


class Bench:
    """Plays the units around the vector unit, and compares after every ``done``."""

    def __init__(self, program: Program, patience: float = 0.7) -> None:
        self.program, self.rng, self.patience = program, random.Random(5), patience
        self.dut = Vector(program.machine)
        self.cycles: list[int] = []
        names = ("q", "query", "query_scale", "stage_k", "stage_v")
        self.found = {name: torch.zeros_like(getattr(program.state, name)).long().tolist() for name in names}
        memory = self.dut.memory
        self.memories = {"act": memory.activation, "const": memory.constant, "scalar": memory.scalar,
                         "totals": memory.totals, "maxima": memory.maxima}  # fmt: skip

    def run(self) -> list[int]:
        """Cycles from the one in which an instruction was taken to its ``done``, for each."""
        simulate(self.dut, self._bench)
        return self.cycles

    def _read(self, ctx, name: str, token: int, first: int, size: int) -> list[int]:
        """Elements of one bank; an address wraps around in it."""
        if name in self.found:
            return self.found[name][token][first : first + size]
        lanes, memory, tile = self.program.machine.lanes, self.memories[name], self.program.machine.tile
        if name in ("totals", "maxima"):
            return [ctx.get(memory[token * STATISTICS + i]) for i in range(first, first + size)]
        bank = memory.depth // (1 if name in COMMON else tile)
        words = range(first // lanes, -(-(first + size) // lanes))
        found = [bits for i in words for bits in ctx.get(memory[token * bank + i % bank])]
        return found[first % lanes :][:size]

    def _catch(self, ctx, live: int) -> None:
        """Take what the unit writes in this cycle, for one of so many tokens."""
        dut, lanes = self.dut, self.program.machine.lanes
        codes = self.program.machine.activation_bits
        for port, name, bits in ((dut.q_write, "q", codes), (dut.query, "query", 16)):
            if ctx.get(port.en):
                assert ctx.get(port.token) < live
                first, data, sign = ctx.get(port.address), ctx.get(port.data), 1 << bits - 1
                assert data < 1 << lanes * bits
                values = [((data >> bits * i) + sign & 2 * sign - 1) - sign for i in range(lanes)]
                self.found[name][ctx.get(port.token)][first : first + lanes] = values
        query, stage = dut.query, dut.stage
        if ctx.get(query.scale_en):
            assert ctx.get(query.scale_token) < live
            bank = self.found["query_scale"][ctx.get(query.scale_token)]
            bank[ctx.get(query.scale_head)] = ctx.get(query.scale)
        assert not (ctx.get(stage.en) and ctx.get(stage.scale_en))
        if ctx.get(stage.en):
            assert ctx.get(stage.token) < live
            row = self.found[("stage_k", "stage_v")[ctx.get(stage.value)]][ctx.get(stage.token)]
            first = ctx.get(stage.address)
            row[first : first + lanes] = ctx.get(stage.data).to_bytes(lanes, "little")
        if ctx.get(stage.scale_en):
            assert ctx.get(stage.scale_token) < live
            first, row = ctx.get(stage.scale_address), self.found["stage_k"][ctx.get(stage.scale_token)]
            row[first : first + 4] = ctx.get(stage.scale).to_bytes(4, "little")

    def _compare(self, ctx, step: Step, number: int) -> None:
        for (name, token, first), wanted in step.after.items():
            found = self._read(ctx, name, token, first, len(wanted))
            if found != wanted:
                i = next(i for i in range(len(wanted)) if wanted[i] != found[i])
                raise AssertionError(
                    f"step {number}, {step.name} of {step.live} tokens, {step.fields}: token {token}, "
                    f"{name}[{first + i}], element {i}: wanted {wanted[i]:#x}, found {found[i]:#x}"
                )

    def _compare_all(self, ctx) -> None:
        """All memories, of all tokens; nothing was written that should not be."""
        for name in (*self.memories, *self.found):
            memory = getattr(self.program.state, name)
            for token, bank in enumerate([memory] if name in COMMON else memory):
                wanted = bits_of(bank)
                assert self._read(ctx, name, token, 0, len(wanted)) == wanted, (name, token)

    async def _bench(self, ctx) -> None:
        dut, rng, program = self.dut, self.rng, self.program
        machine, lanes, start = program.machine, program.machine.lanes, program.start
        for name in ("act", "const", "scalar"):
            words = start[name].reshape(-1, lanes)
            for i in range(len(words)):
                ctx.set(self.memories[name][i], bits_of(words[i]))
        acc = start["acc"].tolist()
        tape = b"".join(step.tape for step in program.steps)
        attention = [word for step in program.steps for word in step.attention]
        unit = dut.unit
        taken: list[tuple[int, Step, int]] = []
        spilled: list[list[int] | None] = []
        sent = finished = now = elements = 0
        while finished < len(program.steps):
            offer = sent < len(program.steps)
            offer = offer and (ctx.get(unit.command.valid) or rng.random() < self.patience)
            ctx.set(unit.command.valid, offer)
            if offer:
                step = program.steps[sent]
                payload = {"word": encode(step.name, **step.fields), "layer": sent, "more": step.live - 1}
                ctx.set(unit.command.payload, {**payload, "first": rng.getrandbits(8)})
            full = machine.unit_bytes
            arrived = full if self.patience == 1 else rng.choice((0, rng.randrange(full + 1), full))
            level = min(len(tape), arrived)
            want = ctx.get(dut.tape.want)
            ctx.set(dut.tape.enough, level >= want)
            ctx.set(dut.tape.data, int.from_bytes(tape[:level], "little"))
            waiting = bool(attention) and (ctx.get(dut.attention.valid) or rng.random() < self.patience)
            ctx.set(dut.attention.valid, waiting)
            if waiting:
                sums = sum((s & 2**48 - 1) << 48 * i for i, s in enumerate(attention[0][0]))
                ctx.set(dut.attention.payload, {"sums": sums, "scale": attention[0][1]})
            index = rng.randrange(SCALARS)
            ctx.set(dut.scalar.index, index)
            token, spill = rng.randrange(machine.tile), rng.randrange(2 * machine.activation_words)
            ctx.set(dut.activation.token, token)
            ctx.set(dut.activation.address, spill)

            # Before the clock edge: who takes what.
            assert ctx.get(dut.scalar.value) == self._read(ctx, "scalar", 0, index, 1)[0]
            asked = ctx.get(dut.activation.ready)
            spilled.append(self._read(ctx, "act", token, spill // lanes * lanes, lanes) if asked else None)
            if len(spilled) > 2 and (words := spilled.pop(0)) is not None:
                wanted = sum(bits << 32 * i for i, bits in enumerate(words))
                assert ctx.get(dut.activation.data) == wanted
            later = sum(len(step.tape) for step in program.steps[finished + 1 :])
            assert not want or (taken and len(tape) > later), "wants what belongs to another unit"
            take = want if ctx.get(dut.tape.take) else 0
            assert take <= level
            assert not (take and ctx.get(dut.tape.starved))
            tape = tape[take:]
            if waiting and ctx.get(dut.attention.ready):
                attention.pop(0)
            row = None
            if ctx.get(dut.accumulator.en):
                row = ctx.get(dut.accumulator.token), ctx.get(dut.accumulator.address)
                assert row[0] < taken[0][1].live
            self._catch(ctx, taken[0][1].live if taken else 0)
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
            words = [rng.getrandbits(32) for _ in range(lanes)]
            if row is not None:
                words = acc[row[0]][row[1] : row[1] + lanes]
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
            assert now < 400 * len(program.steps) * machine.tile, "the unit does not finish"
        assert not tape
        assert not attention
        assert elements == sum(step.fields.get("n", 0) * step.live for step in program.steps)
        self._compare_all(ctx)
