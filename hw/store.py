"""The store unit: staged K/V rows and logits to memory, as AXI4 write bursts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi4 import WritePort
from .burst import BurstSplitter
from .isa import Payload
from .machine import MachineConfig
from .ports import StageRead, UnitPort, instruction_layout


class Store(wiring.Component):
    """Executes STORE: one payload at a time; finished when memory has answered every burst.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    unit : UnitPort (from its other side)
    memory_base : In(32)
        Added to every address.
    stage : StageRead(bus_bytes)
    logits : stream of 32 bits
        binary32 logits in order; as many as fill a burst wait for their STORE.
    write : WritePort
    kv_bytes, logit_bytes : Out
        Live bytes handed to the bus in this cycle, by payload.
    error : Out(1)
        Pulse: memory answered a burst with an error response.
    busy : Out(1)

    Latency: command to first address 4 cycles (logits: when the burst's last one is here); then a beat every
    cycle from the stage, every ``bus_bytes / 4`` cycles with logits; a burst follows the last beat of the one
    before after 3 cycles.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "unit": In(UnitPort()),
                "memory_base": In(32),
                "stage": Out(StageRead(config.bus_bytes)),
                "logits": In(stream.Signature(32)),
                "write": Out(WritePort(config.bus_bytes)),
                "kv_bytes": Out(range(config.bus_bytes + 1)),
                "logit_bytes": Out(range(config.bus_bytes + 1)),
                "error": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.config.bus_bytes
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
        command = self.unit.command
        fields = data.View(instruction_layout("STORE"), command.payload.word)

        # The address takes one cycle a product, so that each product is a register to register path.
        by_layer, by_position, base = Signal(32), Signal(32), Signal(32)
        size, logits, value = Signal(24), Signal(), Signal()
        offset = Signal(16)  #: byte of the stage row that is read next
        left = Signal(8)  #: beats left in the burst, minus one
        burst = Signal.like(splitter.burst.payload)
        w, w_free = self.write.w, Signal()
        m.d.comb += w_free.eq(~w.valid | w.ready)
        with m.If(w.ready):
            m.d.sync += w.valid.eq(0)

        in_flight = Signal(16)  #: bursts without an answer
        launched = Signal()
        answered = Signal()
        m.d.comb += [self.write.b.ready.eq(1), answered.eq(self.write.b.valid)]
        m.d.comb += self.error.eq(self.write.b.valid & (self.write.b.payload != 0))
        m.d.sync += in_flight.eq(in_flight + launched - answered)

        partial, filled = Signal(8 * bus), Signal(range(bus // 4 + 1))
        emit, beat = Signal(), Signal(8 * bus)
        live = Signal(range(bus + 1))
        m.d.comb += live.eq(Mux(burst.last & (left == 0), burst.last_bytes, bus))
        with m.If(emit):
            m.d.sync += [
                w.valid.eq(1),
                w.payload.data.eq(beat),
                w.payload.strb.eq((1 << live) - 1),
                w.payload.last.eq(left == 0),
                left.eq(left - 1),
            ]
        m.d.comb += [
            self.kv_bytes.eq(Mux(emit & ~logits, live, 0)),
            self.logit_bytes.eq(Mux(emit & logits, live, 0)),
        ]
        m.d.comb += [self.stage.value.eq(value), self.stage.address.eq(offset)]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(command.valid):
                    m.d.sync += [
                        by_layer.eq(command.payload.layer * fields.stride),
                        by_position.eq(command.payload.position * fields.step),
                        base.eq(self.memory_base + fields.base),
                        size.eq(fields.bytes),
                        logits.eq(fields.payload == Payload.LOGITS),
                        value.eq(fields.payload == Payload.VALUE),
                        offset.eq(0),
                        filled.eq(0),
                    ]
                    m.d.comb += command.ready.eq(1)
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += [
                    splitter.run.payload.address.eq(base + by_layer + by_position),
                    splitter.run.payload.bytes.eq(size),
                    splitter.run.valid.eq(1),
                ]
                with m.If(splitter.run.ready):
                    m.next = "SPLIT"
            with m.State("SPLIT"):
                here = Signal()
                burst_bytes = (splitter.burst.payload.len * bus) + splitter.burst.payload.last_bytes
                m.d.comb += here.eq(~logits | ((queue.level << 2) >= burst_bytes))
                with m.If(size == 0):
                    m.next = "ANSWER"
                with m.Elif(splitter.burst.valid & ~self.write.aw.valid & here):
                    m.d.comb += [splitter.burst.ready.eq(1), launched.eq(1)]
                    m.d.sync += [
                        burst.eq(splitter.burst.payload),
                        left.eq(splitter.burst.payload.len),
                        self.write.aw.payload.addr.eq(splitter.burst.payload.address),
                        self.write.aw.payload.len.eq(splitter.burst.payload.len),
                        self.write.aw.valid.eq(1),
                    ]
                    m.next = "BEATS"
            with m.State("BEATS"):
                # The stage's word for `offset` is there one cycle after the address: fetch, then emit.
                with m.If(logits):
                    with m.If(w_free):
                        m.d.comb += queue.r_en.eq(1)
                        with m.If(queue.r_rdy):
                            full = Signal()
                            m.d.comb += full.eq((filled + 1) << 2 == live)
                            m.d.comb += beat.eq(partial | (queue.r_data << (filled << 5))[: 8 * bus])
                            m.d.sync += [partial.eq(Mux(full, 0, beat)), filled.eq(Mux(full, 0, filled + 1))]
                            m.d.comb += emit.eq(full)
                with m.Else():
                    fetched = Signal()
                    m.d.sync += fetched.eq(1)
                    with m.If(fetched & w_free):
                        m.d.comb += [emit.eq(1), beat.eq(self.stage.data)]
                        m.d.comb += self.stage.address.eq(offset + bus)
                        m.d.sync += offset.eq(offset + bus)
                    with m.If(emit & (left == 0)):
                        m.d.sync += fetched.eq(0)
                with m.If(emit & (left == 0)):
                    m.next = "ANSWER"
                    with m.If(~burst.last):
                        m.next = "SPLIT"
            with m.State("ANSWER"):
                with m.If((in_flight == 0) & ~w.valid & ~self.write.aw.valid):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
        with m.If(self.write.aw.valid & self.write.aw.ready):
            m.d.sync += self.write.aw.valid.eq(0)
        return m
