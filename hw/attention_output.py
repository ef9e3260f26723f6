"""Output stream of attention."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .head_geometry import head_geometry_layout
from .machine import MachineConfig
from .ports import ATTENTION_SUM_BITS, attention_output_layout

__all__ = ["AttentionOutput"]


class AttentionOutput(wiring.Component):
    """Sends the sums of all heads in order, ``lanes`` at a time, each with the scale of its head.

    A beat a cycle once the scale of the head is there, where lanes <= attention_bytes; else a beat each
    ``lanes / attention_bytes`` cycles, the words of which it gathers.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    start : In(1)
        Begin; only while not ``busy``.
    empty : In(1)
        There are no sums: send zeros; taken together with ``start``.
    en, address, member, sums : Out, Out, Out, In
        Read port of `ValueSum`.
    scale : In(stream of 32)
        Scales of the heads, in order; taken with the last beat of the head.
    output : Out(stream of attention_output_layout)
        Beats.
    busy : Out(1)
        Beats remain to be sent.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "start": In(1),
                "empty": In(1),
                "en": Out(1),
                "address": Out(range(config.max_query // config.attention_bytes)),
                "member": Out(range(config.max_group)),
                "sums": In(config.attention_bytes * ATTENTION_SUM_BITS),
                "scale": In(stream.Signature(32)),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, lanes = self.config.attention_bytes, self.config.lanes
        slices, words = max(1, size // lanes), max(1, lanes // size)

        # Walk the words: part, member, K/V head. The members of a group lie at the same addresses.
        walking = Signal()
        empty = Signal()
        part = Signal.like(self.geometry.parts)
        kv_head = Signal.like(self.geometry.kv_heads)
        base = Signal.like(self.address)
        last_part = part == self.geometry.parts - 1
        last_member = self.member == self.geometry.group - 1
        m.d.comb += self.address.eq(base + part)
        with m.If(self.start):
            m.d.sync += [
                walking.eq(1),
                empty.eq(self.empty),
                part.eq(0),
                self.member.eq(0),
                kv_head.eq(0),
                base.eq(0),
            ]
        with m.Elif(walking & self.en):
            m.d.sync += part.eq(part + 1)
            with m.If(last_part):
                m.d.sync += [
                    part.eq(0),
                    self.member.eq(self.member + 1),
                ]
                with m.If(last_member):
                    m.d.sync += [
                        self.member.eq(0),
                        kv_head.eq(kv_head + 1),
                        base.eq(base + self.geometry.parts),
                        walking.eq(kv_head != self.geometry.kv_heads - 1),
                    ]

        # A word read stays until its last slice has been sent.
        read = delay(m, walking, 1, self.en)
        head_end = delay(m, last_part, 1, self.en)
        data = Mux(empty, 0, self.sums)[: size * ATTENTION_SUM_BITS]
        sent = Signal()
        m.d.comb += [
            self.output.payload.scale.eq(self.scale.payload),
            self.busy.eq(walking | read),
        ]
        if words == 1:
            place = Signal(range(max(2, slices)))
            last_slice = place == slices - 1
            m.d.comb += [
                self.output.valid.eq(read & self.scale.valid),
                self.output.payload.sums.eq(data.word_select(place, lanes * ATTENTION_SUM_BITS)),
                sent.eq(self.output.valid & self.output.ready),
                self.en.eq(~read | (sent & last_slice)),
                self.scale.ready.eq(read & self.output.ready & head_end & last_slice),
            ]
            with m.If(sent):
                m.d.sync += place.eq(Mux(last_slice, 0, place + 1))
        else:
            # Words before the last of a beat are kept.
            kept = Signal((words - 1) * size * ATTENTION_SUM_BITS)
            place = Signal(range(words))
            last_word = place == words - 1
            m.d.comb += [
                self.output.valid.eq(read & last_word & self.scale.valid),
                self.output.payload.sums.eq(Cat(kept, data)),
                sent.eq(self.output.valid & self.output.ready),
                self.en.eq(~read | ~last_word | sent),
                self.scale.ready.eq(read & last_word & self.output.ready & head_end),
            ]
            with m.If(read & self.en):
                m.d.sync += [
                    kept.eq(Cat(kept, data) >> (size * ATTENTION_SUM_BITS)),
                    place.eq(Mux(last_word, 0, place + 1)),
                ]
        return m
