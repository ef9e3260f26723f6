"""From blocks of 16 activations to groups of 5, one for each byte of trits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .trit_decode import TRITS_PER_BYTE

__all__ = ["ActivationGroups", "group_layout"]


def group_layout(tokens: int, width: int = 1) -> data.StructLayout:
    """``width`` groups of five activations of each token, the first lowest; whether they end the vectors.

    With two groups ``more`` says that the second is not beyond the end.
    """
    return data.StructLayout({
        "activations": data.ArrayLayout(8 * TRITS_PER_BYTE * width, tokens),
        "last": 1,
        **({"more": 1} if width > 1 else {}),
    })  # fmt: skip


class ActivationGroups(wiring.Component):
    """Streams a vector of each token from the activation buffer, in groups of five, zeros beyond the end.

    The first group is there 2 cycles after ``start``, then one a cycle, or up to two. The vectors of all
    tokens lie at the same place and have the same length. The output of the buffer is used as a register: it
    always holds the next blocks.

    Parameters
    ----------
    tokens : int
        Vectors side by side.
    width : int
        Groups that are offered at a time: 1, or 2, of which ``both`` takes both.

    Members
    -------
    start : In(1)
        Begin a vector; only while no vector is being sent.
    q, k : In(16), In(16)
        First activation, a multiple of 16, and number of activations, 1 or more; read with ``start``.
    read : Out(BlockRead(1, tokens))
        Port of the activation buffer.
    groups : Out(stream of `group_layout(tokens, width)`)
        ceil(k / 5) groups.
    both : In(1)
        The second group is taken too, if there is ``more``; ``last`` depends on it. Absent of width 1.
    """

    def __init__(self, tokens: int, width: int = 1) -> None:
        self.tokens, self.width = tokens, width
        super().__init__({
            "start": In(1),
            "q": In(16),
            "k": In(16),
            "read": Out(BlockRead(1, tokens)),
            "groups": Out(stream.Signature(group_layout(tokens, width))),
            **({"both": In(1)} if width > 1 else {}),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offered = TRITS_PER_BYTE * self.width
        most = offered - 1  # bytes that can be left when a block is added
        room = BLOCK + most
        busy = Signal()
        block = Signal(16)
        stores = [Signal(8 * room, name=f"store{t}", reset_less=True) for t in range(self.tokens)]
        level = Signal(range(room + 1))
        left = Signal(16)

        sent = Signal()
        refill = Signal()
        size = Signal(range(offered + 1))
        remain = Signal(range(room + 1))
        m.d.comb += [
            sent.eq(self.groups.valid & self.groups.ready),
            size.eq(TRITS_PER_BYTE),
            remain.eq(Mux(sent, level - size, level)),
            refill.eq(busy & (remain <= most)),
        ]
        if self.width > 1:
            m.d.comb += self.groups.p.more.eq(left > TRITS_PER_BYTE)
            with m.If(self.both & self.groups.p.more):
                m.d.comb += size.eq(offered)

        # Ask for the block that the output of the buffer shall hold in the next cycle.
        with m.If(self.start):
            m.d.comb += self.read.block.eq(self.q >> (BLOCK - 1).bit_length())
        with m.Else():
            m.d.comb += self.read.block.eq(block + refill)
        m.d.sync += block.eq(self.read.block)

        # Drop the group that was sent; put the block behind what remains. Zeros beyond the end of the vector.
        m.d.sync += level.eq(Mux(refill, remain + BLOCK, remain))
        for t, store in enumerate(stores):
            kept = Signal(8 * room, name=f"kept{t}")
            m.d.comb += kept.eq(store)
            for groups in range(1, self.width + 1):
                with m.If(sent & (size == TRITS_PER_BYTE * groups)):
                    m.d.comb += kept.eq(store >> 8 * TRITS_PER_BYTE * groups)
            m.d.sync += store.eq(kept)
            with m.If(refill), m.Switch(remain):
                for count in range(most + 1):
                    with m.Case(count):
                        m.d.sync += store.eq(Cat(kept[: 8 * count], self.read.data[t]))
            group = self.groups.p.activations[t]
            for i in range(offered):
                byte = store[8 * i : 8 * i + 8]
                m.d.comb += group[8 * i : 8 * i + 8].eq(Mux(left > i, byte, Const(0)))
        m.d.comb += [
            self.groups.valid.eq(busy & (level >= offered)),
            self.groups.p.last.eq(left <= size),
        ]

        with m.If(sent):
            m.d.sync += left.eq(left - size)
            with m.If(self.groups.p.last):
                m.d.sync += busy.eq(0)
        with m.If(self.start):
            m.d.sync += [busy.eq(1), level.eq(0), left.eq(self.k)]
        return m
