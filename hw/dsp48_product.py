"""Products in DSP48E2 blocks of UltraScale+ (AMD UG579), whose registers hold them."""

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value

__all__ = ["LOW_BITS", "interpolated", "product", "significand_product"]

#: Bits of the lower half of a factor: what a DSP block multiplies by, unsigned.
LOW_BITS = 17
_BITS = 48
#: Z, Y and X multiplexers (UG579, chapter 2): the product, and 0 or PCIN shifted right by 17 bits.
_PRODUCT, _SHIFTED_PCIN, _PLUS_C = 0b00_000_01_01, 0b00_101_01_01, 0b00_011_01_01


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


def product(m: Module, name: str, en: Value | int, a: Value, b: Value, primitives: bool) -> Value:
    """``a * b``, one enabled cycle later: with `primitives` from the register M of a block.

    Parameters
    ----------
    name : str
        Of the register, or of the block.
    a, b : unsigned values of 26 and 17 bits at most
    """
    result = Signal(len(a) + len(b), reset_less=True, name=name)
    if primitives:
        block = Signal(_BITS, name=f"{name}_p")
        m.submodules[name] = _block(Const(1, 1) if isinstance(en, int) else en, a, b, None, o_P=block)
        m.d.comb += result.eq(block)
    else:
        with m.If(en):
            m.d.sync += result.eq(a * b)
    return result


def interpolated(
    m: Module, en: Value, base: Value, rise: Value, offset: Value, negative: Value, primitives: bool
) -> Value:
    """``y = base + rne(rise * offset / 2^n)``, half rounded up, or where ``negative`` ``2^len(base) - y``;
    2 enabled cycles later. ``offset`` is 0 to 2^n and has n + 1 bits.

    With `primitives` one block has the registers M and P, and adds ``base`` from its port C. The difference
    is the complement of the sum to which RND is added.

    Parameters
    ----------
    base, rise, offset : unsigned values of 24, 26 and 17 bits at most

    Returns
    -------
    Value of len(base) + 1 bits.
    """
    point, bits = len(offset) - 1, len(base) + 1
    half = Const(1 << point - 1, point)
    if primitives:
        sums = Signal(_BITS, name="sums")
        m.submodules.sum = _block(
            en, rise, offset, None, o_P=sums, p_CREG=1, p_PREG=1, p_OPMODEREG=1, p_ALUMODEREG=1,
            p_RND=Const((1 << point + len(base)) - (1 << point), _BITS),
            i_C=Cat(half, base, Const(0, _BITS - point - len(base))),
            i_OPMODE=Cat(Const(_PLUS_C, 8), negative), i_ALUMODE=Cat(Const(0, 1), negative, Const(0, 2)),
            i_CEC=en, i_CEP=en, i_CECTRL=en, i_CEALUMODE=en,
        )  # fmt: skip
        return sums[point : point + bits]
    scaled = Signal(len(rise) + len(offset), reset_less=True)
    held = Signal.like(base, reset_less=True)
    held_negative = Signal(reset_less=True)
    positive = Signal(bits)
    result = Signal(bits, reset_less=True)
    m.d.comb += positive.eq(held + ((scaled + half) >> point))
    with m.If(en):
        m.d.sync += [
            scaled.eq(rise * offset),
            held.eq(base),
            held_negative.eq(negative),
            result.eq(Mux(held_negative, (1 << len(base)) - positive, positive)),
        ]
    return result


def _block(en: Value, a: Value, b: Value, before: Value | None, **settings: Any) -> Instance:
    """A block with the register M, and where it adds ``before``, P; ``settings`` are added or instead."""
    registers = {
        "AREG": 0, "ACASCREG": 0, "BREG": 0, "BCASCREG": 0, "CREG": 1, "DREG": 1, "ADREG": 1, "MREG": 1,
        "PREG": int(before is not None), "ALUMODEREG": 0, "OPMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0,
        "INMODEREG": 0,
    }  # fmt: skip
    # Registers that are not used are not enabled (UG579, table 2-1).
    enables = {f"i_CE{name}": en if name == "M" or (name == "P" and before is not None) else Const(0, 1)
               for name in ("A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P")}  # fmt: skip
    resets = ("A", "B", "C", "D", "M", "P", "CTRL", "INMODE", "ALUMODE", "ALLCARRYIN")
    ports: dict[str, Any] = {
        **{f"p_{name}": value for name, value in registers.items()}, **enables,
        **{f"i_RST{name}": Const(0, 1) for name in resets},
        "p_USE_MULT": "MULTIPLY", "p_USE_SIMD": "ONE48", "p_AMULTSEL": "A", "p_BMULTSEL": "B",
        "p_RND": Const(0, _BITS), "i_A": Cat(a, Const(0, 30 - len(a))), "i_B": Cat(b, Const(0, 18 - len(b))),
        "i_C": Const(0, _BITS), "i_D": Const(0, 27), "i_CLK": ClockSignal(), "i_INMODE": Const(0, 5),
        "i_ALUMODE": Const(0, 4), "i_OPMODE": Const(_PRODUCT if before is None else _SHIFTED_PCIN, 9),
        "i_CARRYIN": Const(0, 1), "i_CARRYINSEL": Const(0, 3),
        "i_PCIN": Const(0, _BITS) if before is None else before,
    }  # fmt: skip
    return Instance("DSP48E2", **(ports | settings))
