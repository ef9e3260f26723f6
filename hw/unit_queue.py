"""The queue between the sequencer and a unit."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["UnitQueue", "count"]


def count(value: Signal, up: Value, down: Value) -> Value:
    """``value + up - down`` without a carry chain: of a few bits, each is one look-up table."""
    changes, bits = up ^ down, []
    for i in range(len(value)):
        below = value[:i]
        bits.append(value[i] ^ (changes & Mux(up, below.all(), ~below.any()) if i else changes))
    return Cat(*bits)


class UnitQueue(wiring.Component):
    """First in, first out; the output is a register, which an entry reaches a cycle after it was written if
    no other is before it. (`amaranth.lib.fifo.SyncFIFOBuffered` takes two.)

    Parameters
    ----------
    width : int
        Bits of an entry.
    depth : int
        Entries, 2 or more.

    Members
    -------
    w_data, w_rdy, w_en : In(width), Out(1), In(1)
        Write an entry; only while ``w_rdy``, which is a register.
    r_data, r_rdy, r_en : Out(width), Out(1), In(1)
        The oldest entry, whether there is one, and its taking; only while ``r_rdy``.
    level : Out(range(depth + 1))
        Entries.

    Latency: 1 cycle.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2:
            raise ValueError(f"UnitQueue: wanted a depth of 2 or more, found {depth}")
        self.width, self.depth = width, depth
        super().__init__(
            {
                "w_data": In(width),
                "w_rdy": Out(1),
                "w_en": In(1),
                "r_data": Out(width),
                "r_rdy": Out(1),
                "r_en": In(1),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Those behind the first one.
        m.submodules.behind = behind = SyncFIFO(width=self.width, depth=self.depth - 1)
        moves, full = Signal(), Signal()
        m.d.sync += full.eq(count(behind.level, behind.w_en, behind.r_en) == self.depth - 1)
        m.d.comb += [
            moves.eq(~self.r_rdy | self.r_en),
            self.w_rdy.eq(~full),
            self.level.eq(behind.level + self.r_rdy),
            behind.w_data.eq(self.w_data),
            behind.w_en.eq(self.w_en & (~moves | behind.r_rdy)),
            behind.r_en.eq(moves & behind.r_rdy),
        ]
        with m.If(moves):
            m.d.sync += [
                self.r_data.eq(Mux(behind.r_rdy, behind.r_data, self.w_data)),
                self.r_rdy.eq(behind.r_rdy | self.w_en),
            ]
        return m
