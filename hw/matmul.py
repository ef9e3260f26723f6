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
    UnitPort,
    header_layout,
    instruction_layout,
)
from .ternary_engine import TernaryEngine

__all__ = ["MAX_UNFINISHED", "Matmul"]

#: MATMUL instructions accepted and not done, at most: one whose tables are being built and two whose tables
#: are. A build outlasts the pipeline after the tables, so no earlier one is left in there.
MAX_UNFINISHED = 3


class Matmul(wiring.Component):
    """Executes the instructions of `Unit.MATMUL`, in order.

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
        Writes activations, from QUANTISE.
    accumulator : In(AccumulatorRead(lanes))
        Reads sums, for MAP.
    scalar : Out(ScalarRead())
        Scale of the token, for HEAD.
    predicates : In(16)
        Predicate bits.
    next_token : Out(20)
        Argmax of the last HEAD.
    logits : Out(stream of 32 bits)
        Logits of a HEAD whose predicate ``emit`` is 1, in row order.
    lookups : Out(0..unit_bytes)
        Event: bytes used as table addresses in this cycle.
    head_products : Out(0..head_lanes)
        Event: int8 products begun in this cycle.
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
            "logits": Out(stream.Signature(32)),
            "lookups": Out(range(config.unit_bytes + 1)),
            "head_products": Out(range(config.head_lanes + 1)),
            "active": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = ActivationBuffer(self.config)
        m.submodules.ternary = ternary = TernaryEngine(self.config)
        m.submodules.accumulator = accumulator = Accumulator(self.config, len(ternary.sum))
        m.submodules.head = head = self.head

        # An instruction goes to its engine. HEAD waits for all before it, and all after it wait for HEAD.
        word = self.unit.command.payload.word
        is_head = data.View(header_layout(), word).opcode == BY_NAME["HEAD"].opcode
        unfinished = Signal(range(MAX_UNFINISHED + 1))
        to_head = self.unit.command.valid & is_head & (unfinished == 0)
        to_ternary = self.unit.command.valid & ~is_head & ~head.busy
        m.d.comb += [
            head.command.payload.eq(data.View(instruction_layout("HEAD"), word)),
            head.command.valid.eq(to_head),
            ternary.command.payload.eq(data.View(instruction_layout("MATMUL"), word)),
            ternary.command.valid.eq(to_ternary),
            self.unit.command.ready.eq((to_head & head.command.ready) | (to_ternary & ternary.command.ready)),
        ]
        m.d.sync += unfinished.eq(unfinished + (to_ternary & ternary.command.ready) - accumulator.done)
        m.d.comb += self.unit.done.eq(accumulator.done | head.done)

        # Activations.
        wiring.connect(m, wiring.flipped(self.q_write), buffer.write)
        m.d.comb += [
            buffer.read.block.eq(Mux(head.busy, head.read.block, ternary.read.block)),
            head.read.data.eq(buffer.read.data),
            ternary.read.data.eq(buffer.read.data),
        ]

        # The tape; one engine at most executes.
        for engine in (ternary, head):
            m.d.comb += [engine.tape.data.eq(self.tape.data), engine.tape.level.eq(self.tape.level)]
        m.d.comb += [
            self.tape.take.eq(ternary.tape.take | head.tape.take),
            self.tape.starved.eq(ternary.tape.starved | head.tape.starved),
        ]

        m.d.comb += [accumulator.sum.eq(ternary.sum), accumulator.row.eq(ternary.row)]
        wiring.connect(m, wiring.flipped(self.accumulator), accumulator.read)

        m.d.comb += [head.predicates.eq(self.predicates), self.next_token.eq(head.next_token)]
        wiring.connect(m, head.scalar, wiring.flipped(self.scalar))
        wiring.connect(m, head.logits, wiring.flipped(self.logits))

        m.d.comb += [
            self.lookups.eq(ternary.tape.take),
            self.head_products.eq(head.products),
            self.active.eq(self.tape.take.any()),
        ]
        return m
