"""Fetch engine: runs of memory into the tape FIFO, as far ahead of execution as the FIFO has room."""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi4 import ReadPort
from .burst import BurstSplitter, run_layout
from .lut_mux import choose
from .machine import MachineConfig
from .rotate import above, rotate


def word_layout(config: MachineConfig) -> data.StructLayout:
    """A word of the tape FIFO: a row of the tape, ``fifo_bytes`` of it, up to its byte ``end``.

    Byte i of the tape is byte i % ``fifo_bytes`` of its row. A row that is not full when its run ends is sent
    as it is, and again with more: what is past ``end`` means nothing.
    """
    return data.StructLayout({"data": 8 * config.fifo_bytes, "end": range(config.fifo_bytes + 1)})


class Fetch(wiring.Component):
    """AXI4 read manager with room reserved before each burst, so that RREADY is always 1.

    A burst occupies at most ceil(beats / 2) words of the FIFO, the last one of a run one more; they are
    reserved when its address is offered and given back as words are read, and the one that was not needed at
    its end. Nothing else limits how far the engine runs ahead (decoupled access/execute; Smith, ISCA 1982).

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    run : stream of `burst.run_layout`
        Runs of bytes, in tape order.
    read : ReadPort
        To memory.
    word : stream of `word_layout`
        The tape.
    idle : Out(1)
        No run is waiting or in flight, and the FIFO is empty.
    empty : Out(1)
        No byte is on its way from the data channel to `word`.
    error : Out(1)
        Pulse: memory answered a beat with an error response.
    beat, full, wait, free : Out(1)
        What the bus did in this cycle, exactly one of them: moved a beat; had none for lack of FIFO room;
        owed one; was asked for nothing.

    Latency: run to address 3 cycles; beat to word 3 cycles, 4 for what the last beat of a run has beyond half
    a word; what does not fill a word waits for more of its run.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "read": Out(ReadPort(config.bus_bytes)),
                "word": Out(stream.Signature(word_layout(config))),
                "idle": Out(1),
                "empty": Out(1),
                "error": Out(1),
                "beat": Out(1),
                "full": Out(1),
                "wait": Out(1),
                "free": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.splitter = splitter = BurstSplitter(config)
        wiring.connect(m, wiring.flipped(self.run), splitter.run)

        # Address channel: a burst is offered once its words are reserved and a place in `flight` is free.
        flight_layout = data.StructLayout({"last": 1, "last_bytes": range(config.bus_bytes + 1)})
        m.submodules.flight = flight = SyncFIFOBuffered(width=flight_layout.size, depth=config.outstanding)
        burst, free_words = splitter.burst, Signal(range(config.fifo_words + 1), init=config.fifo_words)
        words = Signal(range(config.burst_beats + 2))
        m.d.comb += words.eq(((burst.payload.len + 2) >> 1) + burst.payload.last)
        room, offered = Signal(), Signal()
        m.d.comb += room.eq(free_words >= words)
        accept, give = Signal(), Signal(range(4))
        # ARVALID must not fall before ARREADY: `offered` holds the decision, room having been taken already.
        m.d.comb += [
            accept.eq(burst.valid & room & flight.w_rdy & ~offered),
            self.read.ar.valid.eq(offered),
            burst.ready.eq(accept),
            flight.w_en.eq(accept),
            flight.w_data.eq(Cat(burst.payload.last, burst.payload.last_bytes)),
        ]
        with m.If(accept):
            m.d.sync += [
                self.read.ar.payload.addr.eq(burst.payload.address),
                self.read.ar.payload.len.eq(burst.payload.len),
                offered.eq(1),
            ]
        with m.Elif(self.read.ar.ready):
            m.d.sync += offered.eq(0)
        m.d.sync += free_words.eq(free_words - Mux(accept, words, 0) + give)

        # Data channel: beats turned round to where they belong in a half of a row, `at`; what is beyond it is
        # kept for the next half.
        beat = Signal()
        r = self.read.r.payload
        m.d.comb += [self.read.r.ready.eq(1), beat.eq(self.read.r.valid), self.error.eq(beat & (r.resp != 0))]
        tag = data.View(flight_layout, flight.r_data)
        m.d.comb += flight.r_en.eq(beat & r.last)
        bus = config.bus_bytes
        ends = Signal()
        at, total, ending = Signal(range(bus)), Signal(range(2 * bus)), Signal(range(2 * bus))
        upper, filled = Signal(), Signal()
        m.d.comb += [
            ends.eq(r.last & tag.last),
            # The beat comes late: both of its ends are computed beside it. A whole one fills what it begins.
            ending.eq(at + tag.last_bytes),
            total.eq(Mux(ends, ending, at + bus)),
            filled.eq(~ends | ending[-1]),
        ]
        lanes = [r.data.word_select(i, 8) for i in range(bus)]
        turned = rotate(m, lanes, at, "turned", left=True, choose=partial(choose, m, platform))
        kept = [Signal(8, name=f"kept{i}", reset_less=True) for i in range(bus)]
        joined = [Signal(8, name=f"joined{i}") for i in range(bus)]
        for i in range(bus):
            new = ~above(at, i)
            m.d.comb += joined[i].eq(Mux(beat & new, turned[i], kept[i]))
            with m.If(beat & (filled | new)):
                m.d.sync += kept[i].eq(turned[i])
        with m.If(beat):
            m.d.sync += [at.eq(total), upper.eq(upper ^ filled)]

        # A row is sent when it is full or its run ends: `late`, a cycle later, where that is beyond the half.
        word, push = Signal(word_layout(config)), Signal()
        sent, late = Signal(), Signal()
        beyond = ending[-1] & (ending[:-1] != 0)  #: the run's end is, in its last beat
        m.d.comb += sent.eq(beat & Mux(ends, upper | ~beyond, upper))
        m.d.sync += [late.eq(beat & ends & beyond), push.eq(sent | late)]
        with m.If(beat | late):
            end = Mux(beat, Mux(filled, 0, total[:-1]), at)
            m.d.sync += [
                word.data.word_select(upper, 8 * bus).eq(Cat(*joined)),
                word.end.eq(Cat(end, upper + (beat & filled))),
            ]

        # Words reserved for the burst so far, without those that it sends: `spare` before this beat, `unused`
        # with it. Two beats have one word, the end of a run one more; each is 0 or 1.
        odd, spare, unused = Signal(), Signal(), Signal()
        m.d.comb += unused.eq(Mux(ends, Mux(odd, spare, 1) ^ (upper & beyond), ~odd & ~upper))
        with m.If(beat):
            m.d.sync += [odd.eq(~odd & ~r.last), spare.eq(~odd & ~upper & ~r.last)]

        m.submodules.fifo = fifo = SyncFIFOBuffered(width=word_layout(config).size, depth=config.fifo_words)
        m.d.comb += [
            fifo.w_en.eq(push),
            fifo.w_data.eq(word.as_value()),
            self.word.payload.as_value().eq(fifo.r_data),
            self.word.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.word.ready),
        ]
        # What is late may go with what follows, as one word.
        read = self.word.valid & self.word.ready
        m.d.sync += give.eq(read + (beat & r.last & unused) + (late & sent))

        # What the bus did.
        owed, pushed = Signal(), Signal()
        # A word that entered the FIFO a cycle ago may not be at its output yet.
        m.d.sync += pushed.eq(push)
        m.d.comb += [
            owed.eq(offered | flight.r_rdy),
            self.beat.eq(beat),
            self.wait.eq(~beat & owed),
            self.full.eq(~beat & ~owed & burst.valid & ~room),
            self.free.eq(~beat & ~owed & ~(burst.valid & ~room)),
            self.empty.eq(~push & ~late & ~pushed & ~fifo.r_rdy),
            self.idle.eq(~self.run.valid & splitter.run.ready & ~burst.valid & ~owed & self.empty),
        ]  # fmt: skip
        return m
