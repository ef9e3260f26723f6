"""The sequencer: expands the program, feeds the fetch engine, issues to the units in order."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .burst import run_layout
from .isa import BY_NAME, BY_OPCODE, FETCH_AHEAD, INSTRUCTION_BITS, NO_WAIT, PREDICATES, Index, Unit
from .machine import MachineConfig
from .ports import LAYER_BITS, POSITION_BITS, UnitPort, command_layout, header_layout, instruction_layout

#: Execution units, in the order of their `wait_*` fields and of `Sequencer.units`.
UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: Commands that wait beside a unit.
UNIT_QUEUE = 4
#: 32-bit words of program memory per instruction (a power of two; the last two are not used).
PROGRAM_STRIDE = 8


class Sequencer(wiring.Component):
    """Runs the program once per doorbell.

    The front end walks the program: it keeps the layer register, drops instructions whose predicate is 0,
    sends FETCH to the fetch engine and the rest to the issue queue. The back end issues the queue's head to
    its unit's queue when the wait bounds hold. So FETCH runs ahead of execution by up to `queue_depth`
    instructions.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    start : In(1)
        Pulse: run for one token. Ignored while running.
    running : Out(1)
    finished : Out(1)
        Pulse: END reached, all units finished.
    program_en, program_address, program_data : In
        Write one 32-bit word of program memory (8 words an instruction, 6 used).
    token, position, memory_base, predicates : In
        Registers, stable while running.
    run : stream of `burst.run_layout`
        To the fetch engine.
    fetch_idle : In(1)
    units : UnitPort, one per `UNITS`
    issued, fetched : Out(1)
        Pulses: an instruction was issued; a FETCH was carried out. fetch_kind, fetch_bytes, fetch_beats: its
        figures, valid with `fetched`.
    layer : Out(LAYER_BITS)
        Layer of the front end.
    discard : Out(1), tape_held : In(1)
        To and from the tape reader: after END has seen all units finish, what is left on the tape is thrown
        away, so that the next run begins with an empty one.
    leftover : Out(1)
        High while something is thrown away after a legal END.
    unknown : Out(1)
        Pulse: an opcode is not in the table; the program ends there.

    Budget: 4 cycles an instruction in the front end (6 for FETCH), 1 in the back end.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "running": Out(1),
                "finished": Out(1),
                "program_en": In(1),
                "program_address": In(range(config.program_words * PROGRAM_STRIDE)),
                "program_data": In(32),
                "token": In(20),
                "position": In(POSITION_BITS),
                "memory_base": In(32),
                "predicates": In(PREDICATES),
                "run": Out(stream.Signature(run_layout())),
                "fetch_idle": In(1),
                "units": Out(UnitPort()).array(len(UNITS)),
                "issued": Out(1),
                "fetched": Out(1),
                "fetch_kind": Out(2),
                "fetch_bytes": Out(32),
                "fetch_beats": Out(32),
                "layer": Out(LAYER_BITS),
                "discard": Out(1),
                "tape_held": In(1),
                "leftover": Out(1),
                "unknown": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.program = memory = Memory(shape=32 * PROGRAM_STRIDE, depth=config.program_words, init=[])
        write, read = memory.write_port(granularity=32), memory.read_port()
        word_index = self.program_address[:3]
        m.d.comb += [
            write.addr.eq(self.program_address[3:]),
            write.data.eq(Cat(*[self.program_data] * PROGRAM_STRIDE)),
            write.en.eq(Mux(self.program_en, 1 << word_index, 0)),
        ]

        # Front end.
        pc, body = Signal(range(config.program_words)), Signal(range(config.program_words))
        word = Signal(INSTRUCTION_BITS)
        header = data.View(header_layout(), word)
        loop = data.View(instruction_layout("LOOP"), word)
        fetch = data.View(instruction_layout("FETCH"), word)
        count = Signal(LAYER_BITS)
        m.d.comb += read.addr.eq(pc)
        opcodes = {name: row.opcode for name, row in BY_NAME.items()}

        m.submodules.queue = queue = SyncFIFOBuffered(width=command_layout().size, depth=config.queue_depth)
        m.submodules.runs = runs = SyncFIFOBuffered(width=run_layout().size, depth=FETCH_AHEAD)
        m.d.comb += [
            self.run.valid.eq(runs.r_rdy),
            self.run.payload.as_value().eq(runs.r_data),
            runs.r_en.eq(self.run.ready),
            queue.w_data.eq(Cat(word, self.layer, self.position)),
        ]
        index = Signal(20)
        offset, size = Signal(32), Signal(32)
        shift = config.bus_bytes.bit_length() - 1
        m.d.comb += [
            self.fetch_kind.eq(fetch.kind),
            self.fetch_bytes.eq(size),
            self.fetch_beats.eq((size + (config.bus_bytes - 1)) >> shift),
            runs.w_data.eq(Cat((self.memory_base + fetch.base + offset)[:32], size)),
        ]
        outstanding = [
            Signal(range(UNIT_QUEUE + 4), name=f"outstanding_{unit.name.lower()}") for unit in UNITS
        ]
        drained = Signal()
        m.d.comb += drained.eq(Cat(*outstanding) == 0)
        m.d.comb += self.running.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.running.eq(0)
                with m.If(self.start):
                    m.d.sync += [pc.eq(0), self.layer.eq(0)]
                    m.next = "READ"
            with m.State("READ"):
                m.next = "LATCH"
            with m.State("LATCH"):
                m.d.sync += [word.eq(read.data[:INSTRUCTION_BITS]), pc.eq(pc + 1)]
                m.next = "DECODE"
            with m.State("DECODE"):
                m.next = "READ"
                with m.If(~self.predicates.bit_select(header.predicate, 1) & (header.predicate != 0)):
                    pass
                with m.Else(), m.Switch(header.opcode):
                    with m.Case(opcodes["END"]):
                        m.next = "DRAIN"
                    with m.Case(opcodes["LOOP"]):
                        m.d.sync += [self.layer.eq(0), count.eq(loop.count), body.eq(pc)]
                    with m.Case(opcodes["NEXT"]):
                        m.d.sync += self.layer.eq(self.layer + 1)
                        with m.If(self.layer + 1 < count):
                            m.d.sync += pc.eq(body)
                    with m.Case(opcodes["FETCH"]):
                        with m.Switch(fetch.index):
                            for which, register in (
                                (Index.NONE, Const(0)), (Index.LAYER, self.layer),
                                (Index.POSITION, self.position), (Index.TOKEN, self.token),
                            ):  # fmt: skip
                                with m.Case(which):
                                    m.d.sync += index.eq(register)
                        m.next = "MULTIPLY"
                    with m.Case(*[row.opcode for row in BY_OPCODE.values() if row.unit in UNITS]):
                        m.d.comb += queue.w_en.eq(1)
                        with m.If(~queue.w_rdy):
                            m.next = "DECODE"
                    with m.Default():
                        m.d.comb += self.unknown.eq(1)
                        m.next = "DRAIN"
            with m.State("MULTIPLY"):
                m.d.sync += offset.eq(index * fetch.stride)
                m.d.sync += size.eq(Mux(fetch.per_position, fetch.bytes * self.position, fetch.bytes))
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += runs.w_en.eq(size != 0)
                with m.If(runs.w_rdy | (size == 0)):
                    m.d.comb += self.fetched.eq(1)
                    m.next = "READ"
            with m.State("DRAIN"):
                m.d.comb += [
                    self.discard.eq(drained & (queue.level == 0)),
                    self.leftover.eq(self.discard & self.tape_held & (header.opcode == opcodes["END"])),
                ]
                with m.If(self.discard & self.fetch_idle & (runs.level == 0) & ~self.tape_held):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"

        # Back end.
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
        may_issue = Signal()
        m.d.comb += may_issue.eq(queue.r_rdy & clear)
        for i, unit in enumerate(UNITS):
            fifo = SyncFIFOBuffered(width=command_layout().size, depth=UNIT_QUEUE)
            m.submodules[f"{unit.name.lower()}_queue"] = fifo
            port, mine, issue = (
                self.units[i],
                Signal(name=f"for_{unit.name.lower()}"),
                Signal(name=f"issue_{i}"),
            )
            codes = [row.opcode for row in BY_OPCODE.values() if row.unit == unit]
            m.d.comb += [
                mine.eq(Cat(*[head_fields.opcode == code for code in codes]).any()),
                issue.eq(may_issue & mine & fifo.w_rdy & (outstanding[i] < UNIT_QUEUE + 2)),
                fifo.w_en.eq(issue),
                fifo.w_data.eq(queue.r_data),
                port.command.valid.eq(fifo.r_rdy),
                port.command.payload.as_value().eq(fifo.r_data),
                fifo.r_en.eq(port.command.ready),
            ]
            m.d.sync += outstanding[i].eq(outstanding[i] + issue - port.done)
            with m.If(issue):
                m.d.comb += [queue.r_en.eq(1), self.issued.eq(1)]
        return m
