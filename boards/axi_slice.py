"""AXI4 register slices: no path goes through, neither of data nor of their flow control."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi4 import ReadPort, WritePort, address_layout, read_layout, write_layout

__all__ = ["AxiSlice", "StreamSlice"]


class StreamSlice(wiring.Component):
    """A stream through two registers.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i, o : In(stream), Out(stream)
        `o` and `i.ready` come from registers.

    Latency 1 cycle; a word every cycle.
    """

    def __init__(self, shape: object):
        signature = stream.Signature(shape)  # pyright: ignore[reportArgumentType]
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # `second` keeps what came while `o` had to wait.
        second, room = Signal.like(self.i.payload, name="second"), Signal(init=1)
        payload, valid = Signal.like(self.i.payload, name="first"), Signal()
        m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(valid), self.i.ready.eq(room)]
        with m.If(room):
            m.d.sync += second.eq(self.i.payload)
        with m.If(self.o.ready | ~valid):
            m.d.sync += [valid.eq(self.i.valid | ~room), room.eq(1)]
            with m.If(room):
                m.d.sync += payload.eq(self.i.payload)
            with m.Else():
                m.d.sync += payload.eq(second)
        with m.Elif(self.i.valid):
            m.d.sync += room.eq(0)
        return m


class AxiSlice(wiring.Component):
    """Register slices on all five channels.

    Parameters
    ----------
    data_bytes : int

    Members
    -------
    read, write : In(ReadPort), In(WritePort) (from their other sides)
        The manager.
    memory_read, memory_write : ReadPort, WritePort

    Latency: 1 cycle on each channel; a beat every cycle.
    """

    def __init__(self, data_bytes: int):
        self.data_bytes = data_bytes
        super().__init__(
            {
                "read": In(ReadPort(data_bytes)),
                "write": In(WritePort(data_bytes)),
                "memory_read": Out(ReadPort(data_bytes)),
                "memory_write": Out(WritePort(data_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def sliced(name: str, shape: object, source, target) -> None:
            m.submodules[name] = one = StreamSlice(shape)
            connect(m, source, one.i)
            connect(m, one.o, target)

        sliced("ar", address_layout(), flipped(self.read.ar), flipped(self.memory_read.ar))
        sliced("r", read_layout(self.data_bytes), flipped(self.memory_read.r), flipped(self.read.r))
        sliced("aw", address_layout(), flipped(self.write.aw), flipped(self.memory_write.aw))
        sliced("w", write_layout(self.data_bytes), flipped(self.write.w), flipped(self.memory_write.w))
        sliced("b", 2, flipped(self.memory_write.b), flipped(self.write.b))
        return m
