"""LINEAR and HEAD: pairs of integer rows to results, or to logits and the next tokens."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .accumulator import ResultWrite
from .activation_buffer import BLOCK, BlockRead
from .delay_line import delay
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .in_turn import InTurn
from .integer_engine import ROWS, SUM_BITS, IntegerEngine
from .integer_tape import IntegerTape
from .isa import BY_NAME, PREDICATES
from .machine import MachineConfig
from .ports import ScalarRead, TapePort, TopRead, command_layout, header_layout, instruction_layout
from .top_k import TopK

__all__ = ["IntegerLinear"]


class IntegerLinear(wiring.Component):
    """Executes LINEAR and HEAD for the live tokens of a tile, which share each pair of rows' codes.

    A pair takes a cycle for each unit of ``head_lanes`` bytes, one for each group's scales and one for its
    row scales. Its sums go through one float pipeline, one after another, row by row and in a row token by
    token: each is converted, multiplied by its token's scale and by the row's, each rounded once. LINEAR
    writes it to the partial sums; HEAD compares it with the largest so far and, if asked to, offers it as a
    logit. So a pair takes two cycles for each live token at least. A filler row yields nothing.

    The first codes are taken 1 cycle after the command and one more for each live token. With one live token
    and one row, ``done`` comes `latency` cycles after the last row scales of a LINEAR were taken, two more in
    a HEAD; another one for each other live token and for each of an odd row. A logit that waits stops
    everything behind it, from the next cycle on.

    Parameters
    ----------
    config : MachineConfig
        ``head_lanes`` bytes of codes a cycle; ``tile`` tokens; ``top_k`` largest logits are kept.

    Attributes
    ----------
    latency : int
        Enabled cycles from taking the last row scales to the first of their results.

    Members
    -------
    command : In(stream of `command_layout`)
        A LINEAR or HEAD; accepted when the instruction before is done.
    predicates : In(16)
        Predicate bits; read with the command.
    read : Out(BlockRead(..., tile, activation_bits))
        Port of the activation buffer.
    scalar : Out(ScalarRead())
        Scales of the live tokens; read one by one in the cycles after the command.
    tape : Out(TapePort(config))
        Takes a unit of codes, scales, or nothing.
    result : Out(ResultWrite())
        Results of LINEAR.
    logits : Out(stream of 32 bits)
        Logits of the live tokens, if predicate bit ``emit`` is 1: row by row, in a row token by token.
    next_token : Out(ArrayLayout(20, tile))
        For each token the largest logit's row in the last HEAD where it was live; of the rows so far while
        one is executed.
    top : In(TopRead())
        Largest logits of the last HEAD; while one is executed, they mean nothing.
    products : Out(0..2 * tile * head_lanes)
        Products of live tokens begun in this cycle, those of filled up units and rows included.
    busy, done : Out(1), Out(1)
        An instruction is executed; high for one cycle when it is finished.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.engine = IntegerEngine(config)
        self.top_k = TopK(config.top_k, config.tile, config.family)
        self.latency = self.engine.latency + Fp32FromInt.LATENCY + 2 * config.multiply_cycles
        super().__init__({
            "command": In(stream.Signature(command_layout())),
            "predicates": In(PREDICATES),
            "read": Out(BlockRead(max(1, config.head_lanes // BLOCK), config.tile, config.activation_bits)),
            "scalar": Out(ScalarRead()),
            "tape": Out(TapePort(config)),
            "result": Out(ResultWrite()),
            "logits": Out(stream.Signature(32)),
            "next_token": Out(self.top_k.next_token.shape()),
            "top": In(TopRead()),
            "products": Out(range(config.tile * ROWS * config.head_lanes + 1)),
            "busy": Out(1),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens = self.config.head_lanes, self.config.tile
        m.submodules.parts = parts = IntegerTape(self.config)
        m.submodules.engine = engine = self.engine
        m.submodules.in_turn = in_turn = InTurn(signed(SUM_BITS), tokens, ROWS)
        m.submodules.to_float = to_float = Fp32FromInt(SUM_BITS)
        m.submodules.by_token = by_token = Fp32Mul(self.config.multiply_cycles)
        m.submodules.by_row = by_row = Fp32Mul(self.config.multiply_cycles)
        m.submodules.top_k = top_k = self.top_k

        command = data.View(instruction_layout("LINEAR"), self.command.p.word)
        opcode = data.View(header_layout(), self.command.p.word).opcode
        emitted = self.predicates.bit_select(
            data.View(instruction_layout("HEAD"), self.command.p.word).emit, 1
        )
        rows = Signal.like(command.rows)
        scale = Signal.like(command.scale)
        acc = Signal.like(command.acc)
        more = Signal(range(max(2, tokens)))
        is_head, emit = Signal(), Signal()
        token_scales = Signal(data.ArrayLayout(32, tokens), reset_less=True)
        scaled = Signal.like(more)
        finished, ranked = Signal(), Signal()
        en = Signal()

        m.d.comb += [
            self.busy.eq(1),
            self.scalar.index.eq(scale + scaled),
            parts.en.eq(en),
            parts.instruction.eq(command),
        ]
        with m.FSM():
            with m.State("idle"):
                is_new_head = opcode == BY_NAME["HEAD"].opcode
                m.d.comb += [
                    self.busy.eq(0),
                    self.command.ready.eq(1),
                    parts.start.eq(self.command.valid),
                    top_k.start.eq(self.command.valid & is_new_head),
                ]
                with m.If(self.command.valid):
                    m.d.sync += [
                        rows.eq(command.rows),
                        scale.eq(command.scale),
                        acc.eq(command.acc),
                        more.eq(self.command.p.more),
                        is_head.eq(is_new_head),
                        emit.eq(is_new_head & emitted),
                        scaled.eq(0),
                    ]
                    m.next = "begin"
            with m.State("begin"):
                m.d.sync += [token_scales[scaled].eq(self.scalar.value), scaled.eq(scaled + 1)]
                with m.If(scaled == more):
                    m.next = "rows"
            with m.State("rows"):
                m.d.comb += parts.run.eq(1)
                with m.If(parts.final & parts.last):
                    m.next = "drain"
            with m.State("drain"):
                m.d.sync += ranked.eq(ranked | top_k.done)
                with m.If(Mux(is_head, en & (top_k.done | ranked), finished)):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += ranked.eq(0)
                    m.next = "idle"

        # A pair's row scales are taken when the sums of the one before have been sent or the last one is.
        turns = Signal(range(ROWS * tokens))
        m.d.comb += [
            parts.free.eq(turns == 0),
            self.products.eq(
                Mux(parts.take, Mux(parts.narrow, (more + 1) * ROWS * lanes, (more + 1) * lanes), 0)
            ),
        ]
        with m.If(en & (parts.final | (turns != 0))):
            m.d.sync += turns.eq(Mux(parts.final, Mux(parts.single, more, (more << 1) + 1), turns - 1))

        wiring.connect(m, wiring.flipped(self.tape), parts.tape)
        wiring.connect(m, wiring.flipped(self.read), parts.read)
        m.d.comb += [
            engine.en.eq(en),
            engine.take.eq(parts.take),
            engine.narrow.eq(parts.narrow),
            engine.codes.eq(self.tape.data[: 8 * lanes]),
            engine.live.eq(parts.live),
            engine.activations.eq(parts.activations),
            engine.live_tokens.eq(Cat(more >= t for t in range(tokens))),
            engine.end.eq(parts.end),
            engine.factors.eq(parts.factors),
            engine.final.eq(parts.final),
            engine.begins.eq(parts.may),
            in_turn.en.eq(en),
            in_turn.more.eq(more),
            in_turn.i_valid.eq(engine.valid),
            in_turn.i.eq(engine.sums),
        ]

        # The row scales of the sums under way: those of a pair stay until its last sum is multiplied.
        wait = engine.latency + Fp32FromInt.LATENCY + by_token.latency
        depth = max((wait + ROWS * live - 1) // (ROWS * live) + 1 for live in range(1, tokens + 1))
        m.submodules.scales = scales = SyncFIFO(width=2 * 32, depth=depth)
        m.d.comb += [scales.w_en.eq(parts.final), scales.w_data.eq(parts.row_scales)]

        # fl(fl(fl(sum) * scale of the token) * scale of the row)
        rows_left = Signal.like(rows)
        sent = Signal(data.StructLayout({"valid": 1, "token": len(more), "row": 1, "last": 1, "final": 1}))
        m.d.comb += [
            in_turn.single.eq(rows_left == 1),
            sent.valid.eq(in_turn.o_valid),
            sent.token.eq(in_turn.token),
            sent.row.eq(in_turn.row),
            sent.last.eq(in_turn.last),
            sent.final.eq(in_turn.final),
        ]
        with m.If(self.command.ready):
            m.d.sync += rows_left.eq(command.rows)
        with m.Elif(en & in_turn.o_valid & in_turn.last):
            m.d.sync += rows_left.eq(rows_left - 1)
        converted = data.View(sent.shape(), delay(m, sent.as_value(), to_float.LATENCY, en))
        multiplied = data.View(sent.shape(), delay(m, converted.as_value(), by_token.latency, en))
        result = data.View(sent.shape(), delay(m, multiplied.as_value(), by_row.latency, en))
        m.d.comb += [
            to_float.en.eq(en),
            to_float.i.eq(in_turn.o),
            by_token.en.eq(en),
            by_token.a.eq(to_float.o),
            by_token.b.eq(token_scales[converted.token]),
            by_row.en.eq(en),
            by_row.a.eq(by_token.o),
            by_row.b.eq(scales.r_data.word_select(multiplied.row, 32)),
            scales.r_en.eq(en & multiplied.valid & multiplied.final),
        ]
        # A logit that is not taken at once waits aside, and what follows it in the pipeline.
        waits, waiting = Signal(), Signal(32, reset_less=True)
        offered = result.valid & emit
        m.d.comb += [
            self.logits.valid.eq(waits | offered),
            self.logits.payload.eq(Mux(waits, waiting, by_row.o)),
            en.eq(~waits),
        ]
        m.d.sync += waits.eq(self.logits.valid & ~self.logits.ready)
        with m.If(~waits):
            m.d.sync += waiting.eq(by_row.o)

        row, last_row = Signal.like(rows), Signal()
        m.d.comb += [
            finished.eq(result.valid & result.last & last_row),
            self.result.en.eq(result.valid & ~is_head),
            self.result.token.eq(result.token),
            self.result.row.eq(acc + row),
            self.result.data.eq(by_row.o),
            top_k.valid.eq(result.valid & en & is_head),
            top_k.value.eq(by_row.o),
            top_k.token.eq(result.token),
            top_k.last.eq(finished),
            self.next_token.eq(top_k.next_token),
        ]
        wiring.connect(m, wiring.flipped(self.top), top_k.read)
        with m.If(en & result.valid & result.last):
            m.d.sync += [row.eq(Mux(last_row, 0, row + 1)), last_row.eq(row + 2 == rows)]
        with m.If(self.command.ready):
            m.d.sync += last_row.eq(command.rows == 1)
        return m
