"""Steps: the token loop on the fabric. One doorbell runs the program up to STEPS times."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .isa import MANY_TILES, PREDICATES, STOP_TOKENS
from .machine import MachineConfig
from .ports import ENTRY_BITS, TOKEN_BITS, TOKEN_ID_BITS, EntryRead, EntryWrite

__all__ = ["STEP_BITS", "Steps", "stop_layout"]

STEP_BITS = 20


def stop_layout() -> data.StructLayout:
    """A stop token and whether it is in use."""
    return data.StructLayout({"token": TOKEN_ID_BITS, "used": 1})


class Steps(wiring.Component):
    """Starts the sequencer, logs what each step found, puts it into the token table and starts again.

    A step after the first begins `n + 1` cycles after the one before has finished, n its tokens (of a batch),
    or 1. The loop ends after `steps` steps, when every sequence has met a stop token, or after an error.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    start : In(1)
        Doorbell; ignored while running.
    running : Out(1)
    finished : Out(1)
        Pulse at the end.
    tokens, tile, steps, batch, stops : In
        Registers of those names, stable while running.
    wanted : In(PREDICATES)
        Predicate register.
    failed : In(1)
        An error was met since the doorbell.
    begin : Out(1)
        Pulse: run the program.
    ended : In(1)
        Pulse: it has run.
    chunk : Out(9)
        Tokens of the present chunk.
    predicates : Out(PREDICATES)
        With the bits that are the machine's.
    more : In(TOKEN_BITS)
        Tokens of the last tile beside its first.
    next_token : In(20) array of `config.tile`
        What HEAD found for each token of the tile.
    entries, write : Out(EntryRead()), Out(EntryWrite())
        The token table.
    generated : Out(STEP_BITS)
        Steps finished since the doorbell.
    log_index, log_token : In(32), Out(20)
        Output log, modulo `max_context`: the token one cycle after the index.
    step, step_tokens : Out(1), Out(9)
        Pulse: a step is finished; tokens it ran.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "running": Out(1),
                "finished": Out(1),
                "tokens": In(ENTRY_BITS + 1),
                "tile": In(TOKEN_BITS + 1),
                "steps": In(STEP_BITS),
                "batch": In(1),
                "stops": In(data.ArrayLayout(stop_layout(), STOP_TOKENS)),
                "wanted": In(PREDICATES),
                "failed": In(1),
                "begin": Out(1),
                "ended": In(1),
                "chunk": Out(ENTRY_BITS + 1),
                "predicates": Out(PREDICATES),
                "more": In(TOKEN_BITS),
                "next_token": In(data.ArrayLayout(TOKEN_ID_BITS, config.tile)),
                "entries": Out(EntryRead()),
                "write": Out(EntryWrite()),
                "generated": Out(STEP_BITS),
                "log_index": In(32),
                "log_token": Out(TOKEN_ID_BITS),
                "step": Out(1),
                "step_tokens": Out(ENTRY_BITS + 1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.log = log = Memory(shape=TOKEN_ID_BITS, depth=config.max_context, init=[])
        write, read = log.write_port(), log.read_port()
        m.d.comb += [read.addr.eq(self.log_index), self.log_token.eq(read.data)]

        many = Signal()  #: chunk > tile
        machine_bits = 1 | 1 << MANY_TILES
        m.d.comb += self.predicates.eq(
            (self.wanted & Const(~machine_bits, PREDICATES)) | Cat(Const(1, MANY_TILES), many)
        )

        # After a step, token by token: what was found goes to the log and is an entry of the next chunk.
        # Token, entry and what was found are in registers when COLLECT begins, and so is all that a decision
        # needs but `stop`.
        token, found = Signal(TOKEN_BITS), Signal(TOKEN_ID_BITS)
        entry = Signal(ENTRY_BITS)
        place = Signal(range(config.max_context))
        stopped = Signal(config.tile)
        last, final, stop = Signal(), Signal(), Signal()
        all_before, stopped_now = Signal(), Signal()
        following, which = Signal(TOKEN_BITS), Signal(TOKEN_BITS)
        m.d.comb += [
            which.eq(Mux(self.batch, following, self.more)),
            last.eq(~self.batch | (token == self.more)),
            stop.eq(Cat(one.used & (one.token == found) for one in self.stops).any()),
            stopped_now.eq((stopped.bit_select(token, 1) if config.tile > 1 else stopped) | stop),
            self.entries.index.eq(entry),
            self.write.index.eq(token),
            self.write.entry.token.eq(found),
            self.write.entry.position.eq(self.entries.entry.position + 1),
            self.write.entry.base.eq(self.entries.entry.base),
            self.write.entry.continues.eq(0),
            write.addr.eq(place),
            write.data.eq(found),
            self.step_tokens.eq(self.chunk),
        ]
        m.d.sync += [
            found.eq(self.next_token[which] if config.tile > 1 else self.next_token[0]),
            final.eq(self.generated + 1 == self.steps),  # `generated` is older than the end of a step
        ]
        m.d.comb += self.running.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.running.eq(0)
                with m.If(self.start):
                    m.d.sync += [
                        self.chunk.eq(self.tokens), many.eq(self.tokens > self.tile),
                        self.generated.eq(0), place.eq(0), stopped.eq(0),
                    ]  # fmt: skip
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += self.begin.eq(1)
                m.d.sync += token.eq(0)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [entry.eq(Mux(self.batch, 0, self.chunk - 1)), all_before.eq(1)]
                with m.If(self.ended):
                    m.d.comb += self.step.eq(1)
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += [write.en.eq(1), self.write.en.eq(1), following.eq(token + 1)]
                m.d.sync += [
                    place.eq(place + 1),
                    token.eq(following),
                    entry.eq(following),
                    stopped.eq(stopped | (stop << token)),
                    all_before.eq(all_before & stopped_now),
                ]
                with m.If(last):
                    m.d.sync += self.generated.eq(self.generated + 1)
                    m.next = "BEGIN"
                    with m.If(final | self.failed | (all_before & stopped_now)):
                        m.d.comb += self.finished.eq(1)
                        m.next = "IDLE"
                    with m.Elif(~self.batch):
                        m.d.sync += [self.chunk.eq(1), many.eq(0)]
        return m
