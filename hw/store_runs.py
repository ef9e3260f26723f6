"""Where STORE writes: one run of memory for each token."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .burst import run_layout
from .isa import Payload
from .machine import MachineConfig
from .ports import ENTRY_BITS, POSITION_BITS, EntryRead, command_layout, instruction_layout

__all__ = ["StoreRuns"]


class StoreRuns(wiring.Component):
    """The runs of a STORE, in token order: base + layer * stride, and from there row * step.

    The row is a token's place in the KV memory (KEY, VALUE) or in the chunk (ACTIVATION); LOGITS are one run
    of as many bytes for each token.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    start : In(1)
        Begin; only when all runs before have been taken. The command and the base are taken together with it.
    command : In(command_layout())
        STORE, of more than 0 bytes.
    memory_base : In(32)
        Added to every address.
    entries : EntryRead
        The token table.
    run : stream of `run_layout`

    Latency: 2 cycles from start to the first run (LOGITS 1), 2 from one to the next. Each product is a path
    from register to register.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout()),
                "memory_base": In(32),
                "entries": Out(EntryRead()),
                "run": Out(stream.Signature(run_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = data.View(instruction_layout("STORE"), self.command.word)
        place = Signal(ENTRY_BITS)  #: entry of the token whose row is computed next
        left = Signal(range(self.config.tile))  #: runs after the one that is offered
        spill = Signal()
        base, by_layer, by_row = Signal(32), Signal(32), Signal(32)
        step = Signal.like(fields.step)
        row = Signal(POSITION_BITS + 1)

        def take_row(is_spill: Signal) -> None:
            entry = self.entries.entry
            m.d.sync += [
                row.eq(Mux(is_spill, self.entries.index, entry.base + entry.position)),
                place.eq(self.entries.index + 1),
            ]

        m.d.comb += [
            self.entries.index.eq(place),
            self.run.payload.address.eq(base + by_layer + by_row),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.entries.index.eq(self.command.first)
                with m.If(self.start):
                    m.d.sync += [
                        base.eq(self.memory_base + fields.base),
                        by_layer.eq(self.command.layer * fields.stride),
                        by_row.eq(0),
                        step.eq(fields.step),
                        left.eq(self.command.more),
                        spill.eq(fields.payload == Payload.ACTIVATION),
                        self.run.payload.bytes.eq(fields.bytes),
                    ]
                    take_row(fields.payload == Payload.ACTIVATION)
                    m.next = "ROW"
                    with m.If(fields.payload == Payload.LOGITS):
                        m.d.sync += [
                            left.eq(0),
                            self.run.payload.bytes.eq(fields.bytes * (self.command.more + 1)),
                        ]
                        m.next = "OFFER"
            with m.State("ROW"):
                m.d.sync += by_row.eq(row * step)
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.run.valid.eq(1)
                with m.If(self.run.ready):
                    m.next = "IDLE"
                    with m.If(left != 0):
                        m.d.sync += left.eq(left - 1)
                        take_row(spill)
                        m.next = "ROW"
        return m
