"""From blocks of 16 activations to groups of 5, one for each byte of trits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .trit_decode import TRITS_PER_BYTE

__all__ = ["GROUP", "ActivationGroups"]

#: Five activations, the first lowest, and whether they are the last of the vector.
GROUP = data.StructLayout({"activations": 8 * TRITS_PER_BYTE, "last": 1})

#: Bytes that can be left when a block is added, and room for both.
_LEFT = TRITS_PER_BYTE - 1
_STORE = BLOCK + _LEFT


class ActivationGroups(wiring.Component):
    """Streams a vector of the activation buffer in groups of five, zeros beyond its end.

    The first group is there 2 cycles after ``start``, then one a cycle. The output of the buffer is used as
    a register: it always holds the next block.

    Members
    -------
    start : In(1)
        Begin a vector; only while no vector is being sent.
    q, k : In(16), In(16)
        First activation, a multiple of 16, and number of activations, 1 or more; read with ``start``.
    read : Out(BlockRead(1))
        Port of the activation buffer.
    groups : Out(stream of `GROUP`)
        ceil(k / 5) groups.
    """

    start: In(1)
    q: In(16)
    k: In(16)
    read: Out(BlockRead(1))
    groups: Out(stream.Signature(GROUP))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal()
        block = Signal(16)
        store = Signal(8 * _STORE, reset_less=True)
        level = Signal(range(_STORE + 1))
        left = Signal(16)

        sent = Signal()
        refill = Signal()
        remain = Signal(range(_STORE + 1))
        m.d.comb += [
            sent.eq(self.groups.valid & self.groups.ready),
            remain.eq(Mux(sent, level - TRITS_PER_BYTE, level)),
            refill.eq(busy & (remain <= _LEFT)),
        ]

        # Ask for the block that the output of the buffer shall hold in the next cycle.
        with m.If(self.start):
            m.d.comb += self.read.block.eq(self.q >> (BLOCK - 1).bit_length())
        with m.Else():
            m.d.comb += self.read.block.eq(block + refill)
        m.d.sync += block.eq(self.read.block)

        # Drop the group that was sent; put the block behind what remains.
        kept = Signal(8 * _STORE)
        m.d.comb += kept.eq(Mux(sent, store >> 8 * TRITS_PER_BYTE, store))
        m.d.sync += [store.eq(kept), level.eq(remain)]
        with m.If(refill):
            m.d.sync += level.eq(remain + BLOCK)
            with m.Switch(remain):
                for count in range(_LEFT + 1):
                    with m.Case(count):
                        m.d.sync += store.eq(Cat(kept[: 8 * count], self.read.data))

        # Zeros beyond the end of the vector.
        for i in range(TRITS_PER_BYTE):
            byte = store[8 * i : 8 * i + 8]
            m.d.comb += self.groups.p.activations[8 * i : 8 * i + 8].eq(Mux(left > i, byte, Const(0)))
        m.d.comb += [
            self.groups.valid.eq(busy & (level >= TRITS_PER_BYTE)),
            self.groups.p.last.eq(left <= TRITS_PER_BYTE),
        ]

        with m.If(sent):
            m.d.sync += left.eq(left - TRITS_PER_BYTE)
            with m.If(self.groups.p.last):
                m.d.sync += busy.eq(0)
        with m.If(self.start):
            m.d.sync += [busy.eq(1), level.eq(0), left.eq(self.k)]
        return m
