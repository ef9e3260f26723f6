"""The sequencer: walks the program, feeds the fetch engine, issues to the units in order."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from .front_end import PROGRAM_STRIDE, FrontEnd
from .isa import BY_OPCODE, NO_WAIT, Unit
from .machine import MachineConfig
from .ports import UnitPort, command_layout, header_layout
from .unit_queue import UnitQueue, count

__all__ = ["PROGRAM_STRIDE", "UNITS", "UNIT_QUEUE", "Sequencer"]

#: Execution units, in the order of their `wait_*` fields and of `Sequencer.units`.
UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: Commands that wait beside a unit.
UNIT_QUEUE = 4
#: Members of `FrontEnd` that the sequencer has too.
_FRONT = ("start", "running", "finished", "program_en", "program_address", "program_data", "tokens", "tile",
          "memory_base", "predicates", "entries", "run", "fetched", "appended", "kind", "bytes", "beats",
          "layer", "more", "fetch_idle", "tape_held", "discard", "leftover", "unknown")  # fmt: skip


class Sequencer(wiring.Component):
    """Runs the program once per `start`.

    `FrontEnd` walks the program; what it does not execute itself enters the issue queue, whose head goes to
    its unit's queue when the wait bounds hold. So FETCH runs ahead of execution by up to `queue_depth`
    instructions.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    units : UnitPort, one per `UNITS`
    issued : Out(1)
        Pulse: an instruction was issued.
    the others : as in `FrontEnd`

    Budget: one instruction a cycle.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        self.front = FrontEnd(config)
        members = self.front.signature.members
        super().__init__(
            {
                **{name: members[name] for name in _FRONT},
                "units": Out(UnitPort()).array(len(UNITS)),
                "issued": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.front = front = self.front
        for name in _FRONT:
            member = front.signature.members[name]
            if member.is_signature:
                connect(m, getattr(front, name), flipped(getattr(self, name)))
            elif member.flow == In:
                m.d.comb += getattr(front, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(front, name))

        m.submodules.queue = queue = SyncFIFOBuffered(
            width=command_layout().size, depth=self.config.queue_depth
        )
        outstanding = [
            Signal(range(UNIT_QUEUE + 4), name=f"outstanding_{unit.name.lower()}") for unit in UNITS
        ]
        # Unit by unit: none unfinished; fewer than there may be. The queue was empty a cycle ago (and now:
        # END comes cycles later).
        idle, below, queue_empty = Signal(len(UNITS), init=-1), Signal(len(UNITS), init=-1), Signal(init=1)
        m.d.sync += queue_empty.eq(queue.level == 0)
        m.d.comb += [
            queue.w_data.eq(front.command.payload),
            queue.w_en.eq(front.command.valid),
            front.command.ready.eq(queue.w_rdy),
            front.drained.eq(idle.all() & queue_empty),
            front.store_done.eq(self.units[UNITS.index(Unit.STORE)].done),
        ]

        head = data.View(command_layout(), queue.r_data)
        head_fields = data.View(header_layout(), head.word)
        waits = (
            head_fields.wait_matmul,
            head_fields.wait_vector,
            head_fields.wait_attention,
            head_fields.wait_store,
        )
        clear = Const(1)
        for wait, unfinished in zip(waits, outstanding, strict=True):
            clear = clear & ((wait == NO_WAIT) | (unfinished <= wait))
        may_issue, takes = Signal(), Signal(len(UNITS))  #: units that take the head
        m.d.comb += [
            may_issue.eq(queue.r_rdy & clear),
            # The queue's depth comes after it: of all units side by side.
            queue.r_en.eq(may_issue & takes.any()),
            self.issued.eq(queue.r_en),
        ]
        for i, unit in enumerate(UNITS):
            fifo = UnitQueue(width=command_layout().size, depth=UNIT_QUEUE)
            m.submodules[f"{unit.name.lower()}_queue"] = fifo
            port, mine, issue = (
                self.units[i],
                Signal(name=f"for_{unit.name.lower()}"),
                Signal(name=f"issue_{i}"),
            )
            codes = [row.opcode for row in BY_OPCODE.values() if row.unit == unit]
            m.d.comb += [
                mine.eq(Cat(*[head_fields.opcode == code for code in codes]).any()),
                takes[i].eq(mine & fifo.w_rdy & below[i]),
                issue.eq(may_issue & takes[i]),
                fifo.w_en.eq(issue),
                fifo.w_data.eq(queue.r_data),
                port.command.valid.eq(fifo.r_rdy),
                port.command.payload.as_value().eq(fifo.r_data),
                fifo.r_en.eq(port.command.ready),
            ]
            left = Signal.like(outstanding[i], name=f"left_{i}")
            m.d.comb += left.eq(count(outstanding[i], issue, port.done))
            m.d.sync += [outstanding[i].eq(left), idle[i].eq(left == 0), below[i].eq(left < UNIT_QUEUE + 2)]
        return m
