"""Multiplexers of two to sixteen words in as few LUT6s as there can be."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent, primitives, shared

__all__ = ["LutMux", "choose"]

#: LUT6_2, I5 = 1, I4 chooses: O5 of I0 and I1, O6 of I2 and I3.
_PAIR = sum((i >> (i >> 4 & 1) & 1) << i for i in range(32)) | sum(
    (i >> 2 + (i >> 4 & 1) & 1) << 32 + i for i in range(32)
)
#: LUT6: I5 and I4 choose one of I3 to I0.
_FOUR = sum((i >> (i >> 4) & 1) << i for i in range(64))
#: Words of which a LUT6 takes a bit.
_LUT = 4


class LutMux(SharedComponent):
    """``o`` is word ``select`` of ``i``, at once. Under `hw.shared.primitives` a LUT6_2 takes two bits of two
    words, a LUT6 a bit of four; a MUXF7 chooses from two LUT6s, a MUXF8 from two of these.

    Parameters
    ----------
    width : int
        Bits of a word.
    words : int
        2, 4, 8 or 16.

    Attributes
    ----------
    WORDS : tuple of int
        These numbers of words.

    Members
    -------
    select : In(log2(words))
        Which word.
    i, o : In(ArrayLayout(width, words)), Out(width)
        The words, and the one.
    """

    WORDS = (2, _LUT, 8, 16)

    def __init__(self, width: int, words: int) -> None:
        if words not in self.WORDS:
            raise ValueError(f"a multiplexer has 2, 4, 8 or 16 words, not {words!r}")
        self.width, self.words = width, words
        super().__init__({
            "select": In((words - 1).bit_length()),
            "i": In(data.ArrayLayout(width, words)),
            "o": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not primitives(platform):
            m.d.comb += self.o.eq(self.i.as_value().word_select(self.select, self.width))
            return m
        if self.words == 2:
            self._pairs(m)
            return m
        for at in range(self.width):
            row = [Signal(name=f"four{n}_{at}") for n in range(self.words // _LUT)]
            for n, out in enumerate(row):
                m.submodules[f"lut{at}_{n}"] = Instance(
                    "LUT6", p_INIT=Const(_FOUR, 64), i_I4=self.select[0], i_I5=self.select[1], o_O=out,
                    **{f"i_I{k}": self.i[_LUT * n + k][at] for k in range(_LUT)},
                )  # fmt: skip
            level = 2
            while len(row) > 1:
                above = [Signal(name=f"level{level}_{n}_{at}") for n in range(len(row) // 2)]
                for n, out in enumerate(above):
                    m.submodules[f"mux{level}_{at}_{n}"] = Instance(
                        f"MUXF{5 + level}", i_S=self.select[level], i_I0=row[2 * n], i_I1=row[2 * n + 1],
                        o_O=out,
                    )  # fmt: skip
                row, level = above, level + 1
            m.d.comb += self.o[at].eq(row[0])
        return m

    def _pairs(self, m: Module) -> None:
        for at in range(0, self.width, 2):
            two = at + 1 < self.width
            upper = [self.i[n][at + 1] if two else Const(0, 1) for n in range(2)]
            m.submodules[f"lut{at}"] = Instance(
                "LUT6_2", p_INIT=Const(_PAIR, 64), i_I4=self.select, i_I5=Const(1, 1),
                i_I0=self.i[0][at], i_I1=self.i[1][at], o_O5=self.o[at],
                i_I2=upper[0], i_I3=upper[1], **({"o_O6": self.o[at + 1]} if two else {}),
            )  # fmt: skip


def choose(m: Module, platform: object, name: str, select: Value, words: Sequence[Value]) -> Value:
    """Word ``select`` of as many as it has values, all of one width, through a `LutMux` of that name."""
    mux = LutMux(len(words[0]), len(words))
    m.submodules[name] = shared(mux, platform)
    m.d.comb += [mux.select.eq(select), mux.i.as_value().eq(Cat(words))]
    return mux.o
