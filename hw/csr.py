"""Control and status registers: the host's view of the overlay."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa import (
    CONTINUES,
    COUNTER_BASE,
    COUNTERS,
    CSR_ADDRESS_BITS,
    CSR_INDEX,
    ID_VALUE,
    PREDICATES,
    STOP_ENABLE,
    STOP_TOKENS,
    digest,
)
from .machine import MachineConfig
from .ports import ENTRY_BITS, POSITION_BITS, TOKEN_BITS, TOKEN_ID_BITS, EntryRead, EntryWrite, TopRead
from .sequencer import PROGRAM_STRIDE
from .steps import STEP_BITS, stop_layout

#: Bits of a register as the host sees it.
_WORD = 32


class CsrPort(wiring.Signature):
    """Host port (seen from the host): 32-bit words.

    Members: addr Out(12), word index; write Out(1); wdata Out(32); rdata In(32), one cycle after addr.
    """

    def __init__(self):
        super().__init__({"addr": Out(CSR_ADDRESS_BITS), "write": Out(1), "wdata": Out(32), "rdata": In(32)})


class Csr(wiring.Component):
    """Registers of `isa.CSRS` and the counters behind them.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    csr : CsrPort (from its other side)
    irq : Out(1)
        High from the end of a run until the host acknowledges it.
    start : Out(1)
        Pulse of the doorbell. finished : In(1), pulse at the end. running : In(1).
    write, entries : Out(EntryWrite()), Out(EntryRead())
        The token table, for the host: ENTRY_* show an entry one cycle after ENTRY has its index.
    tokens, tile, steps, batch, stops, memory_base, predicates : Out
        Registers.
    program_en, program_address, program_data : Out
        Writes of program memory.
    generated, log_index, log_token, top : In(STEP_BITS), Out(32), In(20), Out(TopRead())
        What the last run found; `log_token` and the data of `top` one cycle after their index.
    error : In(1), error_code : In(8), error_layer : In(16)
        Pulse with code and layer; the first error since the doorbell is kept. failed : Out(1), there is one.
    counter : In(64) array
        Values of `isa.COUNTERS`. clear : Out(1), pulse that zeroes them.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "csr": In(CsrPort()),
                "irq": Out(1),
                "start": Out(1),
                "finished": In(1),
                "running": In(1),
                "write": Out(EntryWrite()),
                "entries": Out(EntryRead()),
                "tokens": Out(ENTRY_BITS + 1, init=1),  # pyright: ignore[reportCallIssue]  Member takes it
                "tile": Out(TOKEN_BITS + 1, init=1),  # pyright: ignore[reportCallIssue]
                "steps": Out(STEP_BITS, init=1),  # pyright: ignore[reportCallIssue]
                "batch": Out(1),
                "stops": Out(data.ArrayLayout(stop_layout(), STOP_TOKENS)),
                "memory_base": Out(32),
                "predicates": Out(PREDICATES),
                "program_en": Out(1),
                "program_address": Out(range(config.program_words * PROGRAM_STRIDE)),
                "program_data": Out(32),
                "generated": In(STEP_BITS),
                "log_index": Out(32),
                "log_token": In(TOKEN_ID_BITS),
                "top": Out(TopRead()),
                "error": In(1),
                "error_code": In(8),
                "error_layer": In(16),
                "failed": Out(1),
                "counter": In(64).array(len(COUNTERS)),
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, errors = self.csr, Signal(24)
        entry, token, position = Signal(ENTRY_BITS), Signal(TOKEN_ID_BITS), Signal(POSITION_BITS)
        # What the memory has at ENTRY, kept: the ways through it and to the host are long ones.
        shown = Signal.like(self.entries.entry, name="shown")
        m.d.sync += shown.eq(self.entries.entry)
        m.d.comb += [
            self.entries.index.eq(entry),
            self.write.index.eq(entry),
            self.write.entry.token.eq(token),
            self.write.entry.position.eq(position),
            self.write.entry.base.eq(port.wdata),
            self.write.entry.continues.eq(port.wdata[CONTINUES]),
        ]

        m.d.sync += [self.start.eq(0), self.clear.eq(0), self.program_en.eq(0)]
        with m.If(self.program_en):
            m.d.sync += self.program_address.eq(self.program_address + 1)
        with m.If(self.error & ~self.failed):
            m.d.sync += [errors.eq(Cat(self.error_code, self.error_layer)), self.failed.eq(1)]
        with m.If(port.write), m.Switch(port.addr):
            with m.Case(CSR_INDEX["CONTROL"]):
                m.d.sync += self.start.eq(port.wdata[0] & ~self.running)
                with m.If(port.wdata[0] & ~self.running):
                    m.d.sync += [errors.eq(0), self.failed.eq(0)]
                with m.If(port.wdata[1]):
                    m.d.sync += self.irq.eq(0)
                m.d.sync += self.clear.eq(port.wdata[2])
            for name, target in (
                ("ENTRY", entry), ("ENTRY_TOKEN", token), ("ENTRY_POSITION", position),
                ("TOKENS", self.tokens), ("TILE", self.tile), ("STEPS", self.steps), ("BATCH", self.batch),
                ("PREDICATES", self.predicates), ("OUTPUT", self.log_index),
                ("TOP", Cat(self.top.rank, self.top.token)),
                ("PROGRAM_ADDRESS", self.program_address), ("MEMORY_BASE", self.memory_base),
            ):  # fmt: skip
                with m.Case(CSR_INDEX[name]):
                    m.d.sync += target.eq(port.wdata)
            for i, stop in enumerate(self.stops):
                with m.Case(CSR_INDEX[f"STOP_{i}"]):
                    m.d.sync += [stop.token.eq(port.wdata), stop.used.eq(port.wdata[STOP_ENABLE])]
            with m.Case(CSR_INDEX["ENTRY_BASE"]):
                m.d.comb += self.write.en.eq(1)
                m.d.sync += entry.eq(entry + 1)
            with m.Case(CSR_INDEX["PROGRAM_DATA"]):
                m.d.sync += [self.program_en.eq(1), self.program_data.eq(port.wdata)]

        # After the host's writes: an interrupt that comes with an acknowledgement is not lost.
        with m.If(self.finished):
            m.d.sync += self.irq.eq(1)

        values = {
            "ID": ID_VALUE,
            "ISA": int(digest()[:8], 16),
            "MACHINE": int(self.config.digest()[:8], 16),
            "STATUS": Cat(self.running | self.start, self.irq, self.failed),
            "ENTRY": entry,
            "ENTRY_TOKEN": shown.token,
            "ENTRY_POSITION": shown.position,
            "ENTRY_BASE": Cat(shown.base, Const(0, CONTINUES - POSITION_BITS), shown.continues),
            "TOKENS": self.tokens,
            "TILE": self.tile,
            "STEPS": self.steps,
            "BATCH": self.batch,
            **{
                f"STOP_{i}": Cat(stop.token, Const(0, STOP_ENABLE - TOKEN_ID_BITS), stop.used)
                for i, stop in enumerate(self.stops)
            },
            "PREDICATES": self.predicates | 1,
            "GENERATED": self.generated,
            "OUTPUT": self.log_index,
            "OUTPUT_TOKEN": 0,  # joined last: it comes late, from a block RAM
            "TOP": Cat(self.top.rank, self.top.token),
            "TOP_TOKEN": Mux(self.top.valid, self.top.index, 0xFFFF_FFFF),
            "TOP_LOGIT": self.top.value,
            "ERROR": errors,
            "PROGRAM_ADDRESS": self.program_address,
            "MEMORY_BASE": self.memory_base,
        }
        # Chosen by bits of the address, as trees of multiplexers: a choice by comparisons would be a wide OR.
        # It is twice as large, and its many selects make the place where it lies unroutable on an ECP5.
        registers: list[Value] = [Const(0, _WORD)] * (1 << max(CSR_INDEX.values()).bit_length())
        for name, value in values.items():
            registers[CSR_INDEX[name]] = Value.cast(value)
        counters = [half for value in self.counter for half in (value[:_WORD], value[_WORD:])]
        window = (COUNTER_BASE - 1).bit_length()
        assert len(registers) <= COUNTER_BASE and len(counters) <= COUNTER_BASE == 1 << window
        page = port.addr[window:]
        logged = Mux(port.addr[:window] == CSR_INDEX["OUTPUT_TOKEN"], self.log_token, 0)
        with m.If(page == 0):
            m.d.sync += port.rdata.eq(_chosen(registers, port.addr[:window]) | logged)
        with m.Elif(page == 1):
            m.d.sync += port.rdata.eq(_chosen(counters, port.addr[:window]))
        with m.Else():
            m.d.sync += port.rdata.eq(0)
        return m


def _chosen(words: Sequence[Value], index: Value) -> Value:
    """The word at an index, 0 beyond them."""
    flat = Cat(Cat(word, Const(0, _WORD))[:_WORD] for word in words)
    return flat.word_select(index, _WORD)
