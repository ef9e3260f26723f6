"""The scale of a token, with or without the norm."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .fp32_add import Fp32Add
from .fp32_div import Fp32Div
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_sqrt import Fp32Sqrt
from .quantise_scale import ONE, live
from .square_sum import TOTAL_BITS

__all__ = ["Norm", "NormOperands"]

#: Statistics {total, maximum} and the two scalars of `models.numerics.norm_scale`.
NormOperands = StructLayout({"normalise": 1, "total": TOTAL_BITS, "maximum": 32, "c": 32, "eps": 32})


class Norm(wiring.Component):
    """``o = fl(A * fl(1 / fl(sqrt(fl(fl(fl(S) * c) + eps)))))``, or A alone where ``normalise`` is 0.

    S is ``total``, A is ``maximum``, or 0 where that is below 2^-100: `models.numerics.norm_scale` and
    `models.numerics.live_scale`. One result at a time; a saturated S is computed like any other number.

    Attributes
    ----------
    LATENCY : int
        Cycles from the one of the transfer on ``i`` to the first in which ``o.valid`` is 1, where
        ``normalise`` is 1; else it is 1.

    Members
    -------
    i : In(stream.Signature(NormOperands))
        Operands. Ready only while no result is being computed and none waits.
    o : Out(stream.Signature(32))
        Result, binary32.
    """

    _MEAN = Fp32FromInt.LATENCY + Fp32Mul.LATENCY + Fp32Add.LATENCY
    LATENCY = 1 + _MEAN + Fp32Sqrt.LATENCY + Fp32Div.LATENCY + 1 + Fp32Mul.LATENCY

    i: In(stream.Signature(NormOperands))
    o: Out(stream.Signature(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.from_int = from_int = Fp32FromInt(TOTAL_BITS + 1)
        m.submodules.mul = mul = Fp32Mul()
        m.submodules.add = add = Fp32Add()
        m.submodules.sqrt = sqrt = Fp32Sqrt()
        m.submodules.div = div = Fp32Div()

        # Operands stand still, so a pipelined unit's result is there after its latency and stays.
        operands = Signal(NormOperands, reset_less=True)
        reciprocal = Signal(32, reset_less=True)
        last = Signal()
        waited = Signal(range(self._MEAN))
        m.d.comb += [
            from_int.en.eq(1),
            from_int.i.eq(operands.total),
            mul.en.eq(1),
            mul.a.eq(Mux(last, live(operands.maximum), from_int.o)),
            mul.b.eq(Mux(last, reciprocal, operands.c)),
            add.en.eq(1),
            add.a.eq(mul.o),
            add.b.eq(operands.eps),
            sqrt.i.payload.eq(add.o),
            div.i.payload.a.eq(ONE),
            div.i.payload.b.eq(sqrt.o.payload),
            div.i.valid.eq(sqrt.o.valid),
            sqrt.o.ready.eq(div.i.ready),
            self.o.payload.eq(Mux(operands.normalise, mul.o, live(operands.maximum))),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    operands.eq(self.i.payload),
                    last.eq(0),
                    waited.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "done"
                    with m.If(self.i.payload.normalise):
                        m.next = "mean"
            with m.State("mean"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == self._MEAN - 1):
                    m.next = "root"
            with m.State("root"):
                m.d.comb += sqrt.i.valid.eq(1)
                m.next = "reciprocal"
            with m.State("reciprocal"):
                m.d.comb += div.o.ready.eq(1)
                m.d.sync += [
                    reciprocal.eq(div.o.payload),
                    last.eq(1),
                    waited.eq(0),
                ]
                with m.If(div.o.valid):
                    m.next = "scale"
            with m.State("scale"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == Fp32Mul.LATENCY - 1):
                    m.next = "done"
            with m.State("done"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
        return m
