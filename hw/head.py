"""The language-model head: int8 rows to logits to the next tokens."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .delay_line import delay
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .in_turn import InTurn
from .int8_engine import SUM_BITS, Int8Engine
from .isa import PREDICATES
from .machine import MachineConfig
from .ports import ScalarRead, TapePort, TopRead, command_layout, instruction_layout
from .top_k import TopK

__all__ = ["Head"]

_SCALE_BYTES = 4


class Head(wiring.Component):
    """Executes HEAD for the live tokens of a tile, which share each row's codes.

    A row takes k / ``head_lanes`` cycles for its codes and one for its scale. The sums of the live tokens go
    through one float pipeline, one after another: each is converted, multiplied by its token's scale and by
    the row's, each rounded once, compared with the largest so far and, if asked for, offered as a logit. So a
    row takes max(k / ``head_lanes`` + 1, live tokens) cycles.

    The first codes are taken 1 cycle after the command and one more for each live token; ``done`` comes
    ``latency`` cycles after the last scale was taken and one more for each live token beside the first. A
    logit that waits stops everything before it.

    Parameters
    ----------
    config : MachineConfig
        ``head_lanes`` products a cycle for each token; ``tile`` tokens; ``top_k`` largest logits are kept.

    Attributes
    ----------
    latency : int
        Enabled cycles from taking the last row's scale to ``done``, with one live token.

    Members
    -------
    command : In(stream of `command_layout`)
        A HEAD; accepted when the instruction before is done.
    predicates : In(16)
        Predicate bits; read with the command.
    read : Out(BlockRead(..., tile))
        Port of the activation buffer.
    scalar : Out(ScalarRead())
        Scales of the live tokens; read one by one in the cycles after the command.
    tape : Out(TapePort(config))
        Takes a unit of codes, a row scale, or nothing.
    logits : Out(stream of 32 bits)
        Logits of the live tokens, if predicate bit ``emit`` is 1: row by row, in a row token by token.
    next_token : Out(ArrayLayout(20, tile))
        For each token the largest logit's row in the last HEAD where it was live; of the rows so far while
        one is executed.
    top : In(TopRead())
        Largest logits of the last HEAD; while one is executed, they mean nothing.
    products : Out(0..tile * head_lanes)
        Products of live tokens begun in this cycle.
    busy, done : Out(1), Out(1)
        An instruction is executed; high for one cycle when it is finished.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.engine = Int8Engine(config.head_lanes, config.tile)
        self.top_k = TopK(config.top_k, config.tile)
        self.latency = self.engine.latency + Fp32FromInt.LATENCY + 2 * Fp32Mul.LATENCY + 2
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "predicates": In(PREDICATES),
            "read": Out(BlockRead(max(1, config.head_lanes // BLOCK), config.tile)),
            "scalar": Out(ScalarRead()),
            "tape": Out(TapePort(config)),
            "logits": Out(stream.Signature(32)),
            "next_token": Out(self.top_k.next_token.shape()),
            "top": In(TopRead()),
            "products": Out(range(config.tile * config.head_lanes + 1)),
            "busy": Out(1),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens = self.config.head_lanes, self.config.tile
        m.submodules.engine = engine = self.engine
        m.submodules.in_turn = in_turn = InTurn(signed(SUM_BITS), tokens)
        m.submodules.to_float = to_float = Fp32FromInt(SUM_BITS)
        m.submodules.by_token = by_token = Fp32Mul()
        m.submodules.by_row = by_row = Fp32Mul()
        m.submodules.top_k = top_k = self.top_k

        command = data.View(instruction_layout("HEAD"), self.command.p.word)
        instruction = Signal(instruction_layout("HEAD"))
        more = Signal(range(max(2, tokens)))
        emit = Signal()
        token_scales = Signal(data.ArrayLayout(32, tokens), reset_less=True)
        scaled = Signal.like(more)
        busy_turns = Signal.like(more)
        element = Signal(16)
        row = Signal.like(instruction.rows)
        en = Signal()

        # What a row takes: its codes, unit by unit, then its scale, when the row before is sent.
        take_codes = Signal()
        take_scale = Signal()
        last_row = Signal()
        next_element = Signal(16)
        m.d.comb += [
            self.busy.eq(1),
            self.scalar.index.eq(instruction.scale + scaled),
            next_element.eq(element),
            last_row.eq(row + 1 == instruction.rows),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.busy.eq(0), self.command.ready.eq(1), top_k.start.eq(self.command.valid)]
                m.d.comb += next_element.eq(command.q)
                with m.If(self.command.valid):
                    m.d.sync += [
                        instruction.eq(command),
                        more.eq(self.command.p.more),
                        emit.eq(self.predicates.bit_select(command.emit, 1)),
                        row.eq(0),
                        scaled.eq(0),
                    ]
                    m.next = "begin"
            with m.State("begin"):
                m.d.sync += [token_scales[scaled].eq(self.scalar.value), scaled.eq(scaled + 1)]
                with m.If(scaled == more):
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
                    take_scale.eq(en & (busy_turns == 0) & (self.tape.level >= _SCALE_BYTES)),
                    self.tape.starved.eq(en & (busy_turns == 0) & ~take_scale),
                    next_element.eq(instruction.q),
                ]
                with m.If(take_scale):
                    m.d.sync += row.eq(row + 1)
                    m.next = "codes"
                    with m.If(last_row):
                        m.next = "drain"
            with m.State("drain"), m.If(top_k.done):
                m.d.comb += self.done.eq(1)
                m.next = "idle"
        m.d.comb += [
            self.tape.take.eq(Mux(take_codes, lanes, Mux(take_scale, _SCALE_BYTES, 0))),
            self.products.eq(Mux(take_codes, (more + 1) * lanes, 0)),
        ]
        with m.If(en & (take_scale | (busy_turns != 0))):
            m.d.sync += busy_turns.eq(Mux(take_scale, more, busy_turns - 1))

        # The activations of the unit that is next, a cycle ahead. A small unit is a part of a block.
        m.d.sync += element.eq(next_element)
        m.d.comb += self.read.block.eq(next_element >> (BLOCK - 1).bit_length())
        part = element[: (BLOCK - 1).bit_length()][(lanes - 1).bit_length() :]
        m.d.comb += [
            engine.en.eq(en),
            engine.take.eq(take_codes),
            engine.codes.eq(self.tape.data[: 8 * lanes]),
            engine.last.eq(take_scale),
            *(
                engine.activations[t].eq(self.read.data[t].word_select(part, 8 * lanes))
                for t in range(tokens)
            ),
            in_turn.en.eq(en),
            in_turn.more.eq(more),
            in_turn.i_valid.eq(engine.valid),
            in_turn.i.eq(engine.sums),
        ]

        # The row scales of the sums under way: one comes every max(2, live) cycles, stays for live more.
        wait = engine.latency + Fp32FromInt.LATENCY + Fp32Mul.LATENCY
        depth = max((wait + live - 1) // max(2, live) + 1 for live in range(1, tokens + 1))
        m.submodules.scales = scales = SyncFIFO(width=32, depth=depth)
        m.d.comb += [scales.w_en.eq(take_scale), scales.w_data.eq(self.tape.data[:32])]

        # fl(fl(fl(sum) * scale of the token) * scale of the row)
        sent = Signal(data.StructLayout({"valid": 1, "token": len(more), "last": 1}))
        m.d.comb += [
            sent.valid.eq(in_turn.o_valid),
            sent.token.eq(in_turn.token),
            sent.last.eq(in_turn.last),
        ]
        converted = data.View(sent.shape(), delay(m, sent.as_value(), to_float.LATENCY, en))
        multiplied = data.View(sent.shape(), delay(m, converted.as_value(), by_token.LATENCY, en))
        logit = data.View(sent.shape(), delay(m, multiplied.as_value(), by_row.LATENCY, en))
        m.d.comb += [
            to_float.en.eq(en),
            to_float.i.eq(in_turn.o),
            by_token.en.eq(en),
            by_token.a.eq(to_float.o),
            by_token.b.eq(token_scales[converted.token]),
            by_row.en.eq(en),
            by_row.a.eq(by_token.o),
            by_row.b.eq(scales.r_data),
            scales.r_en.eq(en & multiplied.valid & multiplied.last),
            self.logits.valid.eq(logit.valid & emit),
            self.logits.payload.eq(by_row.o),
            en.eq(~self.logits.valid | self.logits.ready),
        ]

        finished = Signal.like(instruction.rows)
        m.d.comb += [
            top_k.valid.eq(logit.valid & en),
            top_k.value.eq(by_row.o),
            top_k.token.eq(logit.token),
            top_k.last.eq(logit.last & (finished + 1 == instruction.rows)),
            self.next_token.eq(top_k.next_token),
        ]
        wiring.connect(m, wiring.flipped(self.top), top_k.read)
        with m.If(top_k.valid & logit.last):
            m.d.sync += finished.eq(Mux(top_k.last, 0, finished + 1))
        return m
