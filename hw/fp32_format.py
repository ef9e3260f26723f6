"""The binary32 format, and the steps that every binary32 component shares.

Arithmetic (all components of ``hw.fp32_*``): IEEE 754-2019 binary32, round to nearest, ties to even
(clause 4.3.1), except that

- a subnormal operand is read as zero of the same sign;
- a result that is subnormal after rounding with gradual underflow becomes zero of the same sign. So a
  value just below 2^-126 whose 24 leading bits are all ones rounds to 2^-126; anything smaller is zero;
- every NaN result is the canonical quiet NaN, 0x7FC00000.

Exceptions are not signalled.

Method: *Handbook of Floating-Point Arithmetic*, 2nd edition, chapter 8 (section 8.2, rounding by one
integer increment of the packed exponent and fraction).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.data import StructLayout, View

__all__ = [
    "BIAS",
    "FRACTION_BITS",
    "INFINITY",
    "MIN_NORMAL",
    "NAN",
    "Binary32",
    "Bounds",
    "Class",
    "Kind",
    "Unrounded",
    "bounds",
    "bounds_less",
    "classified",
    "is_inf",
    "is_nan",
    "is_zero",
    "leading_zeros",
    "normalise_coarsely",
    "normalise_finely",
    "rounded",
    "rounded_integer",
    "shift_right_sticky",
    "significand",
]

#: Bits of the fraction field; a significand has one more.
FRACTION_BITS = 23
#: Offset of the exponent field.
BIAS = 127
#: The canonical NaN.
NAN = 0x7FC0_0000
#: Plus infinity.
INFINITY = 0x7F80_0000
#: The smallest positive normal number, 2^-126.
MIN_NORMAL = 0x0080_0000

#: The fields of a binary32 number.
Binary32 = StructLayout({"fraction": FRACTION_BITS, "exponent": 8, "sign": 1})

#: What is known of a result apart from its magnitude: ``nan``, ``inf`` or ``zero`` says that it is that, the
#: first of them that is 1; if none is, it is a number.
Kind = StructLayout({"sign": 1, "nan": 1, "inf": 1, "zero": 1})

#: An exact result before its one rounding: ``1.fraction * 2^(exponent - 127)``, with ``guard`` the bit after
#: the fraction and ``sticky`` the OR of all later ones, unless ``kind`` overrides it.
Unrounded = StructLayout(
    {
        "fraction": FRACTION_BITS,
        "exponent": signed(10),
        "guard": 1,
        "sticky": 1,
        "kind": Kind,
    }
)


#: Where a biased exponent lies: ``below``, 0 or less; ``lowest``, 0; ``highest``, 254; ``above``, 255 or
#: more.
Bounds = StructLayout({"below": 1, "lowest": 1, "highest": 1, "above": 1})

#: What tells the special numbers apart, for a pipeline to combine in a later stage: ``full``, all bits of the
#: exponent are 1; ``fraction``, a bit of the fraction's lower, its upper part is; ``zero``, as `is_zero`.
Class = StructLayout({"sign": 1, "full": 1, "fraction": 2, "zero": 1})


def classified(x: View) -> View:
    """`Class` of ``x``, a view of :data:`Binary32`."""
    half = FRACTION_BITS // 2
    parts = Cat(x.fraction[:half].any(), x.fraction[half:].any())
    return Class(Cat(x.sign, x.exponent.all(), parts, is_zero(x)))


def is_zero(x: View) -> Value:
    """Whether ``x``, a view of :data:`Binary32`, counts as zero: subnormals do."""
    return x.exponent == 0


def is_inf(x: View) -> Value:
    """Whether ``x``, a view of :data:`Binary32`, is an infinity."""
    return x.exponent.all() & ~x.fraction.any()


def is_nan(x: View) -> Value:
    """Whether ``x``, a view of :data:`Binary32`, is a NaN of any kind."""
    return x.exponent.all() & x.fraction.any()


def significand(x: View) -> Value:
    """The 24 bits ``1.fraction`` of ``x``, a view of :data:`Binary32`, right only if it is normal."""
    return Cat(x.fraction, Const(1, 1))


def leading_zeros(value: Value) -> Value:
    """The number of zeros above the highest 1 of ``value``, as a balanced tree.

    If ``value`` is 0, the result means nothing. It has ``ceil(log2(len(value)))`` bits.
    """
    width = len(value)
    if width <= 2:
        return ~value[1:]
    level = (width - 1).bit_length() - 1
    low, high = value[: width - (1 << level)], value[width - (1 << level) :]
    empty = ~high.any()
    return Cat(Mux(empty, leading_zeros(low), leading_zeros(high))[:level], empty)


def normalise_coarsely(m: Module, value: Value) -> tuple[Signal, Value]:
    """Shift ``value`` left by a multiple of 4, until one of its highest four bits is 1.

    Returns the shifted value, as wide as ``value``, and the shift divided by 4. If ``value`` is 0, the first
    is 0 and the second means nothing. The shift is done in steps of powers of two, the largest first.
    """
    width = len(value)
    fours = Cat(value[max(at, 0) : at + 4].any() for at in reversed(range(width - 4, -4, -4)))
    count = Signal(max(1, (len(fours) - 1).bit_length()))
    m.d.comb += count.eq(leading_zeros(fours) if len(fours) > 1 else 0)
    for bit in reversed(range(len(count))):
        step = Signal(width, name=f"left_{4 << bit}")
        m.d.comb += step.eq(Mux(count[bit], Cat(Const(0, 4 << bit), value), value))
        value = step
    assert isinstance(value, Signal)
    return value, count


def normalise_finely(m: Module, value: Value) -> tuple[Signal, Value]:
    """Shift ``value``, of whose highest four bits one is 1, left until the highest is.

    Returns the shifted value, as wide as ``value``, and the shift, 0 to 3; with the highest four bits 0 the
    shift is 3.
    """
    first, second, third = value[-1], value[-2], value[-3]
    count = Cat(~first & (second | ~third), ~first & ~second)
    shifted = Signal(len(value), name="normal")
    with m.Switch(count):
        for shift in range(4):
            with m.Case(shift):
                m.d.comb += shifted.eq(Cat(Const(0, shift), value))
    return shifted, count


def shift_right_sticky(m: Module, value: Value, amount: Value) -> Signal:
    """Shift ``value`` right by ``amount``; the lowest bit of the result ORs in every bit shifted out.

    The result is as wide as ``value``. The shift is done in steps of powers of two, the largest first.
    """
    width = len(value)
    for bit in reversed(range(len(amount))):
        step = Signal(width, name=f"right_{1 << bit}")
        lost = min((1 << bit) + 1, width)
        m.d.comb += step.eq(Mux(amount[bit], Cat(value[:lost].any(), value[lost:]), value))
        value = step
    assert isinstance(value, Signal)
    return value


def _rounds_up(x: View) -> Value:
    return x.guard & (x.sticky | x.fraction[0])


def rounded_integer(x: View) -> Value:
    """`rounded` of magnitudes 0 or from 1 below 2^128, where ``kind`` is of no other; 2^128 is infinity."""
    packed = (Cat(x.fraction, x.exponent) + _rounds_up(x))[: FRACTION_BITS + 8]
    return Cat(packed & ~x.kind.zero.replicate(len(packed)), x.kind.sign)


def bounds(exponent: Value) -> View:
    """`Bounds` of the exponent of :data:`Unrounded`."""
    above = ~exponent[-1] & (exponent[8] | exponent[:8].all())
    return Bounds(Cat(exponent <= 0, exponent == 0, exponent == 254, above))


def bounds_less(exponent: Value, less: Value) -> View:
    """`Bounds` of ``exponent - less``, sooner than from the difference.

    ``less`` has 1 or 2 bits and is 0 or 1 where the exponent is above 255.
    """
    negative, low = exponent[-1], exponent[:2]
    small = ~negative & ~exponent[2:-1].any()
    most = exponent[1:8].all() & ~exponent[8:].any()
    highest = most & Mux(exponent[0], less == 1, less == 0)
    above = ~negative & (exponent[8] | (exponent[:8].all() & (less == 0)))
    return Bounds(Cat(negative | (small & (low <= less)), small & (low == less), highest, above))


def rounded(x: View, within: View | None = None) -> Value:
    """The 32 bits of ``x``, a view of :data:`Unrounded`, rounded once; ``within`` is of its exponent.

    An increment that carries out of the fraction makes it 0 and the exponent one more, as it should. Whether
    the result is another one is found beside the sum: it overflows where the exponent is too large, or is the
    largest one and all bits of fraction and guard are 1.
    """
    within = bounds(x.exponent) if within is None else within
    packed = (Cat(x.fraction, x.exponent[:8]) + _rounds_up(x))[: FRACTION_BITS + 8]
    kind, full = x.kind, x.fraction.all()
    overflow = within.above | (within.highest & full & x.guard)
    given = kind.nan | kind.inf | kind.zero
    ones = kind.nan | kind.inf | (~given & overflow)
    least = ~given & within.lowest & full
    plain = packed & ~(given | within.below | overflow).replicate(len(packed))
    special = Cat(Const(0, FRACTION_BITS - 1), kind.nan, ones | least, ones.replicate(7))
    return Cat(plain | special, x.kind.sign & ~kind.nan)
