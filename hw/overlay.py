"""The overlay processor: all units, wired."""

from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .attention import Attention
from .axi4 import ReadPorts, WritePort
from .counters import Counters
from .csr import Csr, CsrPort
from .delay_line import delay
from .fetch import Fetch
from .isa import COUNTER_INDEX, Kind
from .machine import MachineConfig
from .matmul import Matmul
from .port_stripe import PortStripe
from .sequencer import Sequencer
from .skid_buffer import SkidBuffer
from .stage import Stage
from .steps import Steps
from .store import Store
from .tape import TapeReader
from .token_table import TokenTable
from .vector import Vector


class Overlay(wiring.Component):
    """One machine of a given size; any model that fits its sizes runs on it unchanged.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    read : ReadPorts(ports, bus_bytes / ports), write : WritePort(bus_bytes / ports)
        AXI4 manager ports to memory; the write channels belong to port 0.
    csr : CsrPort (from its other side)
    irq : Out(1)
        Level; high when a run is finished, until acknowledged.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "read": Out(ReadPorts(config.ports, config.bus_bytes // config.ports)),
                "write": Out(WritePort(config.bus_bytes // config.ports)),
                "csr": In(CsrPort()),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.csr = csr = Csr(config)
        m.submodules.steps = steps = Steps(config)
        m.submodules.table = table = TokenTable(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.fetch = fetch = Fetch(config)
        matmul = Matmul(config)
        m.submodules.tape = tape = TapeReader(config, consumers=len(matmul.tape) + 2)
        m.submodules.matmul = matmul
        m.submodules.vector = vector = Vector(config)
        m.submodules.attention = attention = Attention(config)
        m.submodules.stage = stage = Stage(config)
        m.submodules.store = store = Store(config)

        # Host.
        connect(m, flipped(self.csr), csr.csr)
        connect(m, csr.top, matmul.top)
        m.d.comb += [
            self.irq.eq(csr.irq),
            csr.finished.eq(delay(m, steps.finished, 1)),  # counters are a cycle late
            csr.running.eq(steps.running),
            csr.generated.eq(steps.generated),
            csr.log_token.eq(steps.log_token),
            steps.log_index.eq(csr.log_index),
            store.memory_base.eq(csr.memory_base),
        ]
        for name in ("memory_base", "program_en", "program_address", "program_data", "tile"):
            m.d.comb += getattr(sequencer, name).eq(getattr(csr, name))

        # Step by step.
        for name in ("start", "tokens", "tile", "steps", "batch", "stops", "failed"):
            m.d.comb += getattr(steps, name).eq(getattr(csr, name))
        m.d.comb += [
            steps.wanted.eq(csr.predicates),
            steps.ended.eq(sequencer.finished),
            steps.more.eq(sequencer.more),
            steps.next_token.eq(matmul.next_token),
            sequencer.start.eq(steps.begin),
            sequencer.tokens.eq(steps.chunk),
            sequencer.predicates.eq(steps.predicates),
            matmul.predicates.eq(steps.predicates),
        ]

        # The token table: the host has it while nothing runs.
        with m.If(steps.running):
            connect(m, steps.write, table.write)
            m.d.comb += table.read[0].index.eq(steps.entries.index)
        with m.Else():
            connect(m, csr.write, table.write)
            m.d.comb += table.read[0].index.eq(csr.entries.index)
        for reader in (steps.entries, csr.entries):
            m.d.comb += reader.entry.eq(table.read[0].entry)
        for i, unit in enumerate((sequencer, attention, store), start=1):
            connect(m, unit.entries, table.read[i])

        # Memory to tape to units.
        connect(m, sequencer.run, fetch.run)
        connect(m, fetch.word, tape.word)
        m.d.comb += [
            sequencer.fetch_idle.eq(fetch.idle),
            sequencer.tape_held.eq(tape.held),
            tape.discard.eq(sequencer.discard),
        ]
        for i, port in enumerate((*matmul.tape, vector.tape, attention.tape)):
            connect(m, port, tape.consumer[i])
        for i, unit in enumerate((matmul, vector, attention, store)):
            connect(m, sequencer.units[i], unit.unit)

        # Between units.
        connect(m, vector.q_write, matmul.q_write)
        connect(m, vector.accumulator, matmul.accumulator)
        connect(m, matmul.scalar, vector.scalar)
        # The vector unit decides late whether it takes a word of attention's.
        m.submodules.attended = attended = SkidBuffer(attention.output.payload.shape())
        connect(m, attention.output, attended.i)
        connect(m, attended.o, vector.attention)
        m.d.comb += attention.tape_free.eq(~matmul.holds_tape)
        connect(m, vector.query, attention.query)
        connect(m, vector.stage, stage.write)
        connect(m, attention.stage, stage.attention)
        connect(m, store.stage, stage.store)
        connect(m, store.activation, vector.activation)
        connect(m, matmul.logits, store.logits)

        # Memory ports.
        if config.ports > 1:
            m.submodules.stripe = stripe = PortStripe(config)
            connect(m, fetch.read, stripe.read)
            connect(m, store.write, stripe.write)
            connect(m, stripe.reads, flipped(self.read))
            connect(m, stripe.writes, flipped(self.write))
        else:
            for channel in ("ar", "r"):
                inner, outer = getattr(fetch.read, channel), getattr(self.read, channel)
                to, back = (outer, inner) if channel == "ar" else (inner, outer)
                m.d.comb += [
                    Value.cast(to.payload).eq(back.payload), to.valid.eq(back.valid), back.ready.eq(to.ready),
                ]  # fmt: skip
            connect(m, store.write, flipped(self.write))

        self._errors(m, csr, sequencer, fetch, vector, store)
        self._count(m, csr, steps, sequencer, fetch, tape, matmul, vector, attention, store)
        return m

    def _errors(
        self, m: Module, csr: Csr, sequencer: Sequencer, fetch: Fetch, vector: Vector, store: Store
    ) -> None:
        """First error of a run to the host; codes of `isa.ERRORS`."""
        m.d.comb += csr.error_layer.eq(sequencer.layer)
        for code, source in (
            (5, sequencer.leftover),
            (4, sequencer.unknown),
            (3, store.error),
            (2, fetch.error),
            (1, vector.error),
        ):
            with m.If(source):
                m.d.comb += [csr.error.eq(1), csr.error_code.eq(code)]
        with m.If(vector.error):
            m.d.comb += csr.error_layer.eq(vector.error_layer)

    def _count(
        self, m: Module, csr: Csr, steps: Steps, sequencer: Sequencer, fetch: Fetch, tape: TapeReader,
        matmul: Matmul,
        vector: Vector, attention: Attention, store: Store,
    ) -> None:  # fmt: skip
        """What each counter gains in a cycle."""
        run = steps.running
        by_kind = [Mux(sequencer.appended & (sequencer.kind == kind), sequencer.bytes, 0) for kind in Kind]
        starved = [
            reduce(or_, (port.starved for port in matmul.tape)),
            vector.tape.starved,
            attention.tape.starved,
        ]
        any_starved = starved[0] | starved[1] | starved[2]
        # Exactly one of these holds in a running cycle: the first that is true.
        where: dict[str, Value] = {}
        taken = Const(0)
        for name, condition in (
            ("matmul_active", matmul.active),
            ("attention_active", attention.active),
            ("matmul_starved", starved[0]),
            ("attention_starved", starved[2]),
            ("vector_starved", starved[1]),
            ("vector_only", vector.busy),
        ):
            where[name] = run & condition & ~taken
            taken = taken | condition
        amounts = {
            "cycles": run,
            "steps": steps.step,
            "tokens": Mux(steps.step, steps.step_tokens, 0),
            "instructions": sequencer.issued,
            "fetches": sequencer.fetched,
            "weight_bytes": by_kind[Kind.WEIGHTS],
            "kv_read_bytes": by_kind[Kind.KV],
            "other_bytes": by_kind[Kind.OTHER],
            "kv_write_bytes": store.kv_bytes,
            "logit_bytes": store.logit_bytes,
            "spill_bytes": store.spill_bytes,
            "read_beats": fetch.beat,
            "lookups": matmul.lookups,
            "integer_products": matmul.integer_products,
            "attention_products": attention.products,
            "vector_elements": vector.elements,
            "score_saturations": attention.score_saturated,
            "bus_full": run & fetch.full,
            "bus_wait": run & fetch.wait,
            "bus_idle": run & fetch.free,
            **where,
            "overhead": run & ~taken,
            "starved_bus_free": run & any_starved & fetch.free & fetch.empty,
        }
        values = {name: Value.cast(amount) for name, amount in amounts.items()}
        widths = {name: len(value) for name, value in values.items()}
        m.submodules.counters = counters = Counters(widths)
        for name in COUNTER_INDEX:
            m.d.comb += getattr(counters, f"add_{name}").eq(values[name])
        m.d.comb += counters.clear.eq(csr.clear)
        for i in range(len(COUNTER_INDEX)):
            m.d.comb += csr.counter[i].eq(counters.value[i])
