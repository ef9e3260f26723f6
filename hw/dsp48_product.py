"""The product of two significands in two DSP48E2 blocks of UltraScale+ (AMD UG579)."""

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

__all__ = ["LOW_BITS", "significand_product"]

#: Bits of the lower half of a factor: what a DSP block multiplies by, unsigned.
LOW_BITS = 17
_BITS = 48
#: Z, Y and X multiplexers (UG579, chapter 2): the product, and 0 or PCIN shifted right by 17 bits.
_PRODUCT, _SHIFTED_PCIN = 0b00_000_01_01, 0b00_101_01_01


def significand_product(m: Module, en: Value, a: Value, b: Value, primitives: bool) -> tuple[Value, Value]:
    """``a * b`` without its lowest 17 bits, and whether one of these is 1; 2 enabled cycles later.

    Both factors have 18 to 24 bits. With `primitives` the first block multiplies by the lower bits of b, the
    second one by the others and adds the first one's product, shifted, from the cascade; the products are
    registers of the blocks (M), and so is the sum (P). Otherwise four products of halves are registers, of
    which the outer ones do not overlap; the sum is the next register. The tests prove both forms equal.

    Returns
    -------
    Value of len(a) + len(b) - 17 bits, and of one bit.
    """
    bits = len(a) + len(b) - LOW_BITS
    below = Signal(reset_less=True)
    if primitives:
        lower, high = Signal(_BITS, name="lower_p"), Signal(_BITS, name="upper_p")
        cascade = Signal(_BITS, name="lower_cascade")
        m.submodules.lower = _block(en, a, b[:LOW_BITS], None, o_P=lower, o_PCOUT=cascade)
        m.submodules.upper = _block(en, a, b[LOW_BITS:], cascade, o_P=high)
        with m.If(en):
            m.d.sync += below.eq(lower[:LOW_BITS].any())
        return high[:bits], below
    halves = [(x[:LOW_BITS], x[LOW_BITS:]) for x in (a, b)]
    products = [
        [Signal(len(p) + len(q), reset_less=True, name=f"product_{i}{j}") for j, q in enumerate(halves[1])]
        for i, p in enumerate(halves[0])
    ]
    outer = Cat(products[0][0], products[1][1])
    high = Signal(bits, reset_less=True)
    with m.If(en):
        m.d.sync += [
            *(products[i][j].eq(halves[0][i] * halves[1][j]) for i in range(2) for j in range(2)),
            high.eq(outer[LOW_BITS:] + (products[0][1] + products[1][0])),
            below.eq(outer[:LOW_BITS].any()),
        ]
    return high, below


def _block(en: Value, a: Value, b: Value, before: Value | None, **outputs: Any) -> Instance:
    """A block with the register M, and where it adds ``before``, P."""
    registers = {
        "AREG": 0, "ACASCREG": 0, "BREG": 0, "BCASCREG": 0, "CREG": 1, "DREG": 1, "ADREG": 1, "MREG": 1,
        "PREG": int(before is not None), "ALUMODEREG": 0, "OPMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0,
        "INMODEREG": 0,
    }  # fmt: skip
    # Registers that are not used are not enabled (UG579, table 2-1).
    enables = {f"i_CE{name}": en if name in ("M", "P") else Const(0, 1)
               for name in ("A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P")}  # fmt: skip
    resets = ("A", "B", "C", "D", "M", "P", "CTRL", "INMODE", "ALUMODE", "ALLCARRYIN")
    return Instance(
        "DSP48E2", **{f"p_{name}": value for name, value in registers.items()}, **enables,
        **{f"i_RST{name}": Const(0, 1) for name in resets}, **outputs,
        p_USE_MULT="MULTIPLY", p_USE_SIMD="ONE48", p_AMULTSEL="A", p_BMULTSEL="B", p_RND=Const(0, _BITS),
        i_A=Cat(a, Const(0, 30 - len(a))), i_B=Cat(b, Const(0, 18 - len(b))), i_C=Const(0, _BITS),
        i_D=Const(0, 27), i_CLK=ClockSignal(), i_INMODE=Const(0, 5), i_ALUMODE=Const(0, 4),
        i_OPMODE=Const(_PRODUCT if before is None else _SHIFTED_PCIN, 9), i_CARRYIN=Const(0, 1),
        i_CARRYINSEL=Const(0, 3), i_PCIN=Const(0, _BITS) if before is None else before,
    )  # fmt: skip
