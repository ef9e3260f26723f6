"""DSP48E2 blocks as adders: two tokens side by side, two table entries of each a block, in a cascade."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

__all__ = ["LANES", "dsp_sum"]

#: Two sums of 24 bits: USE_SIMD = TWO24.
LANES = 2
_LANE_BITS = 24
#: W, Z, Y and X multiplexers (UG579, table 2-4 and following): A:B + C, PCIN or 0, RND or 0.
_FIRST, _NEXT = 0b10_000_11_11, 0b00_001_11_11


def dsp_sum(
    m: Module, terms: list[list[Value]], partials: list[Value], bias: int, primitives: bool
) -> list[Value]:
    """Sums of two tokens' terms, less ``bias``, and their partial sums.

    Pair i of the terms is wanted i cycles after the first; the partial sums come with the last pair, which
    is one cycle before the sums. Without ``primitives`` each block
    is the addition and the register that its document (UG579) states for these settings.
    """
    operands = [_lanes([token[i] for token in terms]) for i in range(len(terms[0]))]
    operands.append(_lanes(partials))
    minus = Const((1 << _LANE_BITS) - bias, _LANE_BITS)
    before: Value = Cat(*[minus] * LANES)
    for i in range(0, len(operands), 2):
        pair = [*operands[i : i + 2], Const(0, LANES * _LANE_BITS)][:2]
        total = Signal(LANES * _LANE_BITS, name=f"block{i}", reset_less=True)
        if primitives:
            cascade = Signal(LANES * _LANE_BITS, name=f"cascade{i}")
            m.submodules[f"dsp{i}"] = _block(pair[0], pair[1], before if i else None, minus, total, cascade)
            before = cascade
            continue
        for lane in range(LANES):
            part = slice(lane * _LANE_BITS, (lane + 1) * _LANE_BITS)
            m.d.sync += total[part].eq(before[part] + pair[0][part] + pair[1][part])
        before = total
    return [total[lane * _LANE_BITS : (lane + 1) * _LANE_BITS] for lane in range(LANES)]


def _lanes(values: list[Value]) -> Value:
    return Cat(*(Cat(value, Const(0, _LANE_BITS - len(value))) for value in values))


def _block(ab: Value, c: Value, cascade: Value | None, rnd: Const, total: Signal, out: Signal) -> Instance:
    ones = {f"i_CE{name}": Const(1, 1) for name in ("P", "A1", "A2", "B1", "B2", "C")}
    return Instance(
        "DSP48E2", p_USE_MULT="NONE", p_USE_SIMD="TWO24", p_AREG=0, p_BREG=0, p_CREG=0, p_PREG=1,
        p_ACASCREG=0, p_BCASCREG=0, p_ADREG=0, p_DREG=0, p_MREG=0, p_ALUMODEREG=0, p_OPMODEREG=0,
        p_CARRYINREG=0, p_CARRYINSELREG=0, p_INMODEREG=0, p_RND=Const(rnd.value * ((1 << 24) + 1), 48),
        i_CLK=ClockSignal(), i_A=ab[18:48], i_B=ab[:18], i_C=c, i_D=Const(0, 27),
        i_OPMODE=Const(_FIRST if cascade is None else _NEXT, 9), i_ALUMODE=Const(0, 4),
        i_INMODE=Const(0, 5), i_CARRYIN=Const(0, 1), i_CARRYINSEL=Const(0, 3),
        i_PCIN=Const(0, 48) if cascade is None else cascade, o_P=total, o_PCOUT=out, **ones,
    )  # fmt: skip
