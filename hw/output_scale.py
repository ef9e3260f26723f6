"""Scales of the attention outputs: one reciprocal per head."""

import struct

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .attention_weight import TOTAL_BITS
from .delay_line import delay
from .fp32_div import Fp32Div
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .head_geometry import head_geometry_layout
from .machine import MachineConfig
from .part_steps import head_index_layout

__all__ = ["OutputScale"]

ONE = 0x3F800000
#: Levels of an int8 value, of which s_v is the largest.
LEVELS = 127


class OutputScale(wiring.Component):
    """Computes ``numerics.output_scale`` for all heads of all tokens of a core in order.

    fl(fl(fl(1 / fl(total)) * fl(1 / 127)) * 2**e), 0 where the total is 0. The first is there `LATENCY`
    cycles after ``start``, then one each ``Fp32Div.LATENCY + 1`` cycles, as the divider does one at a time;
    the steps of several heads overlap.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    LATENCY : int
        Cycles from ``start`` to the first scale.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    start : In(1)
        Begin; only while all scales asked for before have been taken.
    last_slot : In(range(core_tokens))
        The last live token of the core, from the cycle after ``start`` on.
    at, total, exponent : Out(head_index_layout(config)), In(44), In(8)
        Head whose sum of probabilities and biased exponent are wanted, and these, in the same cycle.
    scale : Out(stream of 32)
        Scales, binary32.
    """

    LATENCY = 1 + Fp32FromInt.LATENCY + Fp32Div.LATENCY + 2 * Fp32Mul.LATENCY

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "start": In(1),
                "last_slot": In(range(config.core_tokens)),
                "at": Out(head_index_layout(config)),
                "total": In(TOTAL_BITS),
                "exponent": In(8),
                "scale": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.convert = convert = Fp32FromInt(TOTAL_BITS + 1)
        m.submodules.divide = divide = Fp32Div()
        m.submodules.by_level = by_level = Fp32Mul()
        m.submodules.by_power = by_power = Fp32Mul()

        # Walk the heads into the conversion.
        walking = Signal()
        last_head = self.at.head == self.geometry.heads - 1
        with m.If(self.start):
            m.d.sync += [
                walking.eq(1),
                self.at.as_value().eq(0),
            ]
        with m.Elif(walking & convert.en):
            m.d.sync += self.at.head.eq(self.at.head + 1)
            with m.If(last_head):
                m.d.sync += [
                    self.at.head.eq(0),
                    self.at.slot.eq(self.at.slot + 1),
                    walking.eq(self.at.slot != self.last_slot),
                ]
        m.d.comb += [
            convert.i.eq(self.total),
            convert.en.eq(~divide.i.valid | divide.i.ready),
            divide.i.valid.eq(delay(m, walking, convert.LATENCY, convert.en)),
            divide.i.payload.a.eq(ONE),
            divide.i.payload.b.eq(convert.o),
        ]

        # The divider holds one head; its exponent and emptiness wait beside it. A total of 0 converts to +0.
        beside = Signal(9)
        converted_exponent = delay(m, self.exponent, convert.LATENCY, convert.en)
        with m.If(divide.i.valid & divide.i.ready):
            m.d.sync += beside.eq(Cat(converted_exponent, convert.o == 0))

        advance = Signal()
        exponent = delay(m, beside[:8], by_level.LATENCY, advance)
        empty = delay(m, beside[8], by_level.LATENCY + by_power.LATENCY, advance)
        m.d.comb += [
            advance.eq(~self.scale.valid | self.scale.ready),
            divide.o.ready.eq(advance),
            by_level.en.eq(advance),
            by_level.a.eq(divide.o.payload),
            by_level.b.eq(Const(int.from_bytes(struct.pack("<f", 1 / LEVELS), "little"), 32)),
            by_power.en.eq(advance),
            by_power.a.eq(by_level.o),
            by_power.b.eq(Cat(Const(0, 23), exponent)),
            self.scale.valid.eq(delay(m, divide.o.valid, by_level.LATENCY + by_power.LATENCY, advance)),
            self.scale.payload.eq(Mux(empty, 0, by_power.o)),
        ]
        return m
