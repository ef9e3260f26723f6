"""The largest numbers of a sequence of binary32 numbers, in order, for each token of a tile."""

from typing import cast

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .fp32_format import NAN, Binary32, is_nan, is_zero
from .lut_greater import LutGreater
from .lut_mux import LutMux
from .mux_tree import mux_tree
from .ports import TOKEN_BITS, TopRead
from .shared import shared

__all__ = ["TopK"]

INDEX_BITS = 20
_SIGN = 1 << 31


class TopK(wiring.Component):
    """``numerics.top_k`` of the numbers of each token since ``start``. One number a cycle, of any token.

    Ties go to the lowest index, -0 equals +0, NaN is lowest, a subnormal counts as zero of its sign.

    A number is compared with all entries of its token's list at once; those that it exceeds make room, each
    by taking over the entry before it. Entry i of all tokens is a memory of its own, with a word for each
    token, read in the cycle in which it is written; of one token it is registers. So tokens share comparators
    and multiplexers, and an entry is LUT memory, not registers with a multiplexer of the tokens. In a
    simulation an entry is a load, a comparison and a store of a 64-bit word; a whole list in one wide word
    would be cut and put together again in each cycle. ``read`` shares the address: it is of use when no
    sequence is under way.

    Parameters
    ----------
    entries : int
        k.
    tokens : int
        Lists.
    family : str
        Whose comparators and multiplexers: "ecp5" or "xcup".

    Members
    -------
    start : In(1)
        Begin new sequences; not together with ``valid``.
    valid, token, value : In(1), In(TOKEN_BITS), In(32)
        The next number of a token below ``tokens``: one of token 0, one of each other live token in order,
        the next one of token 0 and so on.
    last : In(1)
        With ``valid``: the sequences end.
    next_token : Out(ArrayLayout(20, tokens))
        For each token, place of its largest number so far, from 0; that of the sequence before where none
        came.
    read : In(TopRead())
        Entries, from the cycle of ``done`` to the next ``start``; none where the sequence had no more than
        ``rank`` numbers, where ``rank`` is not below ``entries`` and where the token was not live.
    done : Out(1)
        High for one cycle, 2 cycles after ``last``: all results are final.
    """

    def __init__(self, entries: int, tokens: int, family: str = "ecp5") -> None:
        self.entries, self.tokens, self.family = entries, tokens, family
        super().__init__({
            "start": In(1),
            "valid": In(1),
            "token": In(TOKEN_BITS),
            "value": In(32),
            "last": In(1),
            "next_token": Out(data.ArrayLayout(INDEX_BITS, tokens)),
            "read": In(TopRead()),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Unsigned integers in the order of the numbers, from which the number can be had again: the sign and
        # the magnitude upside down. NaN is 0. Both zeros are the key of +0. NaN and -0 are marked as special.
        entry = data.StructLayout({"special": 1, "index": INDEX_BITS, "key": 32})
        x = Binary32(self.value)
        came, ended = Signal(), Signal()
        new = Signal(entry, reset_less=True)
        token = Signal(TOKEN_BITS)
        m.d.sync += [came.eq(self.valid), ended.eq(self.last)]

        # Entries that hold a number of this sequence, before this row. `begun`: there is a row.
        begun = Signal()
        held = Signal(self.entries)
        with m.If(self.valid):
            m.d.sync += [
                new.key.eq(
                    Mux(is_nan(x), 0, Mux(is_zero(x), _SIGN, Mux(x.sign, ~self.value, self.value | _SIGN)))
                ),
                new.special.eq(is_nan(x) | (is_zero(x) & x.sign)),
                token.eq(self.token),
            ]
            with m.If(self.token == 0):
                m.d.sync += [
                    begun.eq(1),
                    held.eq(Cat(begun, held)),
                    new.index.eq(Mux(begun, new.index + 1, 0)),
                ]
        with m.If(self.start):
            m.d.sync += [begun.eq(0), held.eq(0)]

        address = Signal(range(max(2, self.tokens)))
        m.d.comb += address.eq(Mux(came, token, self.read.token))
        found: list[Value] = []
        before, makes_room = new, 0
        for i in range(self.entries):
            exceeded = Signal(name=f"exceeded{i}")
            taken = Signal(entry, name=f"taken{i}")
            kept = self._entry(m, i, address, token, came & exceeded, taken)
            if self.family == "xcup":
                greater, choose = LutGreater(32), LutMux(entry.size, 2)
                m.submodules[f"greater{i}"] = shared(greater, platform)
                m.submodules[f"choose{i}"] = shared(choose, platform)
                m.d.comb += [
                    greater.a.eq(new.key),
                    greater.b.eq(kept.key),
                    choose.i.eq(Cat(new.as_value(), Value.cast(before))),
                    choose.select.eq(makes_room),
                ]
                larger, chosen = greater.o, choose.o
            else:
                larger, chosen = new.key > kept.key, Mux(makes_room, before, new)
            m.d.comb += [exceeded.eq(~held[i] | larger), taken.eq(chosen)]
            found.append(Value.cast(kept))
            before, makes_room = kept, exceeded
            if i == 0:
                with m.If(came & exceeded):
                    for t in range(self.tokens):
                        with m.If(token == t):
                            m.d.sync += self.next_token[t].eq(new.index)
        m.d.sync += self.done.eq(came & ended)

        read = Signal(entry, reset_less=True)
        m.d.sync += [
            read.eq(mux_tree(self.read.rank[: (self.entries - 1).bit_length()], found)),
            self.read.valid.eq(Cat(begun, held)[: self.entries].bit_select(self.read.rank, 1)),
        ]
        with m.If(self.read.token > token):
            m.d.sync += self.read.valid.eq(0)
        m.d.comb += self.read.index.eq(read.index)
        positive = read.key[-1]
        with m.If(read.special):
            m.d.comb += self.read.value.eq(Mux(positive, _SIGN, NAN))
        with m.Else():
            m.d.comb += self.read.value.eq(Mux(positive, read.key[:31], ~read.key))
        return m

    def _entry(
        self, m: Module, i: int, address: Value, token: Value, en: Value, taken: data.View
    ) -> data.View:
        """Entry i of the token at ``address``; with ``en`` that of ``token`` becomes ``taken``."""
        shape = taken.shape()
        if self.tokens == 1:
            kept = Signal(shape, name=f"kept{i}", reset_less=True)
            with m.If(en):
                m.d.sync += kept.eq(taken)
            return cast(data.View, kept)
        m.submodules[f"entry{i}"] = memory = Memory(shape=shape, depth=1 << len(address), init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        m.d.comb += [
            read.addr.eq(address), write.addr.eq(token), write.data.eq(taken), write.en.eq(en),
        ]  # fmt: skip
        return read.data
