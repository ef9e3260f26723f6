"""A small design for devices that no overlay fits: the ternary engine with on-chip memories, behind CSRs.

Not a language model: one matrix-vector product with ternary weights at a time, by the same engine
(`hw.ternary_engine`) that the overlay has. It shows link, engine and flow on a device.
"""

import dataclasses

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, connect

from hw.activation_buffer import ActivationBuffer
from hw.csr import CsrPort
from hw.machine import CI, MachineConfig
from hw.ports import instruction_layout
from hw.ternary_engine import TernaryEngine

__all__ = ["ACTIVATIONS", "CODES", "CONFIG", "IDENTITY", "START", "SUMS", "VALUE", "TernaryUnit"]

#: Four look-up tables (20 weights a cycle), one token. Only what sizes the engine counts.
CONFIG = dataclasses.replace(
    CI,
    name="ternary",
    bus_bytes=4,
    tables=4,
    head_lanes=4,
    attention_bytes=4,
    tile=1,
    quantised_words=512,
    accumulator_rows=512,
    activation_bits=8,
)
#: Word addresses: start (k + rows * 65536; reads 1 while it works), what it is, and three memories.
START, IDENTITY, ACTIVATIONS, CODES, SUMS = 0x000, 0x001, 0x200, 0x400, 0x800
#: Words of the memories: 4 activations, 4 bytes of 5 trits of one row and chunk, one sum.
_CODE_WORDS = 1024
#: 'TRNT'
VALUE = 0x544E5254
#: Cycles from the engine's last sum to the result memory.
_SETTLE = 4


class TernaryUnit(wiring.Component):
    """Sums of ``rows`` rows of ``k`` ternary weights times ``k`` int8 activations.

    Codes lie as on the overlay's tape, chunk of 20 weights by chunk and in it row by row, but each row of a
    chunk fills a word, its bytes lowest. k is 1 to 512, rows 1 to 512, rows x chunks at most 1024.

    Budget: rows x ceil(k / 20) cycles, or 31 a chunk if that is more, and at most 50.

    Members
    -------
    csr : CsrPort (from its other side)
        Memories are written and read only while it does not work.
    busy : Out(1)
    """

    def __init__(self, config: MachineConfig = CONFIG):
        self.config = config
        super().__init__({"csr": In(CsrPort()), "busy": wiring.Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, csr = self.config, self.csr
        m.submodules.engine = engine = TernaryEngine(config)
        m.submodules.buffer = buffer = ActivationBuffer(config)
        m.submodules.codes = codes = Memory(shape=8 * config.tables, depth=_CODE_WORDS, init=[])
        m.submodules.sums = sums = Memory(shape=signed(32), depth=config.accumulator_rows, init=[])
        connect(m, engine.read, buffer.read)

        # Host: activations and codes.
        code_write, sum_read, sum_write = codes.write_port(), sums.read_port(), sums.write_port()
        m.d.comb += [
            buffer.write.en.eq(csr.write & (csr.addr[9:] == ACTIVATIONS >> 9)),
            buffer.write.address.eq(csr.addr[:7] << 2),
            buffer.write.data.eq(csr.wdata),
            code_write.en.eq(csr.write & (csr.addr[10:] == CODES >> 10)),
            code_write.addr.eq(csr.addr[:10]),
            code_write.data.eq(csr.wdata),
        ]

        # Start: a MATMUL with k and rows.
        word = Signal(instruction_layout("MATMUL"))
        start, pending = Signal(), Signal()
        m.d.comb += [
            start.eq(csr.write & (csr.addr == START) & ~self.busy),
            engine.command.valid.eq(pending),
            engine.command.p.word.eq(word),
        ]
        with m.If(start):
            m.d.sync += [word.k.eq(csr.wdata[:16]), word.rows.eq(csr.wdata[16:]), pending.eq(1)]
            m.d.sync += self.busy.eq(1)
        with m.Elif(engine.command.ready):
            m.d.sync += pending.eq(0)

        # Codes: a word for each row taken.
        code_read = codes.read_port()
        place, there = Signal(range(_CODE_WORDS)), Signal()
        taken = engine.tape.take
        following = Signal.like(place)
        m.d.comb += [
            following.eq(Mux(start, 0, place + taken)),
            code_read.addr.eq(following),
            engine.tape.data.eq(code_read.data),
            engine.tape.enough.eq(there),
        ]
        m.d.sync += [place.eq(following), there.eq(self.busy)]

        # Sums: read one cycle, added and written the next. A row comes again 29 cycles later or more.
        row, value = Signal.like(engine.row), Signal(signed(engine.sum_bits))
        settle = Signal(range(_SETTLE + 1))
        m.d.sync += [row.eq(engine.row), value.eq(engine.sums[0])]
        m.d.comb += [
            sum_read.addr.eq(Mux(self.busy, engine.row.row, csr.addr)),
            sum_write.en.eq(row.valid),
            sum_write.addr.eq(row.row),
            sum_write.data.eq(value + Mux(row.first, 0, sum_read.data)),
        ]
        with m.If(row.valid & row.done):
            m.d.sync += settle.eq(_SETTLE)
        with m.Elif(settle != 0):
            m.d.sync += settle.eq(settle - 1)
            with m.If(settle == 1):
                m.d.sync += self.busy.eq(0)

        # Host: results, one cycle after the address.
        address = Signal.like(csr.addr)
        m.d.sync += address.eq(csr.addr)
        with m.If(address[11]):
            m.d.comb += csr.rdata.eq(sum_read.data)
        with m.Elif(address == IDENTITY):
            m.d.comb += csr.rdata.eq(Const(VALUE, 32))
        with m.Else():
            m.d.comb += csr.rdata.eq(self.busy)
        return m
