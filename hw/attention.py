"""The attention unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .attention_core import AttentionCore
from .head_geometry import connect_geometry, head_geometry_layout, unit_bytes
from .isa import Feed, Pass
from .kv_row import RowReader
from .machine import MachineConfig
from .narrow_feed import NarrowFeed
from .ports import (
    ENTRY_BITS,
    POSITION_BITS,
    EntryRead,
    QueryWrite,
    StageRead,
    TapePort,
    UnitPort,
    attention_output_layout,
    instruction_layout,
)
from .stage_feed import StageFeed

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Executes ATTEND, one at a time: `RowReader` cuts rows, each `AttentionCore` takes those its tokens see.

    A run of rows is seen by the same tokens: from the tape the older rows of one sequence, by its tokens of
    the tile; from the stage the row of one token, by it and those that continue after it. Token t belongs to
    core t modulo their number. A part is taken when all cores that see it can; the others stand still.

    Cycles for a row that n tokens of a core see, if the tape has the bytes: (kv_heads * P - 1) * n * group +
    max(n * group, 1 + S), in VALUE 2 at least. P = head_size / attention_bytes, rounded up. S = kv_heads /
    ``scale_pairs``, rounded up (V: 0), and one for each ``unit_bytes`` of row padding. Between two runs lie 2
    cycles (tape) or 4 (stage). A stage of narrow words (`NarrowFeed`) brings ``stage_word`` bytes a cycle.

    An ATTEND costs beside that, from taking the command to ``done``: for each token after the first 1, and
    from the tape 2 (KEY) or at most 13 (VALUE: the first weights follow the KEY pass), from the stage at most
    28 (KEY) or 9 (VALUE), as the last of its pass. Only the last ATTEND of a pass waits for the pipelines,
    which keep order.

    The output follows ``done``: the first beat `OutputScale.latency` cycles later, then a beat of ``lanes``
    elements a cycle (where ``lanes`` is more than ``attention_bytes``, one each ``lanes / attention_bytes``
    cycles). Until the last has been sent, no command is taken.

    Program order must be that of the passes: KEY (``first`` on the first, ``last`` on the last), then VALUE
    (likewise), over the same tile, the same rows in the same order and with one geometry.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    unit : In(UnitPort)
        Commands.
    entries : Out(EntryRead())
        The token table.
    tape : Out(TapePort)
        Rows of older tokens.
    tape_free : In(1)
        All that was issued to the matmul unit before has taken its bytes; rows are not taken before. Once 1
        it stays so until ``done``; 1 where it is not connected.
    query : In(QueryWrite)
        Quantised queries and their scales.
    stage : Out(StageRead)
        Rows of the tokens of the tile.
    output : Out(stream of attention_output_layout)
        Sums and scales, to MAP.
    score_saturated : Out(range(tile + 1))
        Scores that saturated, in this cycle.
    products : Out(range(tile * attention_bytes * max_group + 1))
        Integer products of the part taken in this cycle: its elements * group for each token that sees it.
    active : Out(1)
        Part of a row (its scales and padding included) was taken in this cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "unit": In(UnitPort()),
                "entries": Out(EntryRead()),
                "tape": Out(TapePort(config)),
                "tape_free": In(1, init=1),  # pyright: ignore[reportCallIssue]
                "query": In(QueryWrite(config.lanes)),
                "stage": Out(StageRead(config.stage_word)),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "score_saturated": Out(range(config.tile + 1)),
                "products": Out(range(config.tile * config.attention_bytes * config.max_group + 1)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.rows = rows = RowReader(config)
        feed = NarrowFeed(config) if config.stage_word < config.attention_bytes else StageFeed(config)
        m.submodules.feed = feed
        count_cores = config.tile // config.core_tokens
        cores = [AttentionCore(config) for _ in range(count_cores)]
        for c, core in enumerate(cores):
            m.submodules[f"core_{c}"] = core

        # The command and what follows from it.
        layout = instruction_layout("ATTEND")
        command = Signal(layout)
        is_value = command.half == Pass.VALUE
        is_stage = command.feed == Feed.STAGE
        geometry = Signal(head_geometry_layout(config))
        connect_geometry(m, config, command, geometry)
        m.d.comb += rows.geometry.eq(geometry)

        # The tile: its entries, live tokens, which of them continue the one before.
        first = Signal(ENTRY_BITS)
        more = Signal(range(config.tile))
        token = Signal.like(more)
        live = Signal(config.tile)
        continues = Signal(config.tile)
        m.d.comb += live.eq(Cat(t <= more for t in range(config.tile)))

        # A run of rows begins with the one that `token` and those that continue it see.
        count = Signal(POSITION_BITS)
        reach, next_token, no_token = walk(m, token, live, continues, is_stage)
        following, ends = Signal.like(token), Signal()
        mask = Signal(config.tile, init=1)
        # Cores that see it; one core sees all.
        sees = [Const(1, 1)] if count_cores == 1 else [Signal(name=f"sees_{c}") for c in range(count_cores)]
        shares = Signal(range(config.tile * config.max_group + 1))

        start = Signal()
        finish = Signal()
        sending = Cat(core.sending for core in cores).any()
        under_way = Cat(core.busy for core in cores).any()
        given = self.unit.command.payload
        entry = self.entries.entry
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [
                    self.unit.command.ready.eq(~sending),
                    self.entries.index.eq(given.first),
                ]
                with m.If(self.unit.command.valid & ~sending):
                    m.d.sync += [
                        command.eq(given.word),
                        count.eq(Mux(layout(given.word).feed == Feed.STAGE, 1, entry.position)),
                        first.eq(given.first),
                        more.eq(given.more),
                        token.eq(0),
                        continues.eq(0),
                    ]
                    m.next = "start"
                    if config.tile > 1:
                        with m.If(given.more != 0):
                            m.d.sync += token.eq(1)
                            m.next = "learn"
            if config.tile > 1:
                with m.State("learn"):
                    m.d.comb += self.entries.index.eq(first + token)
                    m.d.sync += [
                        continues.eq(continues | (entry.continues << token)),
                        token.eq(token + 1),
                    ]
                    with m.If(token == more):
                        m.d.sync += token.eq(0)
                        m.next = "start"
            with m.State("start"):
                m.d.comb += start.eq(is_stage | self.tape_free)
                m.d.sync += [
                    mask.eq(reach),
                    following.eq(next_token),
                    ends.eq(no_token),
                    shares.eq(sum(reach[1:], reach[0]) * geometry.group),
                ]
                if count_cores > 1:
                    m.d.sync += [sees[c].eq(reach[c::count_cores].any()) for c in range(count_cores)]
                with m.If(start):
                    m.next = "run"
            with m.State("run"):
                m.d.comb += self.entries.index.eq(first + following)
                with m.If(~rows.busy):
                    with m.If(~ends):
                        m.d.sync += [
                            token.eq(following),
                            count.eq(Mux(is_stage, 1, entry.position)),
                        ]
                        m.next = "start"
                    # The pipelines keep order, so only the end of a pass waits for them.
                    with m.Elif(~(command.last & under_way)):
                        m.d.comb += finish.eq(1)
                        m.next = "idle"
        m.d.comb += self.unit.done.eq(finish)

        # Rows from the tape or the stage.
        connect(m, flipped(self.stage), feed.stage)
        m.d.comb += [
            feed.start.eq(start & is_stage),
            feed.token.eq(token),
            feed.value.eq(is_value),
            rows.start.eq(start),
            rows.value.eq(is_value),
            rows.padded.eq(~is_stage),
            rows.count.eq(count),
            self.active.eq(rows.tape.take),
        ]
        with m.If(is_stage):
            connect_tape(m, rows, feed.tape)
        with m.Else():
            connect_tape(m, rows, self.tape)
        can = (
            [core.part_ready | ~sees[c] for c, core in enumerate(cores)]
            if count_cores > 1
            else [cores[0].part_ready]
        )
        m.d.comb += rows.part.ready.eq(Cat(can).all())
        with m.If(rows.part.valid & rows.part.ready):
            # Added up by look-up tables: a multiplier would be too slow for what follows.
            unit_bits = unit_bytes(config).bit_length() - 1
            units = rows.size[unit_bits:]
            terms = [Mux(bit, shares << i, 0) for i, bit in enumerate(units)]
            m.d.comb += self.products.eq(sum(terms[1:], terms[0]) << unit_bits)

        # The cores.
        m.d.comb += self.score_saturated.eq(sum(core.score_saturated for core in cores))
        core_bits = count_cores.bit_length() - 1
        for c, core in enumerate(cores):
            mine, alive = mask[c::count_cores], live[c::count_cores]
            connect_query(m, self.query, core, c, core_bits)
            m.d.comb += [
                core.geometry.eq(geometry),
                core.value.eq(is_value),
                core.begin.eq(start & command.first & (token == 0) & alive[0]),
                core.finish.eq(finish & command.last & alive[0]),
                core.last_slot.eq((more - c) >> core_bits),
                core.part_en.eq(Cat(rows.part.valid, sees[c], can[:c], can[c + 1 :]).all()),
                core.tokens.eq(mine),
                core.part.eq(rows.part.payload),
            ]
        # Those that send begin together, with the first token, and take turns.
        turn = Signal(range(count_cores))
        with m.If(finish):
            m.d.sync += turn.eq(0)
        with m.Switch(turn):
            for c, core in enumerate(cores):
                with m.Case(c):
                    m.d.comb += [
                        self.output.valid.eq(core.output.valid),
                        self.output.payload.eq(core.output.payload),
                        core.output.ready.eq(self.output.ready),
                    ]
                    with m.If(core.output.valid & self.output.ready & core.token_end):
                        m.d.sync += turn.eq((c + 1) % count_cores)
        return m


def walk(m: Module, token: Value, live: Value, continues: Value, each: Value) -> tuple[Value, Signal, Signal]:
    """The tokens that see what begins with ``token``, the token after it that begins the next, or none.

    ``each``: each live token begins something (a row of the stage), else each that does not continue the one
    before (the older rows of a sequence).
    """
    seen: list[Value] = []
    following = Signal.like(token)
    ends = Signal()
    m.d.comb += ends.eq(1)
    for t in range(len(live)):
        seen.append((token == t) | (seen[-1] & continues[t] if t else 0))
    for t in reversed(range(1, len(live))):
        with m.If((token < t) & live[t] & (each | ~continues[t])):
            m.d.comb += [following.eq(t), ends.eq(0)]
    return Cat(seen), following, ends


def connect_query(
    m: Module, writer: wiring.PureInterface, core: AttentionCore, number: int, core_bits: int
) -> None:
    """Pass what is written of the tokens of a core to it."""
    query = core.query
    for name in ("token", "address", "data", "scale_token", "scale_head", "scale"):
        m.d.comb += getattr(query, name).eq(getattr(writer, name))
    m.d.comb += [
        query.en.eq(writer.en & (writer.token[:core_bits] == number)),
        query.scale_en.eq(writer.scale_en & (writer.scale_token[:core_bits] == number)),
        core.query_slot.eq(Mux(writer.scale_en, writer.scale_token, writer.token) >> core_bits),
    ]


def connect_tape(m: Module, rows: RowReader, tape: wiring.PureInterface) -> None:
    """Let ``rows`` read from ``tape``, in the present condition only. A take follows from this tape's own
    ``enough``."""
    consumer = rows.tape
    m.d.comb += [
        tape.want.eq(consumer.want),
        consumer.data.eq(tape.data),
        consumer.enough.eq(tape.enough),
        tape.take.eq(rows.asks & tape.enough),
        tape.starved.eq(consumer.starved),
    ]
