"""Control and status registers: the host's view of the overlay."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa import COUNTER_BASE, COUNTERS, CSR_ADDRESS_BITS, CSR_INDEX, ID_VALUE, PREDICATES, digest
from .machine import MachineConfig
from .ports import POSITION_BITS
from .sequencer import PROGRAM_STRIDE


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
        High from the end of a token until the host acknowledges it.
    start : Out(1)
        Pulse of the doorbell. finished : In(1), pulse at the end. running : In(1).
    token, position, memory_base, predicates : Out
        Registers; predicate bit 0 is always 1.
    program_en, program_address, program_data : Out
        Writes of program memory.
    next_token : In(20)
    error : In(1), error_code : In(8), error_layer : In(16)
        Pulse with code and layer; the first error since the doorbell is kept.
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
                "token": Out(20),
                "position": Out(POSITION_BITS),
                "memory_base": Out(32),
                "predicates": Out(PREDICATES),
                "program_en": Out(1),
                "program_address": Out(range(config.program_words * PROGRAM_STRIDE)),
                "program_data": Out(32),
                "next_token": In(20),
                "error": In(1),
                "error_code": In(8),
                "error_layer": In(16),
                "counter": In(64).array(len(COUNTERS)),
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, errors = self.csr, Signal(24)
        predicates = Signal(PREDICATES)
        m.d.comb += self.predicates.eq(predicates | 1)

        m.d.sync += [self.start.eq(0), self.clear.eq(0), self.program_en.eq(0)]
        with m.If(self.program_en):
            m.d.sync += self.program_address.eq(self.program_address + 1)
        with m.If(self.error & (errors[:8] == 0)):
            m.d.sync += errors.eq(Cat(self.error_code, self.error_layer))
        with m.If(port.write), m.Switch(port.addr):
            with m.Case(CSR_INDEX["CONTROL"]):
                m.d.sync += self.start.eq(port.wdata[0] & ~self.running)
                with m.If(port.wdata[0] & ~self.running):
                    m.d.sync += errors.eq(0)
                with m.If(port.wdata[1]):
                    m.d.sync += self.irq.eq(0)
                m.d.sync += self.clear.eq(port.wdata[2])
            for name, target in (
                ("TOKEN", self.token), ("POSITION", self.position), ("PREDICATES", predicates),
                ("PROGRAM_ADDRESS", self.program_address), ("MEMORY_BASE", self.memory_base),
            ):  # fmt: skip
                with m.Case(CSR_INDEX[name]):
                    m.d.sync += target.eq(port.wdata)
            with m.Case(CSR_INDEX["PROGRAM_DATA"]):
                m.d.sync += [self.program_en.eq(1), self.program_data.eq(port.wdata)]

        # After the host's writes: an interrupt that comes with an acknowledgement is not lost.
        with m.If(self.finished):
            m.d.sync += self.irq.eq(1)

        values = {
            "ID": ID_VALUE,
            "ISA": int(digest()[:8], 16),
            "MACHINE": int(self.config.digest()[:8], 16),
            "STATUS": Cat(self.running | self.start, self.irq, errors[:8] != 0),
            "TOKEN": self.token,
            "POSITION": self.position,
            "PREDICATES": self.predicates,
            "NEXT_TOKEN": self.next_token,
            "ERROR": errors,
            "PROGRAM_ADDRESS": self.program_address,
            "MEMORY_BASE": self.memory_base,
        }
        m.d.sync += port.rdata.eq(0)
        with m.Switch(port.addr):
            for name, value in values.items():
                with m.Case(CSR_INDEX[name]):
                    m.d.sync += port.rdata.eq(value)
            for i in range(len(COUNTERS)):
                for half in range(2):
                    with m.Case(COUNTER_BASE + 2 * i + half):
                        m.d.sync += port.rdata.eq(self.counter[i][32 * half : 32 * half + 32])
        return m
