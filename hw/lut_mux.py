"""Multiplexers of two and of four words in as few LUT6s as there can be."""

from amaranth.hdl import Const, Instance, Module
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent, primitives

__all__ = ["LutMux"]

#: LUT6_2, I5 = 1, I4 chooses: O5 of I0 and I1, O6 of I2 and I3.
_PAIR = sum((i >> (i >> 4 & 1) & 1) << i for i in range(32)) | sum(
    (i >> 2 + (i >> 4 & 1) & 1) << 32 + i for i in range(32)
)
#: LUT6: I5 and I4 choose one of I3 to I0.
_FOUR = sum((i >> (i >> 4) & 1) << i for i in range(64))


class LutMux(SharedComponent):
    """``o`` is word ``select`` of ``i``, at once. Under `hw.shared.primitives` a LUT6_2 takes two bits of two
    words, a LUT6 a bit of four.

    Parameters
    ----------
    width : int
        Bits of a word.
    words : int
        2 or 4.

    Members
    -------
    select : In(1) or In(2)
        Which word.
    i, o : In(ArrayLayout(width, words)), Out(width)
        The words, and the one.
    """

    def __init__(self, width: int, words: int) -> None:
        if words not in (2, 4):
            raise ValueError(f"a multiplexer has 2 or 4 words, not {words!r}")
        self.width, self.words = width, words
        super().__init__({
            "select": In(words // 2),
            "i": In(data.ArrayLayout(width, words)),
            "o": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not primitives(platform):
            m.d.comb += self.o.eq(self.i.as_value().word_select(self.select, self.width))
            return m
        for at in range(0, self.width, 1 if self.words == 4 else 2):
            if self.words == 4:
                m.submodules[f"lut{at}"] = Instance(
                    "LUT6", p_INIT=Const(_FOUR, 64), i_I4=self.select[0], i_I5=self.select[1], o_O=self.o[at],
                    **{f"i_I{n}": self.i[n][at] for n in range(4)},
                )  # fmt: skip
                continue
            two = at + 1 < self.width
            upper = [self.i[n][at + 1] if two else Const(0, 1) for n in range(2)]
            m.submodules[f"lut{at}"] = Instance(
                "LUT6_2", p_INIT=Const(_PAIR, 64), i_I4=self.select, i_I5=Const(1, 1),
                i_I0=self.i[0][at], i_I1=self.i[1][at], o_O5=self.o[at],
                i_I2=upper[0], i_I3=upper[1], **({"o_O6": self.o[at + 1]} if two else {}),
            )  # fmt: skip
        return m
