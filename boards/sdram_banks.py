"""What an SDRAM's banks are doing, and when each may be commanded again."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .sdram_timing import SdramTiming

__all__ = ["SdramBanks"]

#: Parts whose rows are looked up.
LOOKS = 2


class SdramBanks(wiring.Component):
    """Open rows and timers of the 4 banks.

    A timer is a shift register: bit i is set while its command must wait i + 1 clocks or more, so a command
    is an OR of ones, the longest of several waits wins, and bit 0 is the answer.

    Parameters
    ----------
    clock_mhz : float
    timing : SdramTiming

    Members
    -------
    activate, close : In(2)
        Bit i: this command in this cycle for look i, to its bank and row; at most one bit of the four.
    read, write : In(1)
        A command in this cycle to the bank of look 0.
    close_all : In(1)
        PRECHARGE of all banks.
    look_bank, look_row : In, 2 each
        can_close, can_activate : Out(2), bit i of look i, one cycle later: another row than this one is open
        and may be closed now; none is, and it may be opened now. hit : Out(2), this row is open. They hold
        if there was no row command in the cycle of the look, nor a column command to the look's bank.
    idle, closed : Out(1)
        Every bank may be closed; may be opened.

    A timer set by a command in cycle t lets the next command pass in cycle t + its clocks.
    """

    def __init__(self, clock_mhz: float, timing: SdramTiming):
        self.clock_mhz, self.timing = clock_mhz, timing
        super().__init__(
            {
                **{name: In(LOOKS) for name in ("activate", "close")},
                **{name: In(1) for name in ("read", "write", "close_all")},
                "look_bank": In(2).array(LOOKS),
                "look_row": In(range(timing.rows)).array(LOOKS),
                **{name: Out(LOOKS) for name in ("hit", "can_close", "can_activate")},
                "idle": Out(1),
                "closed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        names = ("t_ras", "t_rc", "t_rp", "t_wr", "t_rrd")
        ras, rc, rp, wr, rrd = (self.timing.clocks(name, self.clock_mhz) for name in names)
        is_open = Signal(4)
        rows = [Signal(range(self.timing.rows), name=f"row{b}") for b in range(4)]

        def timer(name: str, *waits: tuple[Value, int]) -> Signal:
            """Of each (command, clocks)."""
            left = Signal(max(1, max(clocks for _, clocks in waits) - 1), name=name)
            after: Value = left >> 1
            for command, clocks in waits:
                after = after | (command.replicate(len(left)) & Const((1 << clocks - 1) - 1, len(left)))
            m.d.sync += left.eq(after)
            return left

        among = timer("among", (self.activate.any(), rrd))
        timers: dict[str, list[Signal]] = {"activate": [], "close": []}
        for b in range(4):
            mine = Cat(bank == b for bank in self.look_bank)
            activate, close = Signal(name=f"activated{b}"), Signal(name=f"closed{b}")
            m.d.comb += [activate.eq((self.activate & mine).any()), close.eq((self.close & mine).any())]
            timers["activate"].append(timer(f"activate{b}", (activate, rc), (close, rp)))
            timers["close"].append(
                timer(f"close{b}", (activate, ras), (self.read & mine[0], 2), (self.write & mine[0], 1 + wr))
            )
            with m.If(activate):
                m.d.sync += is_open[b].eq(1)
            with m.If(close | self.close_all):
                m.d.sync += is_open[b].eq(0)
            for i in range(LOOKS):
                with m.If(self.activate[i] & mine[i]):
                    m.d.sync += rows[b].eq(self.look_row[i])

        def waits(kind: str, clock: int) -> Value:
            """By bank, `clock` clocks from now if there is no command until then."""
            return Cat(left[clock] if clock < len(left) else Const(0, 1) for left in timers[kind])

        next_among = among[1] if len(among) > 1 else 0
        m.d.comb += [
            self.idle.eq(~waits("close", 0).any()),
            self.closed.eq(~(waits("activate", 0).any() | among[0])),
        ]
        for i in range(LOOKS):
            bank = self.look_bank[i]
            found = is_open.bit_select(bank, 1)
            same = Array(rows)[bank] == self.look_row[i]
            m.d.sync += [
                self.hit[i].eq(found & same),
                self.can_close[i].eq(found & ~same & ~waits("close", 1).bit_select(bank, 1)),
                self.can_activate[i].eq(~found & ~waits("activate", 1).bit_select(bank, 1) & ~next_among),
            ]
        return m
