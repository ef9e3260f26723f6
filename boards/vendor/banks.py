"""Memory in several banks: the machine's addresses, page by page in turn, to those of the banks."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.axi4 import ADDRESS_BITS, BOUNDARY, address_layout

from ..axi_lite import RegisterPort

__all__ = ["PAGE", "Banks", "placed_layout"]

#: Bytes that lie together in a bank: no burst crosses such a boundary.
PAGE = BOUNDARY
_OFFSET = (PAGE - 1).bit_length()
#: Addresses that wait on each channel.
_DEPTH = 4


def placed_layout(address_bits: int) -> data.StructLayout:
    """AR or AW payload with an address of so many bits."""
    return data.StructLayout({"addr": address_bits, "len": 8})


class Banks(wiring.Component):
    """Page p of the machine's memory is page p // count of bank p % count.

    So a stream of addresses in order keeps all banks at work, as pseudo-channels of an HBM stack want it,
    each of which alone gives less than a bus of the machine takes. A burst lies in one bank, since it crosses
    no boundary of a page. A burst leaves two or more cycles after it came; one a cycle and channel.

    Parameters
    ----------
    count : int
        Banks: a power of two, 2 or more.
    channels : int
        Channels of addresses.
    address_bits : int
        Of what leaves: at most 64.

    Members
    -------
    bursts : In(stream of address_layout()) array, placed : Out(stream of placed_layout(address_bits)) array
        Of each channel.
    registers : RegisterPort (from its other side)
        Word 2 b and 2 b + 1 (modulo 2 count): the address of bank b, low and high half; the low 12 bits are
        taken as 0. They keep still while a burst is under way.
    """

    def __init__(self, count: int, channels: int, address_bits: int):
        if count < 2 or count & count - 1:
            raise ValueError(f"banks must be a power of two, 2 or more, found {count}")
        self.count, self.channels, self.address_bits = count, channels, address_bits
        super().__init__(
            {
                "bursts": In(stream.Signature(address_layout())).array(channels),
                "placed": Out(stream.Signature(placed_layout(address_bits))).array(channels),
                "registers": In(RegisterPort(14)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        select = (self.count - 1).bit_length()
        bases = Array(Signal(self.address_bits - _OFFSET, name=f"base_{i}") for i in range(self.count))

        # Registers.
        port, index = self.registers, self.registers.addr[1 : 1 + select]
        low = 32 - _OFFSET
        shown = Signal(64)
        m.d.comb += shown[_OFFSET:].eq(bases[index])
        m.d.sync += port.rdata.eq(shown.word_select(port.addr[0], 32))
        with m.If(port.write):
            with m.If(port.addr[0]):
                m.d.sync += bases[index][low:].eq(port.wdata)
            with m.Else():
                m.d.sync += bases[index][:low].eq(port.wdata[_OFFSET:])

        # Page to bank, through a queue on either side of the adder.
        for i in range(self.channels):
            burst, out = self.bursts[i], self.placed[i]
            queue = SyncFIFOBuffered(width=len(out.payload.as_value()), depth=_DEPTH)
            m.submodules[f"queue_{i}"] = queue
            held, full = Signal(address_layout(), name=f"held_{i}"), Signal(name=f"full_{i}")
            there = Signal(placed_layout(self.address_bits), name=f"there_{i}")
            page = held.addr[_OFFSET:]
            m.d.comb += [
                burst.ready.eq(~full | queue.w_rdy),
                there.addr[:_OFFSET].eq(held.addr[:_OFFSET]),
                there.addr[_OFFSET:].eq(bases[page[:select]] + page[select : ADDRESS_BITS - _OFFSET]),
                there.len.eq(held.len),
                queue.w_data.eq(there),
                queue.w_en.eq(full),
                out.payload.eq(queue.r_data),
                out.valid.eq(queue.r_rdy),
                queue.r_en.eq(out.ready),
            ]
            with m.If(burst.ready):
                m.d.sync += [full.eq(burst.valid), held.eq(burst.payload)]
        return m
