"""UART: 8 data bits, no parity, 1 stop bit."""

import math

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["LEAST_DIVISOR", "UartReceiver", "UartTransmitter", "clocks_near", "divisor_of"]

#: Clocks of a bit: fewer leave no room for three samples about its middle.
LEAST_DIVISOR = 4
#: Largest error of the bit time: the tenth bit must be met within a quarter of its length.
_TOLERANCE = 0.02


def clocks_near(clock_mhz: float, baud: int) -> tuple[float, ...]:
    """MHz: the clock itself if it makes the rate; else those next below and above it that do so exactly."""
    try:
        divisor_of(clock_mhz, baud)
    except ValueError:
        below = max(LEAST_DIVISOR, math.floor(clock_mhz * 1e6 / baud))
        return tuple(divisor * baud / 1e6 for divisor in (below, below + 1))
    return (clock_mhz,)


def divisor_of(clock_mhz: float, baud: int) -> int:
    """Clocks of a bit. ValueError where the rate is too high, or cannot be met within 2 %."""
    exact = clock_mhz * 1e6 / baud
    divisor = round(exact)
    if divisor < LEAST_DIVISOR or abs(divisor - exact) > _TOLERANCE * exact:
        fits = [
            round(clock_mhz * 1e6 / d) for d in (max(LEAST_DIVISOR, divisor), max(LEAST_DIVISOR, divisor) + 1)
        ]
        raise ValueError(
            f"baud: wanted a rate within 2 % of {clock_mhz} MHz / n, n {LEAST_DIVISOR} or more, "
            f"found {baud}; take {fits[0]} or {fits[1]}"
        )
    return divisor


class UartReceiver(wiring.Component):
    """Bits to bytes. The pin is sampled every clock; a bit is the majority of three samples about its middle.

    Parameters
    ----------
    divisor : int
        Clocks of a bit, `LEAST_DIVISOR` or more.

    Members
    -------
    rx : In(1)
        The pin, of no clock; it idles high.
    data, valid : Out(8), Out(1)
        A byte and its pulse. error : Out(1), pulse: the stop bit was low (framing error, break); no byte.

    Latency: middle of the stop bit to `valid` 5 cycles. The next start bit is looked for from there on.
    """

    def __init__(self, divisor: int):
        self.divisor = _checked(divisor)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1), "error": Out(1)})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pin, samples, level = Signal(init=1), Signal(3, init=0b111), Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, pin, init=1)
        a, b, c = samples
        m.d.sync += [samples.eq(Cat(pin, samples)), level.eq(a & b | a & c | b & c)]
        wait, bits, shift = Signal(range(self.divisor)), Signal(range(10)), Signal(8)
        m.d.sync += [self.valid.eq(0), self.error.eq(0), self.data.eq(shift)]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [wait.eq(self.divisor // 2 - 1), bits.eq(0)]
                with m.If(~level):
                    m.next = "BITS"
            with m.State("BITS"):  # bit 0 is the start bit, 9 the stop bit
                with m.If(wait == 0):
                    m.d.sync += [
                        wait.eq(self.divisor - 1),
                        bits.eq(bits + 1),
                        shift.eq(Cat(shift[1:], level)),
                    ]
                    with m.If((bits == 0) & level):
                        m.next = "IDLE"  # a glitch
                    with m.If(bits == 9):
                        m.d.sync += [self.valid.eq(level), self.error.eq(~level), shift.eq(shift)]
                        m.next = "IDLE"
                        with m.If(~level):
                            m.next = "HIGH"
            with m.State("HIGH"):  # after a framing error or a break
                with m.If(level):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to bits.

    Parameters
    ----------
    divisor : int
        Clocks of a bit.

    Members
    -------
    data : stream of 8 bits
    tx : Out(1)
        The pin; it idles high.

    A byte every 10 x divisor + 1 cycles.
    """

    def __init__(self, divisor: int):
        self.divisor = _checked(divisor)
        super().__init__({"data": In(stream.Signature(8)), "tx": Out(1, init=1)})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wait, left, shift = Signal(range(self.divisor)), Signal(range(11)), Signal(10, init=0x3FF)
        m.d.comb += [self.tx.eq(shift[0]), self.data.ready.eq(left == 0)]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(left == 0):
            with m.If(self.data.valid):
                m.d.sync += [shift.eq(Cat(0, self.data.payload, 1)), left.eq(10), wait.eq(self.divisor - 1)]
        with m.Elif(wait == 0):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), left.eq(left - 1), wait.eq(self.divisor - 1)]
        return m


def _checked(divisor: int) -> int:
    if divisor < LEAST_DIVISOR:
        raise ValueError(
            f"divisor: wanted {LEAST_DIVISOR} clocks a bit or more, found {divisor}; lower the rate"
        )
    return divisor
