"""The counters of `isa.COUNTERS`."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa import COUNTER_INDEX, COUNTERS


class Counters(wiring.Component):
    """64-bit counters: each adds its amount every cycle.

    Parameters
    ----------
    widths : dict of str to int
        Bits of the amount of each counter, by name; all of `isa.COUNTERS` must be given.

    Members
    -------
    add_<name> : In(bits)
        What the counter gains in this cycle.
    clear : In(1)
        Zero all; what came in the cycle before is not added.
    value : Out(64) array, in the order of `isa.COUNTERS`

    Latency: two cycles, the first of which keeps the amounts, that come from all over the machine.
    """

    def __init__(self, widths: dict[str, int]):
        if set(widths) != set(COUNTER_INDEX):
            raise ValueError(f"counters wanted {sorted(COUNTER_INDEX)}, found {sorted(widths)}")
        self.widths = widths
        super().__init__(
            {
                **{f"add_{name}": In(bits) for name, bits in widths.items()},
                "clear": In(1),
                "value": Out(64).array(len(COUNTERS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i, counter in enumerate(COUNTERS):
            amount = Signal(self.widths[counter.name], name=f"amount_{counter.name}")
            m.d.sync += amount.eq(getattr(self, f"add_{counter.name}"))
            with m.If(self.clear):
                m.d.sync += self.value[i].eq(0)
            with m.Elif(amount != 0):
                m.d.sync += self.value[i].eq(self.value[i] + amount)
        return m
