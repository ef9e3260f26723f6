"""Value scales of all rows that a token sees."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .kv_row import pair_layout
from .machine import MachineConfig
from .value_weight import biased_ceiling

__all__ = ["ValueScales"]


class ValueScales(wiring.Component):
    """Keeps s_v of each (row, K/V head) in the order in which they come, and the largest of each K/V head.

    Non-negative binary32 numbers are in the order of their bits as integers.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    restart : In(1)
        The next pair is the first of a pass.
    pair_en, pair, fresh : In(1), In(pair_layout(config)), In(1)
        Scales, and whether they are of the first row of the pass; always accepted.
    en, address, scale : In(1), In(range(score_words)), Out(32)
        Read s_v number ``address`` (row * kv_heads + K/V head), one cycle after ``en``.
    weight_kv_head, weight_exponent : In(range(max_heads)), Out(8)
        Biased exponent of the power of two at or above the largest s_v of a K/V head, in the same cycle.
    output_kv_head, output_exponent : In(range(max_heads)), Out(8)
        The same again.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        kv_head = range(config.max_heads)
        super().__init__(
            {
                "restart": In(1),
                "pair_en": In(1),
                "pair": In(pair_layout(config)),
                "fresh": In(1),
                "en": In(1),
                "address": In(range(config.score_words)),
                "scale": Out(32),
                "weight_kv_head": In(kv_head),
                "weight_exponent": Out(8),
                "output_kv_head": In(kv_head),
                "output_exponent": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        m.submodules.scales = scales = memory.Memory(shape=32, depth=self.config.score_words, init=[])
        write = scales.write_port()
        read = scales.read_port()
        place = Signal(range(self.config.score_words))
        m.d.comb += [
            write.en.eq(self.pair_en),
            write.addr.eq(place),
            write.data.eq(self.pair.value_scale),
            read.en.eq(self.en),
            read.addr.eq(self.address),
            self.scale.eq(read.data),
        ]
        with m.If(self.pair_en):
            m.d.sync += place.eq(place + 1)
        with m.If(self.restart):
            m.d.sync += place.eq(0)

        m.submodules.largest = largest = memory.Memory(shape=32, depth=self.config.max_heads, init=[])
        update = largest.write_port()
        before = largest.read_port(domain="comb")
        m.d.comb += [
            before.addr.eq(self.pair.kv_head),
            update.en.eq(self.pair_en & (self.fresh | (self.pair.value_scale > before.data))),
            update.addr.eq(self.pair.kv_head),
            update.data.eq(self.pair.value_scale),
        ]
        for kv_head, exponent in (
            (self.weight_kv_head, self.weight_exponent),
            (self.output_kv_head, self.output_exponent),
        ):
            found = largest.read_port(domain="comb")
            m.d.comb += [
                found.addr.eq(kv_head),
                exponent.eq(biased_ceiling(found.data)),
            ]
        return m
