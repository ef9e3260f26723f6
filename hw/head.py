"""The language-model head: int8 rows to logits to the next token."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .argmax import Argmax
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .int8_engine import SUM_BITS, Int8Engine
from .isa import PREDICATES
from .machine import MachineConfig
from .ports import ScalarRead, TapePort, instruction_layout

__all__ = ["Head"]

_SCALE_BYTES = 4


class Head(wiring.Component):
    """Executes HEAD.

    A row takes k / ``head_lanes`` cycles for its codes and one for its scale. Its sum is converted,
    multiplied by the token's scale and by the row's, each rounded once, compared with the largest so far and,
    if asked for, offered as a logit. The first codes are taken 2 cycles after the command; ``done`` comes
    ``latency`` cycles after the last scale was taken. A logit that waits stops everything before it.

    Parameters
    ----------
    config : MachineConfig
        ``head_lanes`` products a cycle.

    Attributes
    ----------
    latency : int
        Enabled cycles from taking the last row's scale to ``done``.

    Members
    -------
    command : In(stream of HEAD instructions)
        Accepted when the instruction before is done.
    predicates : In(16)
        Predicate bits; read with the command.
    read : Out(BlockRead(...))
        Port of the activation buffer.
    scalar : Out(ScalarRead())
        Scale of the token; read in the cycle after the command.
    tape : Out(TapePort(config))
        Takes a unit of codes, a row scale, or nothing.
    logits : Out(stream of 32 bits)
        Logits in row order, if predicate bit ``emit`` is 1.
    next_token : Out(20)
        Argmax of the last HEAD; of the rows so far while one is executed.
    products : Out(0..head_lanes)
        Products begun in this cycle.
    busy, done : Out(1), Out(1)
        An instruction is executed; high for one cycle when it is finished.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.engine = Int8Engine(config.head_lanes)
        self.argmax = Argmax()
        self.latency = self.engine.latency + Fp32FromInt.LATENCY + 2 * Fp32Mul.LATENCY + 2
        super().__init__({
            "command": In(stream.Signature(instruction_layout("HEAD"))),
            "predicates": In(PREDICATES),
            "read": Out(BlockRead(max(1, config.head_lanes // BLOCK))),
            "scalar": Out(ScalarRead()),
            "tape": Out(TapePort(config)),
            "logits": Out(stream.Signature(32)),
            "next_token": Out(self.argmax.index.shape()),
            "products": Out(range(config.head_lanes + 1)),
            "busy": Out(1),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.head_lanes
        m.submodules.engine = engine = self.engine
        m.submodules.to_float = to_float = Fp32FromInt(SUM_BITS)
        m.submodules.by_token = by_token = Fp32Mul()
        m.submodules.by_row = by_row = Fp32Mul()
        m.submodules.argmax = argmax = self.argmax

        instruction = Signal.like(self.command.payload)
        emit = Signal()
        token_scale = Signal(32, reset_less=True)
        element = Signal(16)
        row = Signal.like(instruction.rows)
        en = Signal()

        # What a row takes: its codes, unit by unit, then its scale.
        take_codes = Signal()
        take_scale = Signal()
        last_row = Signal()
        next_element = Signal(16)
        m.d.comb += [
            self.busy.eq(1),
            self.scalar.index.eq(instruction.scale),
            next_element.eq(element),
            last_row.eq(row + 1 == instruction.rows),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.busy.eq(0), self.command.ready.eq(1), argmax.start.eq(self.command.valid)]
                m.d.comb += next_element.eq(self.command.payload.q)
                with m.If(self.command.valid):
                    m.d.sync += [
                        instruction.eq(self.command.payload),
                        emit.eq(self.predicates.bit_select(self.command.payload.emit, 1)),
                        row.eq(0),
                    ]
                    m.next = "begin"
            with m.State("begin"):
                m.d.sync += token_scale.eq(self.scalar.value)
                m.next = "codes"
            with m.State("codes"):
                m.d.comb += [
                    take_codes.eq(en & (self.tape.level >= lanes)),
                    self.tape.starved.eq(en & ~take_codes),
                ]
                with m.If(take_codes):
                    m.d.comb += next_element.eq(element + lanes)
                    with m.If(next_element == (instruction.q + instruction.k)[:16]):
                        m.next = "scale"
            with m.State("scale"):
                m.d.comb += [
                    take_scale.eq(en & (self.tape.level >= _SCALE_BYTES)),
                    self.tape.starved.eq(en & ~take_scale),
                    next_element.eq(instruction.q),
                ]
                with m.If(take_scale):
                    m.d.sync += row.eq(row + 1)
                    m.next = "codes"
                    with m.If(last_row):
                        m.next = "drain"
            with m.State("drain"), m.If(argmax.done):
                m.d.comb += self.done.eq(1)
                m.next = "idle"
        m.d.comb += [
            self.tape.take.eq(Mux(take_codes, lanes, Mux(take_scale, _SCALE_BYTES, 0))),
            self.products.eq(Mux(take_codes, lanes, 0)),
        ]

        # The activations of the unit that is next, a cycle ahead. A small unit is a part of a block.
        m.d.sync += element.eq(next_element)
        m.d.comb += self.read.block.eq(next_element >> (BLOCK - 1).bit_length())
        part = element[: (BLOCK - 1).bit_length()][(lanes - 1).bit_length() :]
        m.d.comb += [
            engine.en.eq(en),
            engine.take.eq(take_codes),
            engine.codes.eq(self.tape.data[: 8 * lanes]),
            engine.activations.eq(self.read.data.word_select(part, 8 * lanes)),
            engine.last.eq(take_scale),
        ]

        # The row scales of the sums under way; a row takes two cycles or more.
        wait = engine.latency + Fp32FromInt.LATENCY + Fp32Mul.LATENCY
        m.submodules.scales = scales = SyncFIFO(width=32, depth=wait // 2 + 1)
        m.d.comb += [scales.w_en.eq(take_scale), scales.w_data.eq(self.tape.data[:32])]

        # fl(fl(fl(sum) * scale of the token) * scale of the row)
        logit_valid = Signal()
        valid = engine.valid
        for name, stage in (("float", to_float), ("token", by_token), ("row", by_row)):
            if stage is by_row:
                m.d.comb += scales.r_en.eq(valid & en)
            moving = Signal(stage.LATENCY, name=f"moving_{name}")
            with m.If(en):
                m.d.sync += moving.eq(Cat(valid, moving))
            m.d.comb += stage.en.eq(en)
            valid = moving[-1]
        m.d.comb += [
            to_float.i.eq(engine.sum),
            by_token.a.eq(to_float.o),
            by_token.b.eq(token_scale),
            by_row.a.eq(by_token.o),
            by_row.b.eq(scales.r_data),
            logit_valid.eq(valid),
            self.logits.valid.eq(logit_valid & emit),
            self.logits.payload.eq(by_row.o),
            en.eq(~self.logits.valid | self.logits.ready),
        ]

        finished = Signal.like(instruction.rows)
        m.d.comb += [
            argmax.valid.eq(logit_valid & en),
            argmax.value.eq(by_row.o),
            argmax.last.eq(finished + 1 == instruction.rows),
            self.next_token.eq(argmax.index),
        ]
        with m.If(argmax.valid):
            m.d.sync += finished.eq(Mux(argmax.last, 0, finished + 1))
        return m
