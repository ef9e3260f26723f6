"""From blocks of 16 activations to groups of 5, one for each byte of trits."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
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


def _exceeds(count: Value, most: int) -> Value:
    """Whether an unsigned number is above one below 32."""
    return count[5:].any() | (count[:5] > most)


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
        after = Signal(16)
        # A block of each token, behind it the one that the buffer holds; what is sent begins at `place`.
        stores = [Signal(8 * BLOCK, name=f"store{t}", reset_less=True) for t in range(self.tokens)]
        place = Signal(range(BLOCK))
        filling, valid = Signal(), Signal()
        left = Signal(16)
        #: Whether more than so many activations are left.
        more = Signal(offered + 1)

        sent, two, passed = Signal(), Signal(), Signal()
        size = Mux(two, offered, TRITS_PER_BYTE)
        passes = [place >= BLOCK - TRITS_PER_BYTE * (1 + i) for i in range(2)]
        m.d.comb += [
            sent.eq(valid & self.groups.ready),
            passed.eq(filling | (sent & Mux(two, passes[1], passes[0]))),
            self.groups.valid.eq(valid),
            self.groups.p.last.eq(~Mux(two, more[-1], more[TRITS_PER_BYTE])),
        ]
        if self.width > 1:
            m.d.comb += [self.groups.p.more.eq(more[TRITS_PER_BYTE]), two.eq(self.both & self.groups.p.more)]

        # The next block is asked for in each cycle, and comes where the output of the buffer is passed on.
        first = self.q >> (BLOCK - 1).bit_length()
        m.d.comb += [
            self.read.block.eq(Mux(valid | filling, after, first)),
            self.read.hold.eq(~(self.start | passed)),
        ]
        with m.If(passed):
            m.d.sync += after.eq(after + 1)
        with m.If(self.start):
            m.d.sync += after.eq(first + 1)

        with m.If(passed):
            m.d.sync += [store.eq(self.read.data[t]) for t, store in enumerate(stores)]
        for t, store in enumerate(stores):
            window: Value = Cat(store, self.read.data[t])[: 8 * (offered + BLOCK - 1)]
            for bit, beyond in ((2, 3), (0, 0)):
                moved = Signal(8 * (offered + beyond), name=f"moved{t}_{bit}")
                with m.Switch(place[bit : bit + 2]):
                    for i in range(4):
                        with m.Case(i):
                            m.d.comb += moved.eq(window[8 * (i << bit) :])
                window = moved
            # Zeros beyond the end of the vector.
            m.d.comb += self.groups.p.activations[t].eq(
                Cat(window.word_select(i, 8) & more[i].replicate(8) for i in range(offered))
            )

        m.d.sync += filling.eq(self.start)
        with m.If(filling):
            m.d.sync += valid.eq(1)
        with m.If(sent):
            m.d.sync += [place.eq(place + size), left.eq(left - size)]
            m.d.sync += [
                more[i].eq(Mux(two, _exceeds(left, i + offered), _exceeds(left, i + TRITS_PER_BYTE)))
                for i in range(offered + 1)
            ]
            with m.If(self.groups.p.last):
                m.d.sync += valid.eq(0)
        with m.If(self.start):
            m.d.sync += [place.eq(0), left.eq(self.k)]
            m.d.sync += [more[i].eq(_exceeds(self.k, i)) for i in range(offered + 1)]
        return m
