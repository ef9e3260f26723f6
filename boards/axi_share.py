"""Two AXI4 managers on one memory."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.axi4 import ReadPort, WritePort

__all__ = ["AxiShare"]

#: Bursts of each direction that are in flight at most.
_FLIGHT = 16


class AxiShare(wiring.Component):
    """Bursts of both managers in the order of their addresses; of two at once manager 1 goes first.

    Parameters
    ----------
    data_bytes : int

    Members
    -------
    read, write : In(ReadPort).array(2), In(WritePort).array(2) (from the other side)
        The managers.
    memory_read, memory_write : ReadPort, WritePort

    Latency: none on addresses; data wait for their place in the order, 2 cycles after the address.
    """

    def __init__(self, data_bytes: int):
        super().__init__(
            {
                "read": In(ReadPort(data_bytes)).array(2),
                "write": In(WritePort(data_bytes)).array(2),
                "memory_read": Out(ReadPort(data_bytes)),
                "memory_write": Out(WritePort(data_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def address(name: str, channels: list, out, *orders: SyncFIFOBuffered) -> None:
            """One of two address channels; the choice stays while the memory makes it wait."""
            held, choice, before, room = (
                Signal(name=f"{name}_{x}") for x in ("held", "choice", "before", "room")
            )
            m.d.comb += [choice.eq(Mux(held, before, channels[1].valid)), room.eq(1)]
            for order in orders:
                with m.If(~order.w_rdy):
                    m.d.comb += room.eq(0)
            m.d.comb += [
                out.valid.eq(Mux(choice, channels[1].valid, channels[0].valid) & room),
                Value.cast(out.payload).eq(Mux(choice, channels[1].payload, channels[0].payload)),
            ]
            m.d.sync += [held.eq(out.valid & ~out.ready), before.eq(choice)]
            for i, channel in enumerate(channels):
                m.d.comb += channel.ready.eq(out.ready & room & (choice == i))
            for order in orders:
                m.d.comb += [order.w_data.eq(choice), order.w_en.eq(out.valid & out.ready)]

        def order(name: str) -> SyncFIFOBuffered:
            m.submodules[name] = fifo = SyncFIFOBuffered(width=1, depth=_FLIGHT)
            return fifo

        reads, data, answers = order("reads"), order("data"), order("answers")
        address("ar", [port.ar for port in self.read], self.memory_read.ar, reads)
        address("aw", [port.aw for port in self.write], self.memory_write.aw, data, answers)

        r = self.memory_read.r
        with m.If(reads.r_rdy):
            m.d.comb += r.ready.eq(Mux(reads.r_data, self.read[1].r.ready, self.read[0].r.ready))
        m.d.comb += reads.r_en.eq(r.valid & r.ready & r.payload.last)
        b = self.memory_write.b
        with m.If(answers.r_rdy):
            m.d.comb += b.ready.eq(Mux(answers.r_data, self.write[1].b.ready, self.write[0].b.ready))
        m.d.comb += answers.r_en.eq(b.valid & b.ready)
        w = self.memory_write.w
        for i in range(2):
            mine = self.write[i].w
            m.d.comb += [
                self.read[i].r.valid.eq(r.valid & reads.r_rdy & (reads.r_data == i)),
                self.read[i].r.payload.eq(r.payload),
                self.write[i].b.valid.eq(b.valid & answers.r_rdy & (answers.r_data == i)),
                self.write[i].b.payload.eq(b.payload),
            ]
            with m.If(data.r_rdy & (data.r_data == i)):
                m.d.comb += [w.valid.eq(mine.valid), w.payload.eq(mine.payload), mine.ready.eq(w.ready)]
        m.d.comb += data.r_en.eq(w.valid & w.ready & w.payload.last)
        return m
