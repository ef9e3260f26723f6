"""Sums of squares in fixed point."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .dsp48_product import product
from .fp32_format import Binary32, is_zero, significand
from .fp32_mul import Fp32Mul
from .lut_mux import LutMux
from .shared import SharedComponent, primitives, shared

__all__ = ["SquareSum"]

#: Bits of a term and of the sum.
TOTAL_BITS = 63
#: Bits of the square of a significand, and zeros appended so that a right shift reaches every term.
_PRODUCT_BITS = 48
_SPARE_BITS = TOTAL_BITS + 1 - _PRODUCT_BITS
#: Bits of the lower half of a significand: what a DSP block of any family multiplies by, unsigned.
_LOW = 17


def _tree(terms: list[Value]) -> Value:
    """The sum of `terms` by a balanced tree of adders.

    A place below the sums, of 1 and 0, keeps Yosys from making one sum of the whole tree, by compressors that
    take more LUTs and, with few terms, more time.
    """
    while len(terms) > 1:
        terms = [
            (Cat(Const(1, 1), a) + Cat(Const(0, 1), b))[1:]
            for a, b in zip(terms[::2], terms[1::2], strict=True)
        ]
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
    multiply : int
        Cycles of a multiplication (`hw.fp32_mul`): with one more than the least, the word is a register
        first.

    Attributes
    ----------
    latency : int
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

    def __init__(self, lanes: int, multiply: int = Fp32Mul.LEAST) -> None:
        self.lanes, self.latency = lanes, multiply
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
        # Of the products of the halves of a significand the squares do not overlap. The shift by 0 to 3 waits
        # for the next stage.
        terms, overs = [], []
        blocks = primitives(platform)
        for lane in range(self.lanes):
            # With its hidden bit, so that all bits of an operand of a block are registers.
            x = Binary32(self.x[lane])
            whole = significand(x)
            if self.latency > Fp32Mul.LEAST:
                held = Signal(Binary32, reset_less=True, name=f"held_{lane}")
                kept = Signal.like(whole, reset_less=True, name=f"whole_{lane}")
                m.d.sync += [held.eq(x), kept.eq(whole)]
                x, whole = held, kept
            right = Signal(signed(11), name=f"right_{lane}")
            m.d.comb += right.eq(self.grid + (2 * 150 + _SPARE_BITS) - (x.exponent << 1))
            low, high = whole[:_LOW], whole[_LOW:]
            low_square = product(m, f"low_square_{lane}", 1, low, low, blocks)
            across = product(m, f"across_{lane}", 1, high, low, blocks)
            high_square = product(m, f"high_square_{lane}", 1, high, high, blocks)
            amount = Signal(signed(11), reset_less=True, name=f"amount_{lane}")
            zero = Signal(reset_less=True, name=f"zero_{lane}")
            full = Signal(reset_less=True, name=f"full_{lane}")
            m.d.sync += [
                amount.eq(right),
                zero.eq(is_zero(x)),
                full.eq(x.exponent.all()),
            ]

            squares = Cat(low_square, high_square)
            square = Cat(squares[: _LOW + 1], (squares[_LOW + 1 :] + across)[: _PRODUCT_BITS - _LOW - 1])
            shifted: Value = Cat(Const(0, _SPARE_BITS), square)
            for bit in (5, 4):
                step = Signal(TOTAL_BITS + 1, name=f"right_{1 << bit}_{lane}")
                m.d.comb += step.eq(Mux(amount[bit], shifted >> (1 << bit), shifted))
                shifted = step
            term = Signal(TOTAL_BITS + 1, reset_less=True, name=f"term_{lane}")
            by_four, by_rest = LutMux(TOTAL_BITS + 1, 4), LutMux(TOTAL_BITS + 1, 4)
            m.submodules[f"by_four_{lane}"] = shared(by_four, platform)
            m.submodules[f"by_rest_{lane}"] = shared(by_rest, platform)
            rest = Signal(2, reset_less=True, name=f"rest_{lane}")
            counts = ~zero & (amount[-1] | ~amount[6:-1].any())
            over = Signal(reset_less=True, name=f"over_{lane}")
            m.d.sync += [
                term.eq(by_four.o),
                rest.eq(amount[:2]),
                over.eq(full | (~zero & amount[-1])),
            ]
            with m.If(~counts):
                m.d.sync += term.eq(0)
            last = by_rest.o
            m.d.comb += [
                by_four.select.eq(amount[2:4]),
                *(by_four.i[i].eq(shifted >> 4 * i) for i in range(4)),
                by_rest.select.eq(rest),
                *(by_rest.i[i].eq(term >> i) for i in range(4)),
            ]
            terms.append(last[:TOTAL_BITS])
            overs.append(over | last[-1])

        word = Signal(TOTAL_BITS + self.lanes.bit_length(), reset_less=True)
        word_over = Signal(reset_less=True)
        m.d.sync += [
            word.eq(_tree(terms)),
            word_over.eq(Cat(overs).any()),
        ]

        so_far = Signal(TOTAL_BITS)
        longer = Signal(len(word) + 1)
        valid, last = delay(m, Cat(self.valid, self.valid & self.last), self.latency)
        saturated = word_over | longer[TOTAL_BITS:].any()
        m.d.comb += [
            longer.eq(so_far + word),
            self.total.eq(longer[:TOTAL_BITS] | saturated.replicate(TOTAL_BITS)),
            self.done.eq(last),
        ]
        with m.If(valid):
            m.d.sync += so_far.eq(Mux(last, 0, self.total))
        return m
