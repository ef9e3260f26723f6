"""Sums of squares in fixed point."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_format import Binary32, is_zero, significand
from .shared import SharedComponent

__all__ = ["SquareSum"]

#: Bits of a term and of the sum.
TOTAL_BITS = 63
#: Bits of the square of a significand, and zeros appended so that a right shift reaches every term.
_PRODUCT_BITS = 48
_SPARE_BITS = TOTAL_BITS + 1 - _PRODUCT_BITS


def _tree(terms: list[Value]) -> Value:
    """The sum of `terms` by a balanced tree of adders."""
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


class SquareSum(SharedComponent):
    """Sum of ``floor(x^2 / 2^grid)`` over all elements of a segment, as `models.numerics.square_sum`.

    The square is exact before it is floored. A term or a sum above 2^63 - 1, an infinity or a NaN makes the
    total 2^63 - 1, which is how a saturated total is known. One word a cycle, with any gaps; the stages
    are squares, shift and sum over the lanes, then the total accumulates.

    Parameters
    ----------
    lanes : int
        Elements in a word, a power of two.

    Attributes
    ----------
    LATENCY : int
        ``done`` follows ``valid & last`` by this many cycles.

    Members
    -------
    valid, last : In(1)
        A word is presented; it ends a segment.
    x : In(ArrayLayout(32, lanes))
        The word: binary32 elements.
    grid : In(signed(8))
        Exponent of the grid; constant from the first word of a segment to its ``done``.
    done : Out(1)
        ``total`` is that of a finished segment, in this cycle only.
    total : Out(63)
        The sum.
    """

    LATENCY = 3

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "valid": In(1),
                "last": In(1),
                "x": In(ArrayLayout(32, lanes)),
                "grid": In(signed(8)),
                "done": Out(1),
                "total": Out(TOTAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # x^2 = product * 2^(2 (exponent - 150)), and the product lies in [2^46, 2^48): with the spare bits
        # below it, a term that fits is at most that, shifted right. The grid's share of the shift is one sum.
        terms, overs = [], []
        for lane in range(self.lanes):
            x = Binary32(self.x[lane])
            right = Signal(signed(11), name=f"right_{lane}")
            m.d.comb += right.eq(self.grid + (2 * 150 + _SPARE_BITS) - (x.exponent << 1))
            product = Signal(_PRODUCT_BITS, reset_less=True, name=f"product_{lane}")
            amount = Signal(6, reset_less=True, name=f"amount_{lane}")
            vanishes = Signal(reset_less=True, name=f"vanishes_{lane}")
            huge = Signal(reset_less=True, name=f"huge_{lane}")
            m.d.sync += [
                product.eq(significand(x) * significand(x)),
                amount.eq(right),
                vanishes.eq(is_zero(x) | (right >= TOTAL_BITS + 1)),
                huge.eq(x.exponent.all() | (~is_zero(x) & (right < 0))),
            ]

            shifted = Signal(TOTAL_BITS + 1, name=f"shifted_{lane}")
            term = Signal(TOTAL_BITS, reset_less=True, name=f"term_{lane}")
            over = Signal(reset_less=True, name=f"over_{lane}")
            m.d.comb += shifted.eq(Mux(vanishes, 0, Cat(Const(0, _SPARE_BITS), product) >> amount))
            m.d.sync += [
                term.eq(shifted),
                over.eq(huge | shifted[-1]),
            ]
            terms.append(term)
            overs.append(over)

        word = Signal(TOTAL_BITS + self.lanes.bit_length(), reset_less=True)
        word_over = Signal(reset_less=True)
        m.d.sync += [
            word.eq(_tree(terms)),
            word_over.eq(Cat(overs).any()),
        ]

        so_far = Signal(TOTAL_BITS)
        longer = Signal(len(word) + 1)
        valid, last = delay(m, Cat(self.valid, self.valid & self.last), self.LATENCY)
        saturated = word_over | longer[TOTAL_BITS:].any()
        m.d.comb += [
            longer.eq(so_far + word),
            self.total.eq(longer[:TOTAL_BITS] | saturated.replicate(TOTAL_BITS)),
            self.done.eq(last),
        ]
        with m.If(valid):
            m.d.sync += so_far.eq(Mux(last, 0, self.total))
        return m
