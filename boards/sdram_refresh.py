"""Power-up and refresh of an SDRAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .sdram_timing import SdramCommand, SdramTiming

__all__ = ["LATE", "SdramRefresh"]

#: Clocks that a REFRESH may come late, at most: the drain of a burst, PRECHARGE.
LATE = 32


class SdramRefresh(wiring.Component):
    """Takes the chip for its own commands while `busy`: initialisation first, then REFRESH each `t_refi`.

    Parameters
    ----------
    clock_mhz : float
    timing : SdramTiming

    Members
    -------
    quiet : In(1)
        Time permits PRECHARGE of all banks and no data are under way. closed : In(1), REFRESH likewise.
    busy : Out(1)
        Give no other command.
    command, address : Out
        In this cycle, while `busy`. close_all : Out(1), it is PRECHARGE of all banks.
    ready : Out(1)
        The chip is initialised.

    A refresh: PRECHARGE, tRP, REFRESH, tRFC; 2 clocks more of overhead.
    """

    def __init__(self, clock_mhz: float, timing: SdramTiming):
        self.clock_mhz, self.timing = clock_mhz, timing
        super().__init__(
            {
                "quiet": In(1),
                "closed": In(1),
                "busy": Out(1, init=1),  # pyright: ignore[reportCallIssue]  Member takes it
                "command": Out(4, init=SdramCommand.NOP),  # pyright: ignore[reportCallIssue]
                "address": Out(13),
                "close_all": Out(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timing, names = self.timing, ("t_rp", "t_rfc", "t_ras", "t_wr", "init_us", "t_refi")
        rp, rfc, ras, wr, power_up, interval = (timing.clocks(name, self.clock_mhz) for name in names)
        interval -= LATE
        # Not reset: the chip keeps its power when the rest is reset. Some clocks more: the chip may see its
        # clock later than this does.
        powering = Signal(range(power_up + LATE + 1), init=power_up + LATE, reset_less=True)
        left, timer = Signal(range(timing.init_refreshes + 1)), Signal(range(interval), init=interval - 1)
        again = max(rfc, ras) + wr
        wait = Signal(range(again + 1))
        m.d.sync += timer.eq(timer - 1)
        with m.If(timer == 0):
            m.d.sync += timer.eq(interval - 1)
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        m.d.comb += self.command.eq(SdramCommand.NOP)
        with m.FSM():
            with m.State("POWER"):
                m.d.sync += [wait.eq(again), left.eq(timing.init_refreshes - 1)]
                with m.If(powering != 0):
                    m.d.sync += powering.eq(powering - 1)
                with m.Else():
                    m.next = "CLOSE"
            with m.State("RUN"):
                with m.If(timer == 0):
                    m.d.sync += self.busy.eq(1)
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If((wait == 0) & self.quiet):
                    m.d.comb += [
                        self.command.eq(SdramCommand.PRECHARGE), self.address.eq(1 << 10),
                        self.close_all.eq(1),
                    ]  # fmt: skip
                    m.d.sync += wait.eq(rp - 1)
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                with m.If((wait == 0) & self.closed):
                    m.d.comb += self.command.eq(SdramCommand.REFRESH)
                    m.d.sync += wait.eq(rfc - 1)
                    m.next = "AFTER"
            with m.State("AFTER"):
                with m.If(wait == 0):
                    with m.If(left != 0):
                        m.d.sync += left.eq(left - 1)
                        m.next = "REFRESH"
                    with m.Elif(~self.ready):
                        m.d.comb += [self.command.eq(SdramCommand.MODE), self.address.eq(timing.mode)]
                        m.d.sync += [wait.eq(timing.mode_clocks - 1), self.ready.eq(1)]
                    with m.Else():
                        m.d.sync += self.busy.eq(0)
                        m.next = "RUN"
        return m
