"""Output stream of attention."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .head_geometry import head_geometry_layout
from .lut_mux import LutMux
from .machine import MachineConfig
from .ports import ATTENTION_SUM_BITS, attention_output_layout
from .shared import shared
from .value_sum import sum_bits

__all__ = ["AttentionOutput"]


class AttentionOutput(wiring.Component):
    """Sends the sums of all heads of a core's tokens in order, ``lanes`` at a time, with their head's scale.

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
    last_slot : In(range(core_tokens))
        The last live token of the core, from the cycle after ``start`` on.
    empty : In(core_tokens)
        Tokens that have no sums: send zeros; held while ``busy``.
    en, slot, address, sums : Out, Out, Out, In
        Read port of `ValueSum`.
    scale : In(stream of 32)
        Scales of the heads, in order; taken with the last beat of the head.
    output : Out(stream of attention_output_layout)
        Beats; sums have their sign extended.
    token_end : Out(1)
        The beat is the last of its token.
    busy : Out(1)
        Beats remain to be sent.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        slot = range(config.core_tokens)
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "start": In(1),
                "last_slot": In(slot),
                "empty": In(config.core_tokens),
                "en": Out(1),
                "slot": Out(slot),
                "address": Out(range(config.max_query // config.attention_bytes)),
                "sums": In(config.attention_bytes * sum_bits(config)),
                "scale": In(stream.Signature(32)),
                "output": Out(stream.Signature(attention_output_layout(config.lanes))),
                "token_end": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, lanes = self.config.attention_bytes, self.config.lanes
        slices, words = max(1, size // lanes), max(1, lanes // size)

        # Walk the words: part, head, token. Those of a token lie one after another.
        walking = Signal()
        part = Signal.like(self.geometry.parts)
        head = Signal.like(self.geometry.heads)
        last_part = part == self.geometry.parts - 1
        last_head = head == self.geometry.heads - 1
        with m.If(self.start):
            m.d.sync += [
                walking.eq(1),
                part.eq(0),
                head.eq(0),
                self.slot.eq(0),
                self.address.eq(0),
            ]
        with m.Elif(walking & self.en):
            m.d.sync += [
                part.eq(part + 1),
                self.address.eq(self.address + 1),
            ]
            with m.If(last_part):
                m.d.sync += [
                    part.eq(0),
                    head.eq(head + 1),
                ]
                with m.If(last_head):
                    m.d.sync += [
                        head.eq(0),
                        self.slot.eq(self.slot + 1),
                        self.address.eq(0),
                        walking.eq(self.slot != self.last_slot),
                    ]

        # A word read stays until its last slice has been sent.
        read = delay(m, walking, 1, self.en)
        head_end = delay(m, last_part, 1, self.en)
        last_word = delay(m, last_part & last_head, 1, self.en)
        empty = delay(m, self.empty.bit_select(self.slot, 1), 1, self.en)
        bits = sum_bits(self.config)

        def extended(sums: Value, count: int) -> Value:
            words = (sums.word_select(i, bits) for i in range(count))
            return Cat(
                Cat(x, x[-1].replicate(ATTENTION_SUM_BITS - bits)) & ~empty.replicate(ATTENTION_SUM_BITS)
                for x in words
            )

        sent = Signal()
        m.d.comb += [
            self.output.payload.scale.eq(self.scale.payload),
            self.busy.eq(walking | read),
        ]
        if words == 1:
            place = Signal(range(max(2, slices)))
            # Known a cycle before.
            last_slice = Signal(init=slices == 1)
            if slices > 1:
                with m.If(self.en):
                    m.d.sync += last_slice.eq(Mux(last_part, self.geometry.last, slices) == 1)
                with m.Elif(sent):
                    m.d.sync += last_slice.eq(place + 2 == Mux(head_end, self.geometry.last, slices))
            if slices == 1:
                chosen = self.sums
            elif slices in LutMux.WORDS and self.config.family == "xcup":
                choose = LutMux(lanes * bits, slices)
                m.submodules.slice = shared(choose, platform)
                m.d.comb += [choose.select.eq(place), choose.i.eq(self.sums)]
                chosen = choose.o
            else:
                chosen = self.sums.word_select(place, lanes * bits)
            m.d.comb += [
                self.output.valid.eq(read & self.scale.valid),
                self.output.payload.sums.eq(extended(chosen, lanes)),
                sent.eq(self.output.valid & self.output.ready),
                self.en.eq(~read | (sent & last_slice)),
                self.scale.ready.eq(read & self.output.ready & head_end & last_slice),
                self.token_end.eq(last_word & last_slice),
            ]
            with m.If(sent):
                m.d.sync += place.eq(Mux(last_slice, 0, place + 1))
        else:
            # Words before the last of a beat are kept.
            kept = Signal((words - 1) * size * ATTENTION_SUM_BITS)
            place = Signal(range(words))
            completes = place == words - 1
            data = extended(self.sums, size)
            m.d.comb += [
                self.output.valid.eq(read & completes & self.scale.valid),
                self.output.payload.sums.eq(Cat(kept, data)),
                sent.eq(self.output.valid & self.output.ready),
                self.en.eq(~read | ~completes | sent),
                self.scale.ready.eq(read & completes & self.output.ready & head_end),
                self.token_end.eq(last_word),
            ]
            with m.If(read & self.en):
                m.d.sync += [
                    kept.eq(Cat(kept, data) >> (size * ATTENTION_SUM_BITS)),
                    place.eq(Mux(completes, 0, place + 1)),
                ]
        return m
