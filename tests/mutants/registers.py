"""Check of the registers of a machine with a mutant: reset, reading back, interrupt, doorbells."""

from pathlib import Path

from hw.isa import COUNTER_BASE, COUNTERS, CSR_INDEX, CSRS, INSTRUCTION_WORDS, encode
from hw.machine import MachineConfig
from hw.sequencer import PROGRAM_STRIDE
from sim import host
from sim.dram import DramParams
from sim.entries import Entry

from . import observe
from .observe import Caught, MutantSession, Trace

__all__ = ["RegisterCheck"]

_PATTERNS = (0x5A5A_A5A5, 0xA5A5_5A5A, 0xFFFF_FFFF, 0x8000_0001, 0)
_EVERYTHING = (*range(32), 40, 63, *range(COUNTER_BASE, COUNTER_BASE + 2 * len(COUNTERS) + 4), 0x7FF, 0xFFF)
_MEMORY_BYTES = 1 << 12


class RegisterCheck:
    """Writes and reads of all registers in an order; what is read must be what the design gives.

    `tests.hw.test_csr` says that the design is right.
    """

    def __init__(self, machine: MachineConfig, dram: DramParams):
        self.machine, self.dram = machine, dram

    def run(self, executable: Path, number: int, design: Trace | None) -> Trace:
        """As of `observe.Check`."""
        with (
            observe.simulation(),
            MutantSession(executable, number, _MEMORY_BYTES, self.dram) as session,
        ):
            trace: Trace = [{"cycles": 0}]

            def see(what: str, *addresses: int) -> list[int]:
                found = session.read_all(addresses)
                values = {f"{what} {len(trace)}: CSR {a}": v for a, v in zip(addresses, found, strict=True)}
                trace.append({"cycles": 0, **values})
                if design is not None and (text := observe.different([design[len(trace) - 1]], [trace[-1]])):
                    raise Caught(observe.RESULT, text.removeprefix("doorbell 0: "))
                return found

            see("after reset", *_EVERYTHING)
            self._read_back(session, see)
            self._table(session, see)
            self._runs(session, see)
            session.write_all([(CSR_INDEX["CONTROL"], 0b110), (CSR_INDEX["CONTROL"], 0)])
            see("cleared", *_EVERYTHING)
        return trace

    def _read_back(self, session: MutantSession, see) -> None:
        quiet = ("CONTROL", "PROGRAM_DATA")
        for pattern in _PATTERNS:
            for register in CSRS:
                if register.name not in quiet:
                    session.write(register.index, pattern ^ register.index * 0x0101_0101)
                    see(register.name, register.index, register.index)
            see("all", *_EVERYTHING)
        for address in (0, 5, 8 * self.machine.program_words - 2):
            session.write(CSR_INDEX["PROGRAM_ADDRESS"], address)
            for word in range(4):
                session.write(CSR_INDEX["PROGRAM_DATA"], 0x1234_5678 * (word + 1) & 0xFFFF_FFFF)
                see("address", CSR_INDEX["PROGRAM_ADDRESS"], CSR_INDEX["PROGRAM_ADDRESS"])

    def _table(self, session: MutantSession, see) -> None:
        entries = [
            Entry(3 * i + 1, 7 * i + 2, 0xFFFF - 5 * i, i % 3 == 1) for i in range(self.machine.max_chunk)
        ]
        session.write_all(host.chunk_writes(entries, tile=1))
        shown = [CSR_INDEX[name] for name in ("ENTRY", "ENTRY_TOKEN", "ENTRY_POSITION", "ENTRY_BASE")]
        for i in (*range(self.machine.max_chunk), self.machine.max_chunk + 1, 255):
            session.write(CSR_INDEX["ENTRY"], i)
            see("entry", *shown, *shown)

    def _runs(self, session: MutantSession, see) -> None:
        """A doorbell, others while it runs, acknowledgements too early, with the next doorbell, and late."""
        csr = CSR_INDEX
        status = [csr["STATUS"], csr["GENERATED"], csr["ERROR"]]
        delay = [encode("LOOP", count=40), encode("NEXT"), encode("END")]
        endless = [encode("LOOP", count=9), encode("NEXT"), (1 << 6) - 1]
        for program, steps in ((delay, 3), (endless, 2), (delay, 1)):
            code = b"".join(word.to_bytes(4 * INSTRUCTION_WORDS, "little") for word in program)
            session.write_all(host.program_writes(code))
            session.write_all(
                host.chunk_writes([Entry(5, 6, 7), Entry(8, 9, 10)], tile=2, steps=steps, batch=True)
            )
            for start in (0b001, 0b111, 0b011):
                session.write(csr["CONTROL"], start)
                see("started", *status * 3)
                session.write(csr["CONTROL"], 0b011)
                see("again", *status)
                session.write(csr["ENTRY"], 1)
                see("running", csr["ENTRY_TOKEN"], csr["ENTRY_POSITION"], csr["TOKENS"])
                for _ in range(600):
                    if see("waiting", *status)[0] >> 1:
                        break
                see("done", *_EVERYTHING)
                for i in (0, 1):
                    session.write_all([(csr["ENTRY"], i), (csr["OUTPUT"], i), (csr["TOP"], i << 8)])
                    see("after", *range(32))
            session.write(csr["CONTROL"], 0b010)
            see("acknowledged", *status)
        assert PROGRAM_STRIDE >= INSTRUCTION_WORDS
