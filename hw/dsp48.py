"""DSP48E2 blocks of UltraScale+ (AMD UG579), alone or in cascades: instances and what they compute.

Without ``primitives`` each block is the registers and additions that UG579 states for its settings. A block
of a cascade adds what the one before it has in its P register (PCIN); the first one adds a constant (RND).
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed

__all__ = ["BLOCK_BITS", "SIMD_BITS", "SIMD_LANES", "add_block", "multiply_block", "sum_block"]

#: USE_SIMD = FOUR12: four sums of 12 bits.
SIMD_LANES, SIMD_BITS = 4, 12
#: Bits of the result of a block.
BLOCK_BITS = 48
_BITS = BLOCK_BITS
#: W, Z, Y and X multiplexers (UG579, chapter 2): RND or 0; 0 or PCIN; the product, or C and A:B.
_W_RND, _Z_PCIN = 0b10_000_00_00, 0b00_001_00_00
_PRODUCT, _SUM = 0b01_01, 0b11_11
#: The pre-adder's sum: A alone, D alone.
_ONLY_A, _ONLY_D = 0b000_00, 0b001_10


def _instance(en: Value, before: Value | None, constant: int, operation: int, **settings: object) -> Instance:
    registers = dict.fromkeys(
        ("AREG", "ACASCREG", "BREG", "BCASCREG", "CREG", "DREG", "ADREG", "MREG", "PREG"), 1
    ) | dict.fromkeys(("ALUMODEREG", "OPMODEREG", "CARRYINREG", "CARRYINSELREG", "INMODEREG"), 0)
    enables = {f"i_CE{name}": en for name in ("A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P")}
    resets = ("A", "B", "C", "D", "M", "P", "CTRL", "INMODE", "ALUMODE", "ALLCARRYIN")
    ports: dict[str, object] = {
        **{f"p_{name}": value for name, value in registers.items()},
        **enables,
        **{f"i_RST{name}": Const(0, 1) for name in resets},
        "i_A": Const(0, 30), "i_B": Const(0, 18), "i_C": Const(0, 48), "i_D": Const(0, 27),
    }  # fmt: skip
    ports["i_OPMODE"] = Const(operation | (_W_RND if before is None else _Z_PCIN), 9)
    return Instance(
        "DSP48E2", **(ports | settings), p_RND=Const(0 if before is not None else constant, _BITS),
        i_CLK=ClockSignal(), i_ALUMODE=Const(0, 4), i_CARRYIN=Const(0, 1), i_CARRYINSEL=Const(0, 3),
        i_PCIN=Const(0, _BITS) if before is None else before,
    )  # fmt: skip


def multiply_block(
    m: Module, name: str, en: Value, weights: tuple[Value, Value], offset: int, activation: Value,
    before: Value | None, constant: int, primitives: bool,
) -> tuple[Value, Value]:  # fmt: skip
    """``before + (weights[0] + (weights[1] << offset)) * activation``, in 48 bits; the first block of a
    cascade adds the constant to its product.

    Registers: weights to P 4 enabled cycles, activation to P 3, before to P 1.

    Parameters
    ----------
    weights : two signed values
        To the 27 bits of A and D, which the pre-adder adds.
    activation : signed value of 18 bits at most
    before : second result of the block before; None for the first one.

    Returns
    -------
    P, and the same for the next block of the cascade: the dedicated wires.
    """
    if primitives:
        result, cascade = Signal(_BITS, name=f"{name}_p"), Signal(_BITS, name=f"{name}_cascade")
        wide = Signal(signed(27), name=f"{name}_d")
        low, x = Signal(signed(30), name=f"{name}_a"), Signal(signed(18), name=f"{name}_b")
        m.d.comb += [low.eq(weights[0]), wide.eq(weights[1] << offset), x.eq(activation)]
        m.submodules[name] = _instance(
            en, before, constant, _PRODUCT, p_USE_MULT="MULTIPLY", p_USE_SIMD="ONE48", p_AMULTSEL="AD",
            p_BMULTSEL="B", i_A=low, i_B=x, i_D=wide, i_INMODE=Const(0b00100, 5), o_P=result, o_PCOUT=cascade,
        )  # fmt: skip
        return result, cascade
    packed, operand = (Signal(signed(27), name=f"{name}_{part}", reset_less=True) for part in ("w", "ad"))
    x = Signal(activation.shape(), name=f"{name}_x", reset_less=True)
    product = Signal(signed(45), name=f"{name}_m", reset_less=True)
    result = Signal(_BITS, name=f"{name}_p", reset_less=True)
    with m.If(en):
        m.d.sync += [
            packed.eq(weights[0] + (weights[1] << offset)),
            operand.eq(packed),
            x.eq(activation),
            product.eq(operand * x),
            result.eq((constant if before is None else before) + product),
        ]
    return result, result


def add_block(
    m: Module, name: str, en: Value, terms: list[Value], before: Value | None, constant: int, primitives: bool
) -> tuple[Value, Value]:
    """Four sums of 12 bits side by side: of ``before``, or in the first block of a cascade the constant, and
    of two terms each.

    Registers: terms to P 2 enabled cycles, before to P 1.

    Parameters
    ----------
    terms : 8 signed values of 12 bits at most
        Terms i and i + 4 belong to sum i.

    Returns
    -------
    P, and the same for the next block of the cascade.
    """
    halves = []
    for i in range(0, 2 * SIMD_LANES, SIMD_LANES):
        half = Signal(_BITS, name=f"{name}_half{i}")
        for j, term in enumerate(terms[i : i + SIMD_LANES]):
            m.d.comb += half[j * SIMD_BITS : (j + 1) * SIMD_BITS].eq(term)
        halves.append(half)
    bias = sum(constant << i * SIMD_BITS for i in range(SIMD_LANES))
    if primitives:
        result, cascade = Signal(_BITS, name=f"{name}_p"), Signal(_BITS, name=f"{name}_cascade")
        m.submodules[name] = _instance(
            en, before, bias, _SUM, p_USE_MULT="NONE", p_USE_SIMD="FOUR12", p_AMULTSEL="A", p_BMULTSEL="B",
            p_MREG=0, p_DREG=0, p_ADREG=0, i_A=halves[0][18:], i_B=halves[0][:18], i_C=halves[1],
            i_INMODE=Const(0, 5), o_P=result, o_PCOUT=cascade,
        )  # fmt: skip
        return result, cascade
    registers = [
        Signal(_BITS, name=f"{name}_ab", reset_less=True),
        Signal(_BITS, name=f"{name}_c", reset_less=True),
    ]
    result = Signal(_BITS, name=f"{name}_p", reset_less=True)
    previous = Const(bias, _BITS) if before is None else before
    sums = []
    for i in range(SIMD_LANES):
        part = slice(i * SIMD_BITS, (i + 1) * SIMD_BITS)
        sums.append((previous[part] + registers[0][part] + registers[1][part])[:SIMD_BITS])
    with m.If(en):
        m.d.sync += [*(r.eq(half) for r, half in zip(registers, halves, strict=True)), result.eq(Cat(*sums))]
    return result, result


def sum_block(
    m: Module, name: str, factors: tuple[Value, Value], second: Value, operand: Value, before: Value,
    fresh: Value, constant: int, primitives: bool,
) -> Value:  # fmt: skip
    """A product and a sum: ``factors[second] * operand``, and added to it, in 48 bits, where ``second`` is 0
    the constant, where it is 1 ``before`` or, if ``fresh``, nothing.

    Registers: to P 2 cycles, from ``before`` 1. There is none behind the pre-adder and the multiplier.

    Parameters
    ----------
    factors : two signed values of 27 bits at most
        To the ports A and D, of which the pre-adder takes one.
    operand : signed value of 18 bits at most
    before : unsigned value of 48 bits at most

    Returns
    -------
    P.
    """
    if primitives:
        result = Signal(_BITS, name=f"{name}_p")
        a, d = Signal(signed(30), name=f"{name}_a"), Signal(signed(27), name=f"{name}_d")
        x, c = Signal(signed(18), name=f"{name}_b"), Signal(_BITS, name=f"{name}_c")
        adds = Cat(second & ~fresh, ~(second & fresh))  # W multiplexer: 0, RND or C
        m.d.comb += [a.eq(factors[0]), d.eq(factors[1]), x.eq(operand), c.eq(before)]
        m.submodules[name] = _instance(
            Const(1, 1), None, constant, _PRODUCT, p_USE_MULT="MULTIPLY", p_USE_SIMD="ONE48",
            p_AMULTSEL="AD", p_BMULTSEL="B", p_CREG=0, p_ADREG=0, p_MREG=0, p_OPMODEREG=1, p_INMODEREG=1,
            i_CECTRL=Const(1, 1), i_CEINMODE=Const(1, 1), i_A=a, i_B=x, i_C=c, i_D=d,
            i_OPMODE=Cat(Const(_PRODUCT, 7), adds), i_INMODE=Mux(second, _ONLY_D, _ONLY_A)[:5], o_P=result,
        )  # fmt: skip
        return result
    factor = Signal(signed(27), name=f"{name}_factor", reset_less=True)
    x = Signal(operand.shape(), name=f"{name}_x", reset_less=True)
    uses, starts = (
        Signal(name=f"{name}_uses", reset_less=True),
        Signal(name=f"{name}_starts", reset_less=True),
    )
    result = Signal(_BITS, name=f"{name}_p", reset_less=True)
    m.d.sync += [
        factor.eq(Mux(second, factors[1], factors[0])),
        x.eq(operand),
        uses.eq(second),
        starts.eq(fresh),
        result.eq(factor * x + Mux(uses, Mux(starts, 0, before), constant)),
    ]
    return result
