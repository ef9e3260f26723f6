"""From blocks of 16 activations to groups of 5, one for each byte of trits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_buffer import BLOCK, BlockRead
from .trit_decode import TRITS_PER_BYTE

__all__ = ["ActivationGroups", "group_layout"]

#: Bytes that can be left when a block is added, and room for both.
_LEFT = TRITS_PER_BYTE - 1
_STORE = BLOCK + _LEFT


def group_layout(tokens: int) -> data.StructLayout:
    """Five activations of each token, the first lowest, and whether they are the last of the vectors."""
    return data.StructLayout({"activations": data.ArrayLayout(8 * TRITS_PER_BYTE, tokens), "last": 1})


class ActivationGroups(wiring.Component):
    """Streams a vector of each token from the activation buffer, in groups of five, zeros beyond the end.

    The first group is there 2 cycles after ``start``, then one a cycle. The vectors of all tokens lie at the
    same place and have the same length. The output of the buffer is used as a register: it always holds the
    next blocks.

    Parameters
    ----------
    tokens : int
        Vectors side by side.

    Members
    -------
    start : In(1)
        Begin a vector; only while no vector is being sent.
    q, k : In(16), In(16)
        First activation, a multiple of 16, and number of activations, 1 or more; read with ``start``.
    read : Out(BlockRead(1, tokens))
        Port of the activation buffer.
    groups : Out(stream of `group_layout(tokens)`)
        ceil(k / 5) groups.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__({
            "start": In(1),
            "q": In(16),
            "k": In(16),
            "read": Out(BlockRead(1, tokens)),
            "groups": Out(stream.Signature(group_layout(tokens))),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal()
        block = Signal(16)
        stores = [Signal(8 * _STORE, name=f"store{t}", reset_less=True) for t in range(self.tokens)]
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

        # Drop the group that was sent; put the block behind what remains. Zeros beyond the end of the vector.
        m.d.sync += level.eq(Mux(refill, remain + BLOCK, remain))
        for t, store in enumerate(stores):
            kept = Signal(8 * _STORE, name=f"kept{t}")
            m.d.comb += kept.eq(Mux(sent, store >> 8 * TRITS_PER_BYTE, store))
            m.d.sync += store.eq(kept)
            with m.If(refill), m.Switch(remain):
                for count in range(_LEFT + 1):
                    with m.Case(count):
                        m.d.sync += store.eq(Cat(kept[: 8 * count], self.read.data[t]))
            group = self.groups.p.activations[t]
            for i in range(TRITS_PER_BYTE):
                byte = store[8 * i : 8 * i + 8]
                m.d.comb += group[8 * i : 8 * i + 8].eq(Mux(left > i, byte, Const(0)))
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
