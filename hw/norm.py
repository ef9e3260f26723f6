"""The scale of a token, with or without the norm."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .fp32_add import Fp32Add
from .fp32_div import Fp32Div
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_sqrt import Fp32Sqrt
from .quantise_scale import ONE, live, live_exponent
from .square_sum import TOTAL_BITS

__all__ = ["Norm", "NormOperands"]

#: The sum of squares and the two scalars of `models.numerics.norm_scale`.
NormOperands = StructLayout({"normalise": 1, "total": TOTAL_BITS, "c": 32, "eps": 32})


class Norm(wiring.Component):
    """``o = fl(A * fl(1 / fl(sqrt(fl(fl(fl(S) * c) + eps)))))``, or A alone where ``normalise`` is 0.

    S is ``total``, A is ``maximum``, or where ``mantissa`` the power of two above it, or 0 where ``maximum``
    is below 2^-100: `models.numerics.norm_scale` with `live_scale` or `live_exponent`. Results
    come in the order of their operands; the mean of one token, the root of the one before it and the
    reciprocal of the one before that are computed at the same time. A saturated S is computed like any other
    number.

    Parameters
    ----------
    mantissas : bool
        Whether there are scales of mantissas. Else ``mantissa`` is 0.
    multiply : int
        Cycles of a multiplication.

    Attributes
    ----------
    latency : int
        Cycles from the one of the transfer on ``i`` to ``done``, where ``normalise`` is 1 and no operands
        taken before are still under way; without ``normalise`` it is 1.
    INTERVAL : int
        Cycles from one result to the next where operands wait and ``normalise`` is 1; without it 1.

    Members
    -------
    i : In(stream.Signature(NormOperands))
        Operands. ``normalise`` may change only while nothing is under way.
    maximum : In(32)
        The absmax that the next result is of, from the transfer on ``i`` to ``done``; without ``normalise``
        in the cycle of the transfer.
    mantissa : In(1)
        The next result is the scale of mantissas; with ``maximum``.
    saturated : Out(1)
        The total of the last transfer with ``normalise`` is saturated; until the next one, or for its cycle.
    done : Out(1)
        ``o`` is the next result, in this cycle only.
    o : Out(32)
        Result, binary32.
    """

    INTERVAL = Fp32Sqrt.LATENCY + 1

    i: In(stream.Signature(NormOperands))
    maximum: In(32)
    mantissa: In(1)
    saturated: Out(1)
    done: Out(1)
    o: Out(32)

    def __init__(self, mantissas: bool = True, multiply: int = Fp32Mul.LEAST) -> None:
        self.mantissas, self.multiply = mantissas, multiply
        self._mean = Fp32FromInt.LATENCY + multiply + Fp32Add.LATENCY
        self.latency = 1 + self._mean + Fp32Sqrt.LATENCY + Fp32Div.LATENCY + 1 + multiply
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.from_int = from_int = Fp32FromInt(TOTAL_BITS + 1)
        m.submodules.mul = mul = Fp32Mul(self.multiply)
        m.submodules.add = add = Fp32Add()
        m.submodules.sqrt = sqrt = Fp32Sqrt()
        m.submodules.div = div = Fp32Div()

        # Operands stand still, so a pipelined unit's result is there after its latency and stays; where the
        # end of an earlier token takes the multiplier, the wait for it begins again.
        operands = Signal(NormOperands, reset_less=True)
        absmax = live(self.maximum)
        if self.mantissas:
            absmax = Mux(self.mantissa, live_exponent(self.maximum), absmax)
        factor, reciprocal = Signal(32, reset_less=True), Signal(32, reset_less=True)
        scale = Signal()
        passes = Signal()
        waited = Signal(range(self._mean))
        m.d.comb += [
            from_int.en.eq(1),
            from_int.i.eq(operands.total),
            mul.en.eq(1),
            mul.a.eq(Mux(scale, factor, from_int.o)),
            mul.b.eq(Mux(scale, reciprocal, operands.c)),
            add.en.eq(1),
            add.a.eq(mul.o),
            add.b.eq(operands.eps),
            sqrt.i.payload.eq(add.o),
        ]
        m.d.sync += passes.eq(0)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    operands.eq(self.i.payload),
                    waited.eq(0),
                ]
                with m.If(self.i.valid):
                    with m.If(self.i.payload.normalise):
                        m.next = "mean"
                    with m.Else():
                        m.d.sync += passes.eq(1)
            with m.State("mean"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(scale):
                    m.d.sync += waited.eq(0)
                with m.Elif(waited == self._mean - 1):
                    m.next = "root"
            with m.State("root"):
                # Who waits here does so for the root of the token before; an end during that wait, of the one
                # before that, is out of the adder when the wait is over.
                m.d.comb += sqrt.i.valid.eq(1)
                with m.If(sqrt.i.ready):
                    m.next = "idle"

        m.d.comb += [
            div.i.payload.a.eq(ONE),
            div.i.payload.b.eq(sqrt.o.payload),
            div.i.valid.eq(sqrt.o.valid),
            sqrt.o.ready.eq(div.i.ready),
            div.o.ready.eq(1),
            self.done.eq(passes | delay(m, scale, mul.latency)),
            self.o.eq(Mux(passes, factor, mul.o)),
            self.saturated.eq(operands.normalise & operands.total.all()),
        ]
        m.d.sync += [
            scale.eq(div.o.valid),
            factor.eq(absmax),
        ]
        with m.If(div.o.valid):
            m.d.sync += reciprocal.eq(div.o.payload)
        return m
