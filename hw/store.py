"""The store unit: staged K/V rows, activations and logits to memory, as AXI4 write bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi4 import WritePort
from .burst import BurstSplitter
from .isa import Payload
from .machine import MachineConfig
from .ports import ActivationRead, EntryRead, StageRead, UnitPort, instruction_layout
from .store_runs import StoreRuns


class Store(wiring.Component):
    """Executes STORE: one payload at a time, run by run; finished when memory has answered every burst.

    `StoreRuns` computes where each run begins, ahead of the beats; a burst does not wait for the answers to
    those before it.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    unit : UnitPort (from its other side)
    memory_base : In(32)
        Added to every address.
    entries : EntryRead
        The token table.
    stage : StageRead(bus_bytes)
    activation : ActivationRead(lanes)
    logits : stream of 32 bits
        binary32 logits in order; as many as fill a burst wait for their STORE.
    write : WritePort
    kv_bytes, logit_bytes, spill_bytes : Out
        Live bytes handed to the bus in this cycle, by payload.
    error : Out(1)
        Pulse: memory answered a burst with an error response.
    busy : Out(1)

    Latency: command to first address 5 cycles (logits 4, or when the burst's last one is here); then a beat
    every cycle from the stage (or as `Stage` has it from narrow words), every ``bus_bytes / 4`` cycles with
    logits and activations. Before the first beat of another burst, of the same run or the next, 2 cycles more
    (logits and activations 1, activations of another run 3).
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        live = range(config.bus_bytes + 1)
        super().__init__(
            {
                "unit": In(UnitPort()),
                "memory_base": In(32),
                "entries": Out(EntryRead()),
                "stage": Out(StageRead(config.bus_bytes)),
                "activation": Out(ActivationRead(config.lanes)),
                "logits": In(stream.Signature(32)),
                "write": Out(WritePort(config.bus_bytes)),
                "kv_bytes": Out(live),
                "logit_bytes": Out(live),
                "spill_bytes": Out(live),
                "error": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, lanes = self.config.bus_bytes, self.config.lanes
        m.submodules.runs = runs = StoreRuns(self.config)
        m.submodules.splitter = splitter = BurstSplitter(self.config)
        # Logits come one by one: a burst begins when all of it is here, so that it holds the bus no longer
        # than it must.
        words = self.config.burst_beats * bus // 4
        m.submodules.queue = queue = SyncFIFOBuffered(width=32, depth=words)
        m.d.comb += [
            queue.w_data.eq(self.logits.payload),
            queue.w_en.eq(self.logits.valid),
            self.logits.ready.eq(queue.w_rdy),
        ]
        waiting = Signal(range(words + 1))  #: logits in the queue
        enters, leaves = self.logits.valid & queue.w_rdy, queue.r_en & queue.r_rdy
        with m.If(enters & ~leaves):
            m.d.sync += waiting.eq(waiting + 1)
        with m.If(leaves & ~enters):
            m.d.sync += waiting.eq(waiting - 1)
        command = self.unit.command
        fields = data.View(instruction_layout("STORE"), command.payload.word)
        connect(m, flipped(self.entries), runs.entries)
        connect(m, runs.run, splitter.run)
        m.d.comb += [runs.command.eq(command.payload), runs.memory_base.eq(self.memory_base)]

        payload, element = Signal(Payload), Signal(16)
        logits, spill = payload == Payload.LOGITS, payload == Payload.ACTIVATION
        token = Signal(range(self.config.tile))  #: whose run it is
        runs_left = Signal.like(token)
        offset = Signal(16)  #: byte of the stage row that is read next
        left = Signal(8)  #: beats left in the burst, minus one
        burst = Signal.like(splitter.burst.payload)
        w, w_free = self.write.w, Signal()
        m.d.comb += w_free.eq(~w.valid | w.ready)
        with m.If(w.ready):
            m.d.sync += w.valid.eq(0)

        in_flight, none = Signal(16), Signal(init=1)  #: bursts without an answer, and whether it is 0
        launched = Signal()
        answered = Signal()
        m.d.comb += [self.write.b.ready.eq(1), answered.eq(self.write.b.valid)]
        m.d.comb += self.error.eq(self.write.b.valid & (self.write.b.payload != 0))
        m.d.sync += in_flight.eq(in_flight + launched - answered)
        m.d.sync += none.eq(Mux(launched, none & answered, none | (answered & (in_flight == 1))))

        partial, filled = Signal(8 * bus), Signal(range(bus // 4 + 1))
        emit, beat = Signal(), Signal(8 * bus)
        # Staged rows: the word of `offset` is here; it leaves. Else: the word that completes the beat is.
        fetched, staged, whole = Signal(), Signal(), Signal()
        # Bytes of the next beat, whether it ends the burst, whether the next word completes it.
        live, final, full = Signal(range(bus + 1)), Signal(), Signal()
        after = Mux(burst.last & (left == 1), burst.last_bytes, bus)  # `live` of the beat after the next
        with m.If(emit):
            m.d.sync += [
                w.valid.eq(1),
                w.payload.data.eq(beat),
                w.payload.strb.eq((1 << live) - 1),
                w.payload.last.eq(final),
                left.eq(left - 1),
                final.eq(left == 1),
                live.eq(after),
                full.eq(after[2:] == 1),
            ]
        m.d.comb += [
            self.kv_bytes.eq(Mux(emit & ~logits & ~spill, live, 0)),
            self.logit_bytes.eq(Mux(emit & logits, live, 0)),
            self.spill_bytes.eq(Mux(emit & spill, live, 0)),
        ]
        m.d.comb += [
            self.stage.token.eq(token),
            self.stage.value.eq(payload == Payload.VALUE),
            # `w_free` comes late, and what waits for it in one look-up table.
            staged.eq(fetched & self.stage.there & w_free),
            emit.eq(staged | (whole & w_free)),
            self.stage.address.eq(Mux(staged, offset + bus, offset)),
        ]
        with m.If(staged):
            m.d.sync += offset.eq(offset + bus)

        # Activations: a word is cut while the next one is on its way, two cycles after its address is taken.
        # It is asked for until it is loaded.
        word, held = Signal(32 * lanes), Signal(range(lanes + 1))
        word_address, asked = Signal(16), Signal(2)
        cut, load = Signal(), Signal()
        m.d.comb += [
            self.activation.token.eq(token),
            self.activation.address.eq(word_address),
            load.eq(asked[1] & ((held == 0) | (cut & (held == 1)))),
        ]
        m.d.sync += asked.eq(Cat(self.activation.ready, asked[0]))
        with m.If(cut):
            m.d.sync += [word.eq(word >> 32), held.eq(held - 1)]
        with m.If(load):
            m.d.sync += [word.eq(self.activation.data), held.eq(lanes)]
            m.d.sync += [word_address.eq(word_address + lanes), asked.eq(0)]

        def begin_run(first: Value) -> None:
            m.d.sync += [offset.eq(0), word_address.eq(first), asked.eq(0), held.eq(0)]

        taken = Mux(logits, queue.r_data, word[:32])
        joined = partial | Cat(*[Mux(filled == i, taken, 0) for i in range(bus // 4)])
        m.d.comb += beat.eq(Mux(logits | spill, joined, self.stage.data))

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(command.valid):
                    m.d.sync += [
                        payload.eq(fields.payload),
                        element.eq(fields.a),
                        token.eq(0),
                        runs_left.eq(Mux(fields.payload == Payload.LOGITS, 0, command.payload.more)),
                        filled.eq(0),
                    ]
                    begin_run(fields.a)
                    m.d.comb += command.ready.eq(1)
                    m.next = "ANSWER"
                    with m.If(fields.bytes != 0):
                        m.d.comb += runs.start.eq(1)
                        m.next = "SPLIT"
            with m.State("SPLIT"):
                here = Signal()
                beyond = (splitter.burst.payload.last_bytes[2:] - 1)[: (bus // 4).bit_length() - 1]
                m.d.comb += here.eq(~logits | (waiting > Cat(beyond, splitter.burst.payload.len)))
                with m.If(splitter.burst.valid & ~self.write.aw.valid & here):
                    m.d.comb += [splitter.burst.ready.eq(1), launched.eq(1)]
                    one, of_burst = splitter.burst.payload.len == 0, Signal.like(live)
                    m.d.comb += of_burst.eq(
                        Mux(splitter.burst.payload.last & one, splitter.burst.payload.last_bytes, bus)
                    )
                    m.d.sync += [
                        burst.eq(splitter.burst.payload),
                        left.eq(splitter.burst.payload.len),
                        final.eq(one),
                        live.eq(of_burst),
                        full.eq(of_burst[2:] == 1),
                        self.write.aw.payload.addr.eq(splitter.burst.payload.address),
                        self.write.aw.payload.len.eq(splitter.burst.payload.len),
                        self.write.aw.valid.eq(1),
                    ]
                    m.next = "BEATS"
            with m.State("BEATS"):
                with m.If(logits | spill):
                    there = Mux(logits, queue.r_rdy, held != 0)
                    m.d.comb += [queue.r_en.eq(w_free & logits), cut.eq(w_free & spill & there)]
                    m.d.comb += whole.eq(full & there)
                    with m.If(w_free & there):
                        with m.If(~full):
                            m.d.sync += full.eq(filled + 2 == live[2:])
                        m.d.sync += [partial.eq(Mux(full, 0, joined)), filled.eq(Mux(full, 0, filled + 1))]
                with m.Else():
                    # The stage's word for `offset` is there one cycle after the address: fetch, then emit.
                    m.d.sync += fetched.eq(~(emit & final))
                    m.d.comb += self.stage.en.eq(1)
                with m.If(emit & final):
                    m.next = "SPLIT"
                    with m.If(burst.last):
                        m.d.sync += [token.eq(token + 1), runs_left.eq(runs_left - 1)]
                        begin_run(element)
                        with m.If(runs_left == 0):
                            m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(none & ~w.valid & ~self.write.aw.valid):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
        with m.If(self.write.aw.valid & self.write.aw.ready):
            m.d.sync += self.write.aw.valid.eq(0)
        return m
