"""What an SDRAM's banks are doing, and when each may be commanded again."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .sdram_timing import SdramTiming

__all__ = ["SdramBanks"]

#: Parts whose rows are looked up.
LOOKS = 2


class SdramBanks(wiring.Component):
    """Open rows and timers of the 4 banks.

    Parameters
    ----------
    clock_mhz : float
    timing : SdramTiming

    Members
    -------
    activate, close, read, write : In(1)
        A command in this cycle to `bank`; `row` with the first.
    close_all : In(1)
        PRECHARGE of all banks.
    bank, row : In
    look_bank, look_row : In, 2 each
        hit, other : Out(2), bit i of look i: this row is open, another one is; one cycle later.
    may_activate, may_access, may_close : Out(4)
        By bank, as far as time goes.

    A timer set by a command in cycle t lets the next command pass in cycle t + its clocks.
    """

    def __init__(self, clock_mhz: float, timing: SdramTiming):
        self.clock_mhz, self.timing = clock_mhz, timing
        row = range(timing.rows)
        super().__init__(
            {
                **{name: In(1) for name in ("activate", "close", "read", "write", "close_all")},
                "bank": In(2),
                "row": In(row),
                "look_bank": In(2).array(LOOKS),
                "look_row": In(row).array(LOOKS),
                "hit": Out(LOOKS),
                "other": Out(LOOKS),
                **{name: Out(4) for name in ("may_activate", "may_access", "may_close")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        names = ("t_rcd", "t_ras", "t_rc", "t_rp", "t_wr", "t_rrd")
        rcd, ras, rc, rp, wr, rrd = (self.timing.clocks(name, self.clock_mhz) for name in names)
        longest = max(rcd, ras, rc, rp, wr + 1, rrd, 2)
        is_open, among = Signal(4), Signal(range(longest))
        rows = [Signal(range(self.timing.rows), name=f"row{b}") for b in range(4)]
        kinds = ("activate", "access", "close")
        timers = {kind: [Signal(range(longest), name=f"{kind}{b}") for b in range(4)] for kind in kinds}
        for timer in (among, *(timer for four in timers.values() for timer in four)):
            with m.If(timer != 0):
                m.d.sync += timer.eq(timer - 1)

        def hold(kind: str, b: int, clocks: int) -> None:
            """So many clocks from this command, or what is left of an earlier one's, if more."""
            timer = timers[kind][b]
            m.d.sync += timer.eq(Mux(timer > clocks, timer - 1, clocks - 1))

        for b in range(4):
            with m.If(self.bank == b):
                with m.If(self.activate):
                    m.d.sync += [is_open[b].eq(1), rows[b].eq(self.row)]
                    hold("access", b, rcd)
                    hold("close", b, ras)
                    hold("activate", b, rc)
                with m.If(self.close):
                    m.d.sync += is_open[b].eq(0)
                    hold("activate", b, rp)
                with m.If(self.read):
                    hold("close", b, 2)
                with m.If(self.write):
                    hold("close", b, 1 + wr)
        with m.If(self.activate):
            m.d.sync += among.eq(rrd - 1)
        with m.If(self.close_all):
            m.d.sync += is_open.eq(0)
        m.d.comb += [
            self.may_activate.eq(Cat(timer == 0 for timer in timers["activate"]) & (among == 0).replicate(4)),
            self.may_access.eq(Cat(timer == 0 for timer in timers["access"])),
            self.may_close.eq(Cat(timer == 0 for timer in timers["close"])),
        ]
        for i in range(LOOKS):
            found = is_open.bit_select(self.look_bank[i], 1)
            same = Array(rows)[self.look_bank[i]] == self.look_row[i]
            m.d.sync += [self.hit[i].eq(found & same), self.other[i].eq(found & ~same)]
        return m
