"""Fetch engine: runs of memory into the tape FIFO, as far ahead of execution as the FIFO has room."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi4 import ReadPort
from .burst import BurstSplitter, run_layout
from .machine import MachineConfig


def word_layout(config: MachineConfig) -> data.StructLayout:
    """A word of the tape FIFO: two beats' bytes (those past `count` are 0) and how many of them are tape."""
    return data.StructLayout({"data": 8 * config.fifo_bytes, "count": range(config.fifo_bytes + 1)})


class Fetch(wiring.Component):
    """AXI4 read manager with room reserved before each burst, so that RREADY is always 1.

    A burst occupies ceil(beats / 2) words of the FIFO; they are reserved when its address is offered and
    given back as words are read. Nothing else limits how far the engine runs ahead (decoupled access/execute;
    Smith, ISCA 1982).

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

    Latency: run to address 3 cycles; beat to word 2 cycles (3 for the first beat of a pair).
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
        words = Signal(range(config.burst_beats + 1))
        m.d.comb += words.eq((burst.payload.len + 2) >> 1)
        room, offered = Signal(), Signal()
        m.d.comb += room.eq(free_words >= words)
        accept, give = Signal(), Signal()
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

        # Data channel: beats in pairs, a pair cut short at the end of a burst.
        beat = Signal()
        r = self.read.r.payload
        m.d.comb += [self.read.r.ready.eq(1), beat.eq(self.read.r.valid), self.error.eq(beat & (r.resp != 0))]
        tag = data.View(flight_layout, flight.r_data)
        ends = Signal()
        live = Signal(range(config.bus_bytes + 1))
        m.d.comb += [ends.eq(r.last & tag.last), live.eq(Mux(ends, tag.last_bytes, config.bus_bytes))]
        m.d.comb += flight.r_en.eq(beat & r.last)
        masked = Signal(8 * config.bus_bytes)
        m.d.comb += masked.eq(r.data)
        with m.If(ends):
            kept = (Mux(tag.last_bytes > i, r.data.word_select(i, 8), 0) for i in range(config.bus_bytes))
            m.d.comb += masked.eq(Cat(*kept))

        half, half_full, half_count = (
            Signal(8 * config.bus_bytes),
            Signal(),
            Signal(range(config.bus_bytes + 1)),
        )
        word = Signal(word_layout(config))
        push = Signal()
        m.d.sync += push.eq(0)
        with m.If(beat):
            with m.If(half_full | r.last):
                m.d.sync += [
                    push.eq(1),
                    word.data.eq(Mux(half_full, Cat(half, masked), masked)),
                    word.count.eq(Mux(half_full, half_count + live, live)),
                    half_full.eq(0),
                ]
            with m.Else():
                m.d.sync += [half.eq(masked), half_count.eq(live), half_full.eq(1)]

        m.submodules.fifo = fifo = SyncFIFOBuffered(width=word_layout(config).size, depth=config.fifo_words)
        m.d.comb += [
            fifo.w_en.eq(push),
            fifo.w_data.eq(word.as_value()),
            self.word.payload.as_value().eq(fifo.r_data),
            self.word.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.word.ready),
            give.eq(self.word.valid & self.word.ready),
        ]

        # What the bus did.
        owed = Signal()
        m.d.comb += [
            owed.eq(offered | flight.r_rdy),
            self.beat.eq(beat),
            self.wait.eq(~beat & owed),
            self.full.eq(~beat & ~owed & burst.valid & ~room),
            self.free.eq(~beat & ~owed & ~(burst.valid & ~room)),
            self.empty.eq(~push & (fifo.level == 0)),
            self.idle.eq(
                ~self.run.valid & splitter.run.ready & ~burst.valid & ~owed & (flight.level == 0) & self.empty
            ),
        ]  # fmt: skip
        return m
