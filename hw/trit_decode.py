"""From a byte of five trits to the addresses of its two look-up tables."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent
from .trits import THREE_ENTRIES, TRITS_PER_BYTE, TWO_ENTRIES

__all__ = ["THREE_ENTRIES", "TRITS_PER_BYTE", "TWO_ENTRIES", "TritDecode"]


class TritDecode(SharedComponent):
    """Splits ``byte = three + 27 * two``; combinational.

    A byte above 242 is no code: its addresses are legal, but nothing is stored there.

    Division by a constant with a shift: 19 / 512 exceeds 1 / 27 by too little to matter for any byte
    (Granlund and Montgomery, PLDI 1994, section 4). And 27 = -5 modulo 32, so the remainder is an addition.

    Members
    -------
    byte : In(8)
        Five trits, as ``numerics.pack_trits`` packs them.
    three : Out(5)
        Gray position of the first three trits, 0 to 26.
    two : Out(4)
        Gray position of the last two, 0 to 8.
    """

    byte: In(8)
    three: Out(5)
    two: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()

        scaled = Signal(13)
        m.d.comb += scaled.eq(Cat(Const(0, 4), self.byte) + Cat(Const(0, 1), self.byte) + self.byte)
        m.d.comb += self.two.eq(scaled >> 9)

        m.d.comb += self.three.eq(self.byte[:5] + Cat(Const(0, 2), self.two) + self.two)
        return m
