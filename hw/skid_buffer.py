"""A stream whose ``ready`` is a register."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import Layout
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Passes a stream on; an item that is not taken at once stands aside.

    Whether ``i`` is ready depends on a register alone, so that ways through ``o.ready`` end here. Nothing is
    delayed: an item passes in the cycle in which it comes.

    Parameters
    ----------
    shape : Layout
        Of an item.

    Members
    -------
    i, o : In, Out(stream of the shape)
        An item is taken into ``i`` at most one ahead of ``o``.
    """

    def __init__(self, shape: Layout) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        aside = Signal(self.shape, reset_less=True)
        held = Signal()
        shown = Mux(held, Value.cast(aside), Value.cast(self.i.payload))
        m.d.comb += [
            self.i.ready.eq(~held),
            self.o.valid.eq(held | self.i.valid),
            Value.cast(self.o.payload).eq(shown),
        ]
        m.d.sync += held.eq(self.o.valid & ~self.o.ready)
        with m.If(~held):
            m.d.sync += aside.eq(self.i.payload)
        return m
