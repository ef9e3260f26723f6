"""The matmul unit: MATMUL, LINEAR and HEAD."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import Accumulator
from .activation_buffer import BLOCK, ActivationBuffer
from .integer_linear import IntegerLinear
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

    A MATMUL is accepted while earlier ones are executed, up to `MAX_UNFINISHED`, so that its first tables are
    built in the meantime; LINEAR and HEAD run alone. `TernaryEngine` and `IntegerLinear` state their cycle
    budgets; MATMUL is done 1 cycle after its last sum has left the engine. MATMUL reads the low 8 bits of an
    activation.

    Parameters
    ----------
    config : MachineConfig
        Sizes.

    Members
    -------
    unit : In(UnitPort())
        Instructions, and ``done`` for each.
    tape : Out(TapePort(config).array(ports))
        Trits; integer codes, group scales and row scales. One at most wants anything. On an ECP5, which is
        large and slow to cross, each has a port of its own, so that what one wants is not on the other's way.
    q_write : In(ElementWrite(lanes, activation_bits))
        Writes activations of a token, from QUANTISE.
    accumulator : In(AccumulatorRead(lanes))
        Reads sums, or results of LINEAR, of a token, for MAP.
    scalar : Out(ScalarRead())
        Scales of the tokens, for LINEAR and HEAD.
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
    integer_products : Out(0..2 * tile * head_lanes)
        Event: integer products of live tokens begun in this cycle, fillers included.
    active : Out(1)
        Event: something was taken from the tape in this cycle.
    holds_tape : Out(1)
        An instruction is offered, or one that was accepted has not taken all of its bytes.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.integer = IntegerLinear(config)
        ports = 2 if config.family == "ecp5" else 1
        super().__init__({
            "unit": In(UnitPort()),
            "tape": Out(TapePort(config)).array(ports),
            "q_write": In(ElementWrite(config.lanes, config.activation_bits)),
            "accumulator": In(AccumulatorRead(config.lanes)),
            "scalar": Out(ScalarRead()),
            "predicates": In(PREDICATES),
            "next_token": Out(self.integer.next_token.shape()),
            "top": In(TopRead()),
            "logits": Out(stream.Signature(32)),
            "lookups": Out(range(config.unit_bytes + 1)),
            "integer_products": Out(self.integer.products.shape()),
            "active": Out(1),
            "holds_tape": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = ActivationBuffer(self.config)
        m.submodules.ternary = ternary = TernaryEngine(self.config)
        m.submodules.accumulator = accumulator = Accumulator(self.config, ternary.sum_bits)
        m.submodules.integer = integer = self.integer

        # An instruction goes to its engine. LINEAR and HEAD wait for all before, and all after wait for them.
        command = self.unit.command.payload
        is_ternary = data.View(header_layout(), command.word).opcode == BY_NAME["MATMUL"].opcode
        unfinished = Signal(range(MAX_UNFINISHED + 1))
        to_integer = self.unit.command.valid & ~is_ternary & (unfinished == 0)
        to_ternary = self.unit.command.valid & is_ternary & ~integer.busy
        m.d.comb += [
            integer.command.payload.eq(command),
            integer.command.valid.eq(to_integer),
            ternary.command.payload.eq(command),
            ternary.command.valid.eq(to_ternary),
            self.unit.command.ready.eq(
                (to_integer & integer.command.ready) | (to_ternary & ternary.command.ready)
            ),
        ]
        if self.config.tile == 1:  # what `more` would say costs nothing
            m.d.comb += [integer.command.p.more.eq(0), ternary.command.p.more.eq(0)]
        m.d.sync += unfinished.eq(unfinished + (to_ternary & ternary.command.ready) - accumulator.done)
        m.d.comb += self.unit.done.eq(accumulator.done | integer.done)

        # Activations.
        wiring.connect(m, wiring.flipped(self.q_write), buffer.write)
        m.d.comb += [
            buffer.read.block.eq(Mux(integer.busy, integer.read.block, ternary.read.block)),
            buffer.read.hold.eq(Mux(integer.busy, integer.read.hold, ternary.read.hold)),
            integer.read.data.eq(buffer.read.data),
        ]
        bits = self.config.activation_bits
        for t in range(self.config.tile):
            low = [buffer.read.data[t].word_select(i, bits)[:8] for i in range(BLOCK)]
            m.d.comb += ternary.read.data[t].eq(Cat(*low))

        # The tape; one engine at most executes.
        if len(self.tape) > 1:
            for i, engine in enumerate((ternary, integer)):
                wiring.connect(m, wiring.flipped(self.tape[i]), engine.tape)
        else:
            tape = self.tape[0]
            for engine in (ternary, integer):
                m.d.comb += [engine.tape.data.eq(tape.data), engine.tape.enough.eq(tape.enough)]
            m.d.comb += [
                tape.want.eq(ternary.tape.want | integer.tape.want),
                tape.take.eq(ternary.tape.take | integer.tape.take),
                tape.starved.eq(ternary.tape.starved | integer.tape.starved),
            ]

        m.d.comb += [accumulator.sums.eq(ternary.sums), accumulator.row.eq(ternary.row)]
        m.d.comb += accumulator.next_row.eq(ternary.next_row.row)
        wiring.connect(m, integer.result, accumulator.write)
        wiring.connect(m, wiring.flipped(self.accumulator), accumulator.read)

        m.d.comb += [integer.predicates.eq(self.predicates), self.next_token.eq(integer.next_token)]
        wiring.connect(m, wiring.flipped(self.top), integer.top)
        wiring.connect(m, integer.scalar, wiring.flipped(self.scalar))
        wiring.connect(m, integer.logits, wiring.flipped(self.logits))

        m.d.comb += [
            self.lookups.eq(Mux(ternary.tape.take, ternary.tape.want, 0)),
            self.integer_products.eq(integer.products),
            self.active.eq(ternary.tape.take | integer.tape.take),
            self.holds_tape.eq(self.unit.command.valid | ternary.busy | integer.busy),
        ]
        return m
