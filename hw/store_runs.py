"""Where STORE writes: one run of memory for each token."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.hdl._ast import Assign
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .burst import run_layout
from .isa import Payload
from .machine import MachineConfig
from .ports import ENTRY_BITS, POSITION_BITS, EntryRead, command_layout, instruction_layout
from .split_product import SPLIT, split_product

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
    from register to register, of a size that one multiplier block takes.
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
        spill, logits, fresh = Signal(), Signal(), Signal()
        idle = Signal(init=1)  #: the state, as a register: the table's entry follows from it
        # Products as `split_product` has them, the lower one first.
        upper = 32 - SPLIT
        base, bytes_of_one, bytes_of_more = Signal(32), Signal.like(fields.bytes), Signal(32)
        by_layer, by_row = (
            (Signal(32, name=name), Signal(upper, name=f"{name}_high")) for name in ("by_layer", "by_row")
        )
        step = Signal.like(fields.step)
        row = Signal(POSITION_BITS + 1)

        def products(halves: tuple[Signal, Signal], a: Value, b: Value) -> list[Assign]:
            return [half.eq(now) for half, now in zip(halves, split_product(a, b), strict=True)]

        def take_row(is_spill: Signal) -> None:
            entry = self.entries.entry
            m.d.sync += [
                row.eq(Mux(is_spill, self.entries.index, entry.base) + Mux(is_spill, 0, entry.position)),
                place.eq(self.entries.index + 1),
            ]

        # LOGITS have no row: what is added to their base is `by_layer`, which else is in it by then.
        offset = [Mux(logits, *halves) for halves in zip(by_layer, by_row, strict=True)]
        m.d.comb += [
            self.entries.index.eq(Mux(idle, self.command.first, place)),
            self.run.payload.address.eq(base + offset[0] + (offset[1] << SPLIT)),
            self.run.payload.bytes.eq(bytes_of_one + Mux(logits, bytes_of_more, 0)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                # The start decides of the state only: until then the registers follow what the command is.
                of_logits = fields.payload == Payload.LOGITS
                m.d.sync += [
                    base.eq(self.memory_base + fields.base),
                    *products(by_layer, self.command.layer, fields.stride),
                    step.eq(fields.step),
                    left.eq(Mux(of_logits, 0, self.command.more)),
                    spill.eq(fields.payload == Payload.ACTIVATION),
                    logits.eq(of_logits),
                    fresh.eq(1),
                    bytes_of_one.eq(fields.bytes),
                    bytes_of_more.eq(fields.bytes * self.command.more),
                ]
                take_row(fields.payload == Payload.ACTIVATION)
                with m.If(self.start):
                    m.d.sync += idle.eq(0)
                    m.next = "ROW"
                    with m.If(of_logits):
                        m.next = "OFFER"
            with m.State("ROW"):
                m.d.sync += [*products(by_row, step, row), fresh.eq(0)]
                with m.If(fresh):
                    m.d.sync += base.eq(base + by_layer[0] + (by_layer[1] << SPLIT))
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.run.valid.eq(1)
                with m.If(self.run.ready):
                    m.d.sync += idle.eq(1)
                    m.next = "IDLE"
                    with m.If(left != 0):
                        m.d.sync += [idle.eq(0), left.eq(left - 1)]
                        take_row(spill)
                        m.next = "ROW"
        return m
