"""A whole engine: look-up, adders, builders and control. Activations and partial sums lie outside."""

import dataclasses
import random

import torch
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.delay_line import delay
from hw.isa import encode
from hw.machine import CI, MachineConfig
from hw.ports import TapePort, command_layout
from hw.ternary_engine import TernaryEngine
from models import numerics

from .array import ACTIVATIONS, PARTIAL_BITS

__all__ = ["Engine", "engine_config", "verify_engine"]


def engine_config(family: str, tile: int, form: str, width: int = ACTIVATIONS) -> MachineConfig:
    """``width`` activations a cycle of each of ``tile`` tokens."""
    return dataclasses.replace(
        CI, tables=width // numerics.TRITS_PER_BYTE, tile=tile, family=family, table_form=form,
        lanes=4, head_lanes=4, attention_bytes=4,
    )  # fmt: skip


class Engine(wiring.Component):
    """`TernaryEngine` and the additions to partial sums.

    Members
    -------
    command, tape, read : as those of `TernaryEngine`
    partial_row, partial : Out(16), In(ArrayLayout(signed(24), tile))
        Partial sums of a row, wanted a cycle after it.
    write, write_row, sums : Out(1), Out(16), Out(ArrayLayout(signed(24), tile))
        Partial sums to write: 3 cycles after ``partial_row``.
    """

    def __init__(self, config: MachineConfig, builders: int | None, primitives: bool = False) -> None:
        self.engine = TernaryEngine(config, builders, primitives)
        self.config = config
        partial = data.ArrayLayout(signed(PARTIAL_BITS), config.tile)
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "tape": Out(TapePort(config)),
            "read": Out(self.engine.read.signature),
            "partial_row": Out(16), "partial": In(partial),
            "write": Out(1), "write_row": Out(16), "sums": Out(partial),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = self.engine
        for port in ("command", "tape", "read"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(engine, port))
        m.d.comb += [
            self.partial_row.eq(engine.row.row),
            self.write.eq(delay(m, engine.row.valid, 3)),
            self.write_row.eq(delay(m, engine.row.row, 3)),
        ]
        first = delay(m, engine.row.first, 1)
        for t in range(self.config.tile):
            addend = delay(m, engine.sums[t], 2).as_signed()
            partial = Signal(signed(PARTIAL_BITS), name=f"partial{t}", reset_less=True)
            m.d.sync += partial.eq(self.partial[t])
            with m.If(first):
                m.d.sync += partial.eq(0)
            m.d.sync += self.sums[t].eq(partial + addend)
        return m


def verify_engine(config: MachineConfig, builders: int | None, rows: int = 9, k: int = 130) -> None:
    """A MATMUL against numerics; `AssertionError` where a sum differs."""
    rng = random.Random(5)
    source = torch.Generator().manual_seed(5)
    activations = torch.randint(-127, 128, (config.tile, k), generator=source)
    trits = torch.randint(-1, 2, (rows, k), generator=source)
    expected = numerics.integer_linear(activations, trits)
    packed = numerics.pack_trits(trits).split(config.tables, dim=1)
    tape = b"".join(bytes(part.flatten().tolist()) for part in packed)
    dut = Engine(config, builders)
    partials: dict[int, list[int]] = {}
    done = rows * len(packed)

    async def memory(ctx) -> None:
        while True:
            outputs = (dut.read.address, dut.partial_row, dut.write, dut.write_row, dut.sums)
            _, _, addresses, row, write, write_row, sums = await ctx.tick().sample(*outputs)
            found = [
                [int(activations[t, a]) if a < k else rng.randint(-128, 127) for t in range(config.tile)]
                for a in addresses
            ]
            ctx.set(dut.read.data, found)
            if write:
                partials[write_row] = list(sums)
            ctx.set(dut.partial, partials.get(row, [rng.randint(-99, 99) for _ in range(config.tile)]))

    async def bench(ctx) -> None:
        position = written = 0
        ctx.set(dut.command.p.word, encode("MATMUL", rows=rows, k=k, q=0, acc=3))
        ctx.set(dut.command.p.more, config.tile - 1)
        ctx.set(dut.command.valid, 1)
        while written < done:
            window = tape[position : position + config.unit_bytes]
            ctx.set(dut.tape.data, int.from_bytes(window.ljust(config.unit_bytes, b"\xff"), "little"))
            ctx.set(dut.tape.enough, ctx.get(dut.tape.want) <= len(window))
            _, _, take, want, ready, write = await ctx.tick().sample(
                dut.tape.take, dut.tape.want, dut.command.ready, dut.write
            )
            position += want if take else 0
            written += write
            if ready:
                ctx.set(dut.command.valid, 0)
        for r in range(rows):
            assert partials[3 + r] == expected[:, r].tolist(), f"row {r}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(memory, background=True)
    sim.add_testbench(bench)
    sim.run()
