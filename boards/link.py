"""The host link's device side, whole: UART pins in, CSRs and memory out."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi4 import ReadPort, WritePort
from hw.csr import CsrPort

from .link_execute import LinkExecutor
from .link_receive import LinkReceiver
from .link_transmit import LinkTransmitter
from .uart import UartReceiver, UartTransmitter

__all__ = ["Link"]


class Link(wiring.Component):
    """UART, frames (`boards.link_protocol`), commands.

    Parameters
    ----------
    divisor : int
        Clocks of a bit.
    identity : dict of str to int
        As of `LinkExecutor`.

    Members
    -------
    rx, tx : In(1), Out(1)
        Pins.
    csr : CsrPort
    read, write : ReadPort(4), WritePort(4)
    ready : In(1), reset : Out(1)
        Of the memory; of machine and memory.
    heard, damaged : Out(1)
        Pulses: a whole frame came; something was dropped.
    """

    def __init__(self, divisor: int, identity: dict[str, int]):
        self.divisor, self.identity = divisor, identity
        super().__init__(
            {
                "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]  Member takes it
                "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
                "csr": Out(CsrPort()),
                "read": Out(ReadPort(4)),
                "write": Out(WritePort(4)),
                "ready": In(1),
                "reset": Out(1),
                "heard": Out(1),
                "damaged": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_rx = uart_rx = UartReceiver(self.divisor)
        m.submodules.uart_tx = uart_tx = UartTransmitter(self.divisor)
        m.submodules.receiver = receiver = LinkReceiver()
        m.submodules.executor = executor = LinkExecutor(self.identity)
        m.submodules.transmitter = transmitter = LinkTransmitter()
        connect(m, flipped(self.csr), executor.csr)
        connect(m, flipped(self.read), executor.read)
        connect(m, flipped(self.write), executor.write)
        connect(m, transmitter.data, uart_tx.data)
        frames, damaged = Signal(), Signal()
        m.d.sync += [frames.eq(receiver.frames[0]), damaged.eq(receiver.damaged[0])]
        m.d.comb += [
            uart_rx.rx.eq(self.rx),
            self.tx.eq(uart_tx.tx),
            self.reset.eq(executor.reset),
            executor.ready.eq(self.ready),
            self.heard.eq(frames ^ receiver.frames[0]),
            self.damaged.eq(damaged ^ receiver.damaged[0]),
            transmitter.address.eq(executor.reply_address),
            transmitter.word.eq(executor.reply_word),
            transmitter.en.eq(executor.reply_en),
            transmitter.words.eq(executor.reply_words),
            transmitter.start.eq(executor.start),
            executor.busy.eq(transmitter.busy),
        ]
        for name in ("data", "valid", "error"):
            m.d.comb += getattr(receiver, name).eq(getattr(uart_rx, name))
        for name in ("frame", "words", "word", "frames", "damaged"):
            m.d.comb += getattr(executor, name).eq(getattr(receiver, name))
        for name in ("taken", "address"):
            m.d.comb += getattr(receiver, name).eq(getattr(executor, name))
        return m
