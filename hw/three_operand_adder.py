"""An adder of three operands in one LUT6 and one place of a carry chain for each bit."""

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent

__all__ = ["ThreeOperandAdder"]

#: LUT6_2 with I5 = 1: O6 = I0 ^ I1 ^ I2 ^ I3, O5 = at least two of I0, I1 and I2; where I4 is 1, I0 counts
#: as 0.
_COUNTED = [i & (14 if i & 16 else 15) for i in range(32)]
_PARITY = sum((bin(i).count("1") & 1) << at for at, i in enumerate(_COUNTED))
_MAJORITY = sum((bin(i & 7).count("1") >= 2) << at for at, i in enumerate(_COUNTED))
_INIT = _PARITY << 32 | _MAJORITY


class ThreeOperandAdder(SharedComponent):
    """``sum`` is ``a + b + c``, or ``b + c``, modulo 2**width, an enabled cycle later.

    A LUT adds the three bits of a place; its second output, their carry, goes to the LUT of the next place,
    where it is one operand of the carry chain; the LUT's first output is the parity of all four. The cells
    are those of UltraScale+ (LUT6_2, CARRY8: UG974); the second output leaves a slice through the pin that
    an unregistered sum would need, hence the register.

    Parameters
    ----------
    width : int
        Bits.
    primitives : bool
        Instances of the cells; otherwise plain additions.

    Members
    -------
    en : In(1)
        The register takes a sum; 1 where it is not connected.
    a, b, c : In(width)
        Operands.
    drop : In(1)
        Without ``a``.
    sum : Out(width)
        Their sum.
    """

    def __init__(self, width: int, primitives: bool) -> None:
        self.width, self.primitives = width, primitives
        super().__init__({
            "en": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "a": In(width),
            "b": In(width),
            "c": In(width),
            "drop": In(1),
            "sum": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self.primitives:
            with m.If(self.en):
                m.d.sync += self.sum.eq(Mux(self.drop, 0, self.a) + self.b + self.c)
            return m
        length = -(-self.width // 8) * 8
        parity = Signal(length)
        carry = Signal(length)  # of the LUTs, into the next place
        total = Signal(length)
        for i in range(self.width):
            m.submodules[f"lut{i}"] = Instance(
                "LUT6_2", p_INIT=Const(_INIT, 64), i_I0=self.a[i], i_I1=self.b[i], i_I2=self.c[i],
                i_I3=carry[i - 1] if i else Const(0, 1), i_I4=self.drop, i_I5=Const(1, 1),
                o_O6=parity[i], o_O5=carry[i],
            )  # fmt: skip
        into = Const(0, 1)
        for start in range(0, length, 8):
            out = Signal(8, name=f"out{start}")
            m.submodules[f"carry{start}"] = Instance(
                "CARRY8", i_CI=into, i_CI_TOP=Const(0, 1), i_S=parity[start : start + 8],
                i_DI=Cat(Const(0, 1), carry)[start : start + 8], o_O=total[start : start + 8], o_CO=out,
            )  # fmt: skip
            into = out[7]
        with m.If(self.en):
            m.d.sync += self.sum.eq(total)
        return m
