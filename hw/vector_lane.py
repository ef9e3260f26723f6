"""One lane of the vector unit: the floating-point units that MAP and QUANTISE share."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.data import StructLayout, View
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_add import Fp32Add
from .fp32_format import Binary32, Class, classified
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_to_int import Fp32ToInt
from .isa import Function
from .lane_timing import LaneTiming
from .ports import ATTENTION_SUM_BITS
from .shared import SharedComponent, shared
from .sigmoid import Sigmoid

__all__ = ["LaneControl", "VectorLane", "lane_choice"]

#: What multiplexers take: of `_choose`, for ``x`` and three units; of ``b`` for the unit ``first``; of ``z``.
_LaneChoice = StructLayout({"x": 2, "first": 2, "add": 2, "round": 2, "factor": 3, "z": 2})
#: What one instruction asks of every lane, constant while its words are in flight: ``integer``, the operand
#: is an integer; ``scaled``, it is multiplied by `factor`; ``function``, of `hw.isa.Function`; ``quantise``,
#: the product with `inverse` is rounded instead; ``wide``, to 16 bits; ``mantissa``, to 12. The rest follows
#: from these (`lane_choice`): what ``function`` is; choices.
LaneControl = StructLayout({
    "integer": 1, "scaled": 1, "function": 3, "quantise": 1, "wide": 1, "mantissa": 1,
    "rope": 1, "gated": 1, "relu2": 1, "choice": _LaneChoice,
})  # fmt: skip
_B, _INVERSE, _COSINE, _LATE, _SIGMA = range(5)
_X, _ADD, _FIRST, _SECOND = range(4)

_SIGMOID_FRACTION = 12
_SIGMOID_LIMIT = 16 << _SIGMOID_FRACTION
#: Units of the sigmoid are 2^-24.
_SIGMOID_BITS = 24


def lane_choice(m: Module, wanted: View, control: View) -> None:
    """Drive those members of ``control`` that follow from the others, in ``wanted``; both are `LaneControl`.

    They are of different signals: one that depends on itself, if only member by member, is a loop to some
    simulators.
    """
    function, choice = wanted.function, control.choice
    rope, relu2 = function == Function.ROPE, function == Function.RELU2_MULTIPLY
    gated = (function == Function.SILU_MULTIPLY) | relu2
    x = Cat(wanted.integer & ~wanted.scaled, wanted.scaled)
    m.d.comb += [
        control.rope.eq(rope),
        control.gated.eq(gated),
        control.relu2.eq(relu2),
        choice.x.eq(x),
        choice.first.eq(x | gated.replicate(2)),
        choice.add.eq(x | rope.replicate(2)),
        choice.round.eq(x | wanted.quantise.replicate(2)),
        choice.z.eq(_X),
    ]
    with m.Switch(function):
        with m.Case(Function.ADD, Function.ROPE):
            m.d.comb += choice.z.eq(_ADD)
        with m.Case(Function.MULTIPLY):
            m.d.comb += choice.z.eq(_FIRST)
        with m.Case(Function.SILU_MULTIPLY, Function.RELU2_MULTIPLY):
            m.d.comb += choice.z.eq(_SECOND)
    with m.If(wanted.quantise):
        m.d.comb += choice.factor.eq(_INVERSE)
    with m.Else():
        m.d.comb += choice.factor.eq(Mux(rope, _COSINE, Mux(relu2, _LATE, Mux(gated, _SIGMA, _B))))


def _choose(choice: Value, of: tuple[Value, Value, Value, Value]) -> Value:
    return Mux(choice[1], Mux(choice[0], of[3], of[2]), Mux(choice[0], of[1], of[0]))


class VectorLane(SharedComponent):
    """Conversion, scaling, function and product with the gain; or gain, scaling and rounding.

    The units form chains without stalls of their own, and an instruction takes the shortest one that it
    needs. With T the cycle in which ``word`` is presented, and each of the following in enabled cycles:

    - ``x`` appears at T + (`convert` where integer) + (`scale` where scaled);
    - ``z`` at `function` after ``x``, ``y`` at `gain` after ``z``, ``q`` at `quantise` after ``x``

    of `hw.lane_timing.LaneTiming`.

    In the order of `models.numerics`: ROPE as `rope`, SILU_MULTIPLY as fl(`silu` * b),
    RELU2_MULTIPLY as fl(`relu2` * b), which takes the same time. COPY keeps the bits.

    Parameters
    ----------
    odd : bool
        Whether the lane has the second element of a pair in ROPE.
    timing : LaneTiming
        Cycles of its units.

    Members
    -------
    en : In(1)
        The lane advances in cycles in which this is 1, and only in those.
    control : In(LaneControl)
        The instruction.
    word : In(signed(48))
        First operand: an integer, or in its low bits a binary32 number.
    factor : In(32)
        Factor; needed at T + (`convert` where integer).
    again : In(1)
        Multiply the preceding product by ``factor``; then ``x`` appears `scale` later. No other element
        may need the multiplier in this cycle.
    x : Out(32)
        Scaled operand.
    other : In(32)
        ``x`` of the other lane of the pair.
    b : In(32)
        Second operand; needed `second` after ``x``.
    cosine, sine : In(32)
        Rotation of the pair, with ``x``.
    inverse : In(32)
        fl(levels / absmax), or of mantissas fl(2048 / the power of two above it), with ``x``.
    z : Out(32)
        Result of the function.
    gain : In(32)
        Gain, with ``z``.
    y : Out(32)
        fl(z * gain).
    q : Out(signed(16))
        rne(fl(x * inverse)) clipped to +-127, or +-32767 where wide, or +-2047 where mantissa.
    """

    APART = True

    en: In(1)
    control: In(LaneControl)
    word: In(signed(ATTENTION_SUM_BITS))
    factor: In(32)
    again: In(1)
    x: Out(32)
    other: In(32)
    b: In(32)
    cosine: In(32)
    sine: In(32)
    inverse: In(32)
    z: Out(32)
    gain: In(32)
    y: Out(32)
    q: Out(signed(16))

    def __init__(self, odd: bool, timing: LaneTiming) -> None:
        self.odd, self.timing = odd, timing
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        convert = Fp32FromInt(ATTENTION_SUM_BITS)
        scale = Fp32Mul(self.timing.multiply)
        to_int = Fp32ToInt(_SIGMOID_LIMIT.bit_length() + 1)
        sigmoid = Sigmoid(self.timing.look_up)
        sigma = Fp32FromInt(_SIGMOID_BITS + 2, _SIGMOID_BITS)
        first = Fp32Mul(self.timing.multiply)
        second = Fp32Mul(self.timing.multiply)
        add = Fp32Add()
        weigh = Fp32Mul(self.timing.multiply)
        units = {
            "convert": convert, "scale": scale, "to_int": to_int, "sigmoid": sigmoid, "sigma": sigma,
            "first": first, "second": second, "add": add, "weigh": weigh,
        }  # fmt: skip
        for name, unit in units.items():
            m.submodules[name] = shared(unit, platform)
            m.d.comb += unit.en.eq(self.en)
        control = self.control
        choice, gated, relu2 = control.choice, control.gated, control.relu2

        def x_or(choice: Value, other: Value) -> Value:
            """``x``, or where the choice is 3 the other, in one multiplexer."""
            return _choose(choice, (self.word[:32], convert.o, scale.o, other))

        m.d.comb += [
            convert.i.eq(self.word),
            scale.a.eq(Mux(self.again, scale.o, Mux(control.integer, convert.o, self.word[:32]))),
            scale.b.eq(self.factor),
            self.x.eq(x_or(choice.x, scale.o)),
        ]

        levels = Mux(control.wide, 32767, Mux(control.mantissa, 2047, 127))
        m.d.comb += [
            to_int.a.eq(x_or(choice.round, first.o)),
            to_int.shift.eq(Mux(control.quantise, 0, _SIGMOID_FRACTION)),
            to_int.limit.eq(Mux(control.quantise, levels, _SIGMOID_LIMIT)),
            self.q.eq(to_int.o),
            sigmoid.t.eq(to_int.o),
            sigma.i.eq(sigmoid.o),
        ]
        # What RELU2 makes 0 is known a cycle later; a NaN stays, whatever its sign.
        x, known = Signal(32, reset_less=True), Signal(Class, reset_less=True)
        with m.If(self.en):
            m.d.sync += [x.eq(self.x), known.eq(classified(Binary32(self.x)))]
        negative = known.sign & ~(known.full & known.fraction.any())
        late = delay(m, x & ~(relu2 & negative).replicate(32), self.timing.sigmoid - 1, self.en)

        m.d.comb += [
            first.a.eq(x_or(choice.first, late)),
            second.a.eq(Mux(gated, first.o, self.other)),
            second.b.eq(Mux(gated, self.b, self.sine)),
        ]
        # The factors of `_B` to `_SIGMA`.
        factors = (self.b, self.inverse, self.cosine, late)
        m.d.comb += first.b.eq(Mux(choice.factor[2], sigma.o, _choose(choice.factor, factors)))

        # x0 cos - x1 sin in the even lane, x1 cos + x0 sin in the odd one.
        rotated = second.o if self.odd else second.o ^ (1 << 31)
        m.d.comb += [
            add.a.eq(x_or(choice.add, first.o)),
            add.b.eq(Mux(control.rope, rotated, self.b)),
            self.z.eq(_choose(choice.z, (self.x, add.o, first.o, second.o))),
        ]

        m.d.comb += [
            weigh.a.eq(self.z),
            weigh.b.eq(self.gain),
            self.y.eq(weigh.o),
        ]
        return m
