"""What boards with a Lattice ECP5 share: clock generator, reset, pads (Lattice FPGA-TN-02200, 02205)."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, IOPort, Module, ResetSignal, Signal

from .board import BoardError

__all__ = ["Pll", "bidirectional", "clocks", "find_pll", "output_clock", "pads"]

#: Limits of EHXPLLL in MHz (FPGA-DS-02012): phase detector, voltage-controlled oscillator.
_DETECTOR, _OSCILLATOR = 10.0, (400.0, 800.0)
#: The clock may be so much faster than the wanted one.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Pll:
    """An EHXPLLL whose oscillator runs at `multiply` times the source divided by `divide`; its clock,
    `mhz`, at that divided by `output`. Feedback goes through output CLKOP, which divides by `multiply`."""

    divide: int
    multiply: int
    output: int
    mhz: float


def find_pll(source_mhz: float, wanted_mhz: float) -> Pll:
    """The nearest clock at or above the wanted one, its oscillator as near 600 MHz as can be.

    BoardError where none lies within 1 %.
    """
    found: list[tuple[float, float, Pll]] = []
    for divide in range(1, int(source_mhz / _DETECTOR) + 1):
        for multiply in range(1, 129):
            oscillator = source_mhz / divide * multiply
            if _OSCILLATOR[0] <= oscillator <= _OSCILLATOR[1]:
                for output in range(1, 129):
                    mhz = oscillator / output
                    if wanted_mhz - 1e-6 <= mhz <= wanted_mhz * (1 + _TOLERANCE):
                        one = Pll(divide, multiply, output, mhz)
                        found.append((mhz - wanted_mhz, abs(oscillator - 600), one))
    if not found:
        raise BoardError(
            f"wanted a clock of {wanted_mhz:g} MHz, found none within {_TOLERANCE:.0%} that the clock "
            f"generator makes of {source_mhz:g} MHz (3.2 to 400 MHz); ask for another with --clock"
        )
    return min(found, key=lambda one: one[:2])[2]


def clocks(m: Module, source: IOPort, source_mhz: float, pll: Pll, degrees: int) -> Signal:
    """Makes domain ``sync`` of a pin's clock; returns a second clock, later by `degrees`.

    The domain's reset is held for 65,536 cycles of the PLL's lock, and while the lock is lost.
    """
    names = ("clk_source", "clk_feedback", "clk_sync", "clk_later", "pll_locked")
    raw, feedback, clock, later, locked = (Signal(name=name) for name in names)
    m.submodules.source_pad = Instance("IB", i_I=source, o_O=raw)
    eighths = round(degrees * pll.output * 8 / 360)
    m.submodules.pll = Instance(
        "EHXPLLL",
        p_CLKI_DIV=pll.divide, p_CLKFB_DIV=1, p_FEEDBK_PATH="CLKOP",
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=pll.multiply, p_CLKOP_CPHASE=pll.multiply - 1, p_CLKOP_FPHASE=0,
        p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=pll.output, p_CLKOS_CPHASE=pll.output - 1, p_CLKOS_FPHASE=0,
        p_CLKOS2_ENABLE="ENABLED", p_CLKOS2_DIV=pll.output,
        p_CLKOS2_CPHASE=pll.output - 1 + eighths // 8, p_CLKOS2_FPHASE=eighths % 8,
        a_FREQUENCY_PIN_CLKI=f"{source_mhz:g}", a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
        i_RST=Const(0), i_STDBY=Const(0), i_CLKI=raw, i_CLKFB=feedback, i_ENCLKOP=Const(0),
        i_ENCLKOS=Const(0), i_ENCLKOS2=Const(0),
        o_CLKOP=feedback, o_CLKOS=clock, o_CLKOS2=later, o_LOCK=locked,
    )  # fmt: skip
    m.domains.sync = ClockDomain("sync")
    m.domains.start = ClockDomain("start", reset_less=True)
    m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("start").eq(clock)]
    stages, count, held = Signal(2), Signal(17), Signal(init=1)
    m.d.start += [stages.eq((stages << 1) | locked), held.eq(~count[-1])]
    with m.If(~stages[1]):
        m.d.start += count.eq(0)
    with m.Elif(~count[-1]):
        m.d.start += count.eq(count + 1)
    m.d.comb += ResetSignal("sync").eq(held)
    return later


def output_clock(m: Module, name: str, pin: IOPort, clock: Signal) -> None:
    """A clock on a pin, through the pin's double-rate register, so that its delay is that of the pad."""
    pad = Signal(name=f"{name}_pad")
    m.submodules[f"{name}_register"] = Instance(
        "ODDRX1F", i_D0=Const(1), i_D1=Const(0), i_SCLK=clock, i_RST=Const(0), o_Q=pad
    )
    m.submodules[f"{name}_pad"] = Instance("OB", i_I=pad, o_O=pin)


def bidirectional(m: Module, name: str, pins: IOPort, out: Signal, enable: Signal, into: Signal) -> None:
    """Pads that drive `out` while `enable` is high and give what is on the pins."""
    for bit in range(len(pins)):
        m.submodules[f"{name}_{bit}"] = Instance(
            "BB", io_B=pins[bit], i_I=out[bit], i_T=~enable, o_O=into[bit]
        )


def pads(
    m: Module, name: str, pins: IOPort, *, out: Signal | None = None, into: Signal | None = None
) -> None:
    """Pads of one direction."""
    for bit in range(len(pins)):
        if out is not None:
            m.submodules[f"{name}_{bit}"] = Instance("OB", i_I=out[bit], o_O=pins[bit])
        elif into is not None:
            m.submodules[f"{name}_{bit}"] = Instance("IB", i_I=pins[bit], o_O=into[bit])
