"""The small design with its host link: what a board file connects to pins."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.isa import digest

from .link import Link
from .ternary_unit import TernaryUnit
from .uart import divisor_of

__all__ = ["TernaryTop"]


class TernaryTop(wiring.Component):
    """`TernaryUnit` behind the UART link (`boards.link`); only the link's CSR commands do anything.

    Parameters
    ----------
    clock_mhz : float
        Of ``sync``, which the board makes.
    baud : int

    Members
    -------
    rx, tx : In(1), Out(1)
    leds : Out(4)
        Working, a frame came, something was damaged, always on.
    """

    def __init__(self, *, clock_mhz: float, baud: int):
        self.clock_mhz, self.divisor = clock_mhz, divisor_of(clock_mhz, baud)
        self.unit = TernaryUnit()
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(4)})  # pyright: ignore[reportCallIssue]

    def identity(self) -> dict[str, int]:
        """What HELLO says: the machine's digest, no memory."""
        return {
            "machine": int(self.unit.config.digest()[:8], 16),
            "isa": int(digest()[:8], 16),
            "memory_bytes": 0,
            "clock_khz": round(1000 * self.clock_mhz),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = Link(self.divisor, self.identity())
        m.submodules.unit = unit = self.unit
        connect(m, link.csr, unit.csr)
        seen = [self.leds[1], self.leds[2]]
        with m.If(link.heard):
            m.d.sync += seen[0].eq(~seen[0])
        with m.If(link.damaged):
            m.d.sync += seen[1].eq(~seen[1])
        m.d.comb += [
            link.rx.eq(self.rx),
            link.ready.eq(1),
            self.tx.eq(link.tx),
            self.leds[0].eq(unit.busy),
            self.leds[3].eq(1),
        ]
        return m
