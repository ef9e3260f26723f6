"""The device's side of the link: one request after another, each executed once."""

from amaranth.hdl import Const, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi4 import BOUNDARY, ReadPort, WritePort
from hw.csr import CsrPort

from .link_memory import LinkMemory
from .link_protocol import (
    HELLO_WORDS,
    MAGIC,
    MAX_DATA,
    REPLY_WORDS,
    REQUEST_WORDS,
    VERSION,
    Command,
    Status,
)
from .link_receive import BANK_WORDS

__all__ = ["LinkExecutor"]

#: Cycles that an address of the CSRs is held: behind some of them stand memories with addresses of their own.
_CSR_CYCLES = 4
#: Cycles of a reset.
_RESET_CYCLES = 16


class LinkExecutor(wiring.Component):
    """Executes frames of `LinkReceiver`, writes replies to `LinkTransmitter`.

    A request is executed when its session is that of the last HELLO and its sequence number follows that of
    the request before. Any other number of the session gets the kept reply again: that of the newest request
    that was executed, which answers all before it too and shows that one after it is missing. After a request
    whose status is not OK nothing more of its session is executed: every request gets that one's kept reply,
    so that no later success answers for it. Frames of other sessions are dropped. HELLO is executed whenever
    it comes and sets session and number.

    States: IDLE; HEADER, words 0 to 3 of the frame; ADD and COMPARE, what DECIDE looks at; DECIDE; HELLO;
    CSR_ADDRESS, CSR_VALUE and CSR_ACT of each operation; MEMORY, `LinkMemory` has the frame; RESET, WAKE
    until memory is ready; REPLY, its header; SEND.

    Parameters
    ----------
    identity : dict of str to int
        machine, isa, memory_bytes, clock_khz of `HELLO_WORDS`.

    Members
    -------
    frame, words, taken, address, word, frames, damaged
        Of `LinkReceiver`, from the other side.
    reply_address, reply_word, reply_en, reply_words, start, busy
        Of `LinkTransmitter`, from the other side.
    csr : CsrPort
    read, write : ReadPort(4), WritePort(4)
    ready : In(1)
        Memory is.
    reset : Out(1)
        Of machine and memory.
    """

    def __init__(self, identity: dict[str, int]):
        self.identity = identity
        word = range(BANK_WORDS)
        super().__init__(
            {
                "frame": In(1), "words": In(word), "taken": Out(1), "address": Out(word), "word": In(32),
                "frames": In(32), "damaged": In(32),
                "reply_address": Out(word), "reply_word": Out(32), "reply_en": Out(1),
                "reply_words": Out(word), "start": Out(1), "busy": In(1),
                "csr": Out(CsrPort()),
                "read": Out(ReadPort(4)),
                "write": Out(WritePort(4)),
                "ready": In(1),
                "reset": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = LinkMemory()
        m.submodules.memory = ResetInserter(self.reset)(memory)
        connect(m, flipped(self.read), memory.read)
        connect(m, flipped(self.write), memory.write)
        command, sequence, sender = Signal(8), Signal(16), Signal(32)
        last, session, began, sessions = Signal(16), Signal(32), Signal(), Signal(32)
        address, count, operations = Signal(32), Signal(32), Signal(range(MAX_DATA // 8 + 1))
        at, out, step = Signal(range(BANK_WORDS)), Signal(range(BANK_WORDS)), Signal(5)
        status, failed, csr_write = Signal(8), Signal(), Signal()
        m.d.comb += [
            self.address.eq(at),
            memory.command.eq(command),
            memory.address.eq(address),
            memory.words.eq(count >> 2),
            memory.word.eq(self.word),
            self.reply_address.eq(out),
            self.reply_words.eq(out),
        ]

        # What DECIDE looks at: is the request one of ours, and can it be done? Registers, in two steps.
        ahead, usable, length = Signal(16, name="ahead"), Signal(), Signal(range(BANK_WORDS))
        end, page_end, whole, few, small = Signal(33), Signal(13), Signal(), Signal(), Signal()
        placed, one_page, sized, foreign, old = (Signal() for _ in range(5))
        m.d.sync += [
            ahead.eq(sequence - last),
            end.eq(address + count),
            page_end.eq(address[:12] + count[:11]),
            whole.eq((address[:2] == 0) & (count[:2] == 0) & (count != 0)),
            few.eq(count <= MAX_DATA // 8),
            small.eq(count <= MAX_DATA),
            length.eq(REQUEST_WORDS),
            placed.eq(whole & (end <= self.identity["memory_bytes"])),
            one_page.eq(small & (page_end <= BOUNDARY)),
            sized.eq(self.words == length),
            foreign.eq(~began | (sender != session)),
            old.eq((ahead != 1) | failed),
        ]
        with m.Switch(command):
            with m.Case(Command.CSR):
                m.d.sync += length.eq(REQUEST_WORDS + (count[:8] << 1))
                m.d.comb += usable.eq(few)
            with m.Case(Command.WRITE):
                m.d.sync += length.eq(REQUEST_WORDS + count[2:11])
                m.d.comb += usable.eq(placed & one_page)
            with m.Case(Command.READ):
                m.d.comb += usable.eq(placed & one_page)
            with m.Case(Command.CRC):
                m.d.comb += usable.eq(placed)
            with m.Case(Command.RESET):
                m.d.comb += usable.eq(1)

        m.d.sync += self.csr.wdata.eq(self.word)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [at.eq(0), step.eq(0)]
                with m.If(self.frame & ~self.busy):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.sync += [at.eq(at + 1), step.eq(step + 1)]
                with m.Switch(step):
                    with m.Case(1):
                        m.d.sync += [command.eq(self.word), sequence.eq(self.word[16:])]
                    with m.Case(2):
                        m.d.sync += sender.eq(self.word)
                    with m.Case(3):
                        m.d.sync += address.eq(self.word)
                    with m.Case(4):
                        m.d.sync += count.eq(self.word)
                        m.next = "ADD"
            with m.State("ADD"):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [at.eq(REQUEST_WORDS), step.eq(0), operations.eq(count)]
                with m.If(command == Command.HELLO):
                    m.d.sync += [session.eq(sender), last.eq(sequence), began.eq(1)]
                    m.d.sync += [sessions.eq(sessions + 1), out.eq(REPLY_WORDS), status.eq(Status.OK)]
                    m.next = "HELLO"
                with m.Elif(foreign):
                    m.d.comb += self.taken.eq(1)
                    m.next = "IDLE"
                with m.Elif(old):  # seen already, or one before it is missing or failed
                    m.d.comb += self.taken.eq(1)
                    m.next = "SEND"
                with m.Else():
                    m.d.sync += [last.eq(sequence), out.eq(REPLY_WORDS), status.eq(Status.BAD)]
                    m.next = "REPLY"
                    with m.If(usable & sized):
                        m.d.sync += status.eq(Status.OK)
                        m.next = "MEMORY"
                        with m.If(command == Command.CSR):
                            m.next = "CSR_ADDRESS"
                        with m.If(command == Command.RESET):
                            m.next = "RESET"
                        with m.If((command == Command.CSR) & (count == 0)):
                            m.next = "REPLY"
            with m.State("HELLO"):
                values = {name: Const(value, 32) for name, value in self.identity.items()} | {
                    "magic": Const(MAGIC, 32), "version": Const(VERSION, 32), "max_data": Const(MAX_DATA, 32),
                    "frames": self.frames, "damaged": self.damaged, "sessions": sessions,
                }  # fmt: skip
                with m.Switch(step):
                    for i, name in enumerate(HELLO_WORDS):
                        with m.Case(i):
                            m.d.comb += self.reply_word.eq(values[name])
                m.d.comb += self.reply_en.eq(1)
                m.d.sync += [step.eq(step + 1), out.eq(out + 1)]
                with m.If(step == len(HELLO_WORDS) - 1):
                    m.next = "REPLY"

            # An operation is two words; its address stays on the port until the next.
            with m.State("CSR_ADDRESS"):
                m.d.sync += [at.eq(at + 1), step.eq(0)]
                m.next = "CSR_VALUE"
            with m.State("CSR_VALUE"):
                m.d.sync += [self.csr.addr.eq(self.word), csr_write.eq(self.word[31])]
                m.next = "CSR_ACT"
            with m.State("CSR_ACT"):
                m.d.sync += [step.eq(step + 1), self.csr.write.eq(csr_write & (step == 0))]
                with m.If(step == _CSR_CYCLES):
                    m.d.comb += [self.reply_word.eq(self.csr.rdata), self.reply_en.eq(~csr_write)]
                    m.d.sync += [out.eq(out + ~csr_write), at.eq(at + 1), operations.eq(operations - 1)]
                    m.next = "CSR_ADDRESS"
                    with m.If(operations == 1):
                        m.next = "REPLY"

            with m.State("MEMORY"):
                m.d.sync += step.eq(1)
                m.d.comb += [
                    memory.start.eq(self.ready & (step == 0)), self.address.eq(memory.index),
                    self.reply_word.eq(memory.result), self.reply_en.eq(memory.result_en),
                ]  # fmt: skip
                with m.If(~self.ready & (step == 0)):
                    m.d.sync += step.eq(0)
                m.d.sync += out.eq(out + memory.result_en)
                with m.If(memory.done):
                    m.d.sync += status.eq(memory.status)
                    m.next = "REPLY"
                with m.If(memory.hung):
                    m.d.sync += [status.eq(Status.TIMEOUT), step.eq(0)]
                    m.next = "RESET"
            with m.State("RESET"):
                m.d.comb += self.reset.eq(1)
                m.d.sync += step.eq(step + 1)
                with m.If(step == _RESET_CYCLES - 1):
                    m.next = "WAKE"
            with m.State("WAKE"):
                with m.If(self.ready):
                    m.next = "REPLY"

            with m.State("REPLY"):
                m.d.sync += [step.eq(0), failed.eq(status != Status.OK)]  # a HELLO's is OK
                m.d.comb += [self.reply_en.eq(1), self.reply_address.eq(0)]
                m.d.comb += self.reply_word.eq(command | 0x80 | status << 8 | last << 16)
                m.next = "REPLY_SESSION"
            with m.State("REPLY_SESSION"):
                m.d.comb += [self.reply_en.eq(1), self.reply_address.eq(1), self.reply_word.eq(session)]
                m.d.comb += self.taken.eq(1)
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.start.eq(1)
                m.next = "IDLE"
        return m
