"""The matmul unit: MATMUL and HEAD."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import Accumulator
from .activation_buffer import ActivationBuffer
from .head import Head
from .isa import BY_NAME, PREDICATES
from .machine import MachineConfig
from .ports import (
    AccumulatorRead,
    ElementWrite,
    ScalarRead,
    TapePort,
    TopRead,
    UnitPort,
    header_layout,
)
from .ternary_engine import TernaryEngine

__all__ = ["MAX_UNFINISHED", "Matmul"]

#: MATMUL instructions accepted and not done, at most: one whose tables are being built and two whose tables
#: are. A build outlasts the pipeline after the tables, so no earlier one is left in there.
MAX_UNFINISHED = 3


class Matmul(wiring.Component):
    """Executes the instructions of `Unit.MATMUL`, in order, for all live tokens of a tile at once.

    A MATMUL is accepted while earlier ones are executed, up to `MAX_UNFINISHED`, so that its first tables
    are built in the meantime; HEAD runs alone. `TernaryEngine` and `Head` state their cycle budgets; MATMUL
    is done 1 cycle after its last sum has left the engine.

    Parameters
    ----------
    config : MachineConfig
        Sizes.

    Members
    -------
    unit : In(UnitPort())
        Instructions, and ``done`` for each.
    tape : Out(TapePort(config))
        Trits; int8 codes and row scales of the head.
    q_write : In(ElementWrite(lanes, 8))
        Writes activations of a token, from QUANTISE.
    accumulator : In(AccumulatorRead(lanes))
        Reads sums of a token, for MAP.
    scalar : Out(ScalarRead())
        Scales of the tokens, for HEAD.
    predicates : In(16)
        Predicate bits.
    next_token : Out(ArrayLayout(20, tile))
        For each token, NEXT_TOKEN of the last HEAD where it was live.
    top : In(TopRead())
        TOP of the last HEAD; while a HEAD is executed, it means nothing.
    logits : Out(stream of 32 bits)
        Logits of a HEAD whose predicate ``emit`` is 1: row by row, in a row token by token.
    lookups : Out(0..unit_bytes)
        Event: bytes used as table addresses in this cycle, whatever the number of tokens.
    head_products : Out(0..tile * head_lanes)
        Event: int8 products of live tokens begun in this cycle.
    active : Out(1)
        Event: something was taken from the tape in this cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.head = Head(config)
        super().__init__({
            "unit": In(UnitPort()),
            "tape": Out(TapePort(config)),
            "q_write": In(ElementWrite(config.lanes, 8)),
            "accumulator": In(AccumulatorRead(config.lanes)),
            "scalar": Out(ScalarRead()),
            "predicates": In(PREDICATES),
            "next_token": Out(self.head.next_token.shape()),
            "top": In(TopRead()),
            "logits": Out(stream.Signature(32)),
            "lookups": Out(range(config.unit_bytes + 1)),
            "head_products": Out(self.head.products.shape()),
            "active": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = ActivationBuffer(self.config)
        m.submodules.ternary = ternary = TernaryEngine(self.config)
        m.submodules.accumulator = accumulator = Accumulator(self.config, ternary.sum_bits)
        m.submodules.head = head = self.head

        # An instruction goes to its engine. HEAD waits for all before it, and all after it wait for HEAD.
        command = self.unit.command.payload
        is_head = data.View(header_layout(), command.word).opcode == BY_NAME["HEAD"].opcode
        unfinished = Signal(range(MAX_UNFINISHED + 1))
        to_head = self.unit.command.valid & is_head & (unfinished == 0)
        to_ternary = self.unit.command.valid & ~is_head & ~head.busy
        m.d.comb += [
            head.command.payload.eq(command),
            head.command.valid.eq(to_head),
            ternary.command.payload.eq(command),
            ternary.command.valid.eq(to_ternary),
            self.unit.command.ready.eq((to_head & head.command.ready) | (to_ternary & ternary.command.ready)),
        ]
        if self.config.tile == 1:  # what `more` would say costs nothing
            m.d.comb += [head.command.p.more.eq(0), ternary.command.p.more.eq(0)]
        m.d.sync += unfinished.eq(unfinished + (to_ternary & ternary.command.ready) - accumulator.done)
        m.d.comb += self.unit.done.eq(accumulator.done | head.done)

        # Activations.
        wiring.connect(m, wiring.flipped(self.q_write), buffer.write)
        m.d.comb += [
            buffer.read.block.eq(Mux(head.busy, head.read.block, ternary.read.block)),
            head.read.data.eq(buffer.read.data),
        ]
        for t in range(self.config.tile):
            m.d.comb += ternary.read.data[t].eq(buffer.read.data[t])

        # The tape; one engine at most executes.
        for engine in (ternary, head):
            m.d.comb += [engine.tape.data.eq(self.tape.data), engine.tape.level.eq(self.tape.level)]
        m.d.comb += [
            self.tape.take.eq(ternary.tape.take | head.tape.take),
            self.tape.starved.eq(ternary.tape.starved | head.tape.starved),
        ]

        m.d.comb += [accumulator.sums.eq(ternary.sums), accumulator.row.eq(ternary.row)]
        wiring.connect(m, wiring.flipped(self.accumulator), accumulator.read)

        m.d.comb += [head.predicates.eq(self.predicates), self.next_token.eq(head.next_token)]
        wiring.connect(m, wiring.flipped(self.top), head.top)
        wiring.connect(m, head.scalar, wiring.flipped(self.scalar))
        wiring.connect(m, head.logits, wiring.flipped(self.logits))

        m.d.comb += [
            self.lookups.eq(ternary.tape.take),
            self.head_products.eq(head.products),
            self.active.eq(self.tape.take.any()),
        ]
        return m
