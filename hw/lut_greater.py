"""A comparison of two bits in one LUT6 and one place of a carry chain."""

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent, primitives

__all__ = ["LutGreater"]

#: LUT6_2 with I5 = 1 and I4 = 0: of a in I0 and I1 and b in I2 and I3, O6 = equal, O5 = a is greater.
_EQUAL = sum(((i & 3) == i >> 2) << i for i in range(16))
_GREATER = sum(((i & 3) > i >> 2) << i for i in range(16))
_INIT = _EQUAL << 32 | _GREATER


class LutGreater(SharedComponent):
    """``o`` is ``a > b``, at once. Under `hw.shared.primitives` a LUT6_2 compares two bits: where they are
    equal, the carry from below passes, else it is whether those of ``a`` are greater (LUT6_2, CARRY8: UG974).

    Parameters
    ----------
    width : int
        Bits.

    Members
    -------
    a, b : In(width)
        Unsigned numbers.
    o : Out(1)
        Whether the first is greater.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not primitives(platform):
            m.d.comb += self.o.eq(self.a > self.b)
            return m
        pairs = -(-self.width // 2)
        length = -(-pairs // 8) * 8
        a, b = Signal(2 * length), Signal(2 * length)
        equal, greater = Signal(length), Signal(length)
        m.d.comb += [a.eq(self.a), b.eq(self.b)]
        m.d.comb += equal[pairs:].eq(~0)  # what was found passes
        for i in range(pairs):
            m.submodules[f"lut{i}"] = Instance(
                "LUT6_2", p_INIT=Const(_INIT, 64), i_I0=a[2 * i], i_I1=a[2 * i + 1], i_I2=b[2 * i],
                i_I3=b[2 * i + 1], i_I4=Const(0, 1), i_I5=Const(1, 1), o_O6=equal[i], o_O5=greater[i],
            )  # fmt: skip
        into = Const(0, 1)
        for start in range(0, length, 8):
            out = Signal(8, name=f"out{start}")
            m.submodules[f"carry{start}"] = Instance(
                "CARRY8", i_CI=into, i_CI_TOP=Const(0, 1), i_S=equal[start : start + 8],
                i_DI=greater[start : start + 8], o_CO=out, o_O=Signal(8, name=f"sum{start}"),
            )  # fmt: skip
            into = out[7]
        m.d.comb += self.o.eq(into)
        return m
