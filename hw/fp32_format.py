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
    "Kind",
    "Unrounded",
    "is_inf",
    "is_nan",
    "is_zero",
    "leading_zeros",
    "normalise",
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


def normalise(m: Module, value: Value) -> tuple[Signal, Value]:
    """Shift ``value`` left until its highest bit is 1.

    Returns the shifted value, as wide as ``value``, and the shift. If ``value`` is 0, the first is 0 and
    the second means nothing. The shift is done in steps of powers of two, the largest first.
    """
    width = len(value)
    count = Signal((width - 1).bit_length())
    m.d.comb += count.eq(leading_zeros(value))
    for bit in reversed(range(len(count))):
        step = Signal(width, name=f"left_{1 << bit}")
        m.d.comb += step.eq(Mux(count[bit], Cat(Const(0, 1 << bit), value), value))
        value = step
    assert isinstance(value, Signal)
    return value, count


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


def _incremented(x: View) -> Value:
    """Fraction and exponent of ``x`` as rounded, a place for the carry above them."""
    up = x.guard & (x.sticky | x.fraction[0])
    return (Cat(x.fraction, x.exponent) + up)[: FRACTION_BITS + 9]


def rounded_integer(x: View) -> Value:
    """`rounded` of magnitudes 0 or from 1 below 2^128, where ``kind`` is of no other; 2^128 is infinity."""
    return Cat(Mux(x.kind.zero, 0, _incremented(x)[:31]), x.kind.sign)


def rounded(x: View) -> Value:
    """The 32 bits of ``x``, a view of :data:`Unrounded`, rounded once.

    An increment that carries out of the fraction makes it 0 and the exponent one more, as it should.
    """
    packed = _incremented(x)
    overflow = packed[FRACTION_BITS + 8] | packed[FRACTION_BITS : FRACTION_BITS + 8].all()
    tiny = x.exponent <= 0
    rounds_to_normal = (x.exponent == 0) & x.fraction.all()
    finite = Mux(tiny, Mux(rounds_to_normal, MIN_NORMAL, 0), Mux(overflow, INFINITY, packed[:31]))
    magnitude = Mux(x.kind.inf, INFINITY, Mux(x.kind.zero, 0, finite))
    return Mux(x.kind.nan, NAN, Cat(magnitude[:31], x.kind.sign))
