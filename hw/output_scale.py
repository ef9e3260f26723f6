"""Scales of the attention outputs: one reciprocal per head."""

import struct

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .attention_weight import TOTAL_BITS
from .delay_line import delay
from .fp32_div_pipelined import Fp32DivPipelined
from .fp32_format import FRACTION_BITS
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

    fl(fl(fl(1 / fl(total)) * fl(1 / 127)) * 2**e), 0 where the total is 0. The first is there `latency`
    cycles after ``start``, then one a cycle.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    latency : int
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

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.latency = 1 + Fp32FromInt.LATENCY + Fp32DivPipelined.LATENCY + 2 * config.multiply_cycles
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
        m.submodules.divide = divide = Fp32DivPipelined()
        m.submodules.by_level = by_level = Fp32Mul(self.config.multiply_cycles)
        m.submodules.by_power = by_power = Fp32Mul(self.config.multiply_cycles)

        # Walk the heads into the conversion; all that follows goes on together.
        advance = Signal()
        walking = Signal()
        last_head = self.at.head == self.geometry.heads - 1
        with m.If(self.start):
            m.d.sync += [
                walking.eq(1),
                self.at.as_value().eq(0),
            ]
        with m.Elif(walking & advance):
            m.d.sync += self.at.head.eq(self.at.head + 1)
            with m.If(last_head):
                m.d.sync += [
                    self.at.head.eq(0),
                    self.at.slot.eq(self.at.slot + 1),
                    walking.eq(self.at.slot != self.last_slot),
                ]
        for part in (convert, divide, by_level, by_power):
            m.d.comb += part.en.eq(advance)
        m.d.comb += [
            convert.i.eq(self.total),
            divide.a.eq(ONE),
            divide.b.eq(convert.o),
            by_level.a.eq(divide.o),
            by_level.b.eq(Const(int.from_bytes(struct.pack("<f", 1 / LEVELS), "little"), 32)),
            by_power.a.eq(by_level.o),
        ]

        # The exponent waits beside them. Only a total of 0 has an infinite reciprocal.
        wanted = Signal(8, reset_less=True)
        with m.If(advance):
            m.d.sync += wanted.eq(self.exponent)
        beside = delay(m, wanted, convert.LATENCY + divide.LATENCY + by_level.latency - 1, advance)
        empty = delay(m, by_level.o[FRACTION_BITS:-1].all(), by_power.latency, advance)
        m.d.comb += by_power.b.eq(Cat(Const(0, FRACTION_BITS), beside))

        # One that is not taken at once stands aside, so that whether all go on depends on a register alone.
        coming = delay(m, walking, self.latency - 2, advance)
        there = delay(m, coming, 1, advance)
        found = Cat(by_power.o, empty)
        aside, held = Signal(33, reset_less=True), Signal()
        shown = Mux(held, aside, found)
        left = self.scale.valid & ~self.scale.ready
        m.d.comb += [
            advance.eq(~held),
            self.scale.payload.eq(Mux(shown[-1], 0, shown[:-1])),
        ]
        m.d.sync += [held.eq(left), self.scale.valid.eq(left | Mux(held, there, coming))]
        with m.If(advance):
            m.d.sync += aside.eq(found)
        return m
