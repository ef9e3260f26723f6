"""One part of a K or V row after another, cut into steps: each for one query head of one token."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .head_geometry import head_geometry_layout, unit_bytes
from .kv_row import part_layout
from .machine import MachineConfig

__all__ = ["PartSteps", "head_index_layout", "step_layout"]


def head_index_layout(config: MachineConfig) -> data.StructLayout:
    """A head of a token of a core; as a number it addresses a memory of all of them."""
    return data.StructLayout({"head": range(config.max_heads), "slot": range(config.core_tokens)})


def step_layout(config: MachineConfig) -> data.StructLayout:
    """What a core does with one part for one query head of one token.

    address : word of the query and of the sums, (heads before) * parts + part; index : steps of this part
    before; first, last : the part begins, ends the head; ends : the last step of the part; fresh : the row is
    the first that the token sees in this pass.
    """
    return data.StructLayout(
        {"at": head_index_layout(config), "address": range(config.max_query // config.attention_bytes),
         "index": range(config.core_tokens * config.max_group), "first": 1, "last": 1, "ends": 1, "fresh": 1}
    )  # fmt: skip


class PartSteps(wiring.Component):
    """Keeps a part and takes it step by step: for each token that sees it, for each member of the group.

    A step a cycle, the first in the cycle after the part was taken; the next part is taken with the last
    step. In VALUE an empty cycle lies between two steps with one address, as the sum is read while the one
    before is added: it takes rows of one head and one part, and one token, to have these.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    value : In(1)
        Half: 0 KEY, 1 VALUE.
    begin : In(1)
        A pass begins: the row that comes next is the first for each token; only while not ``busy``.
    part : In(stream of part_layout)
        Parts. ``ready`` does not depend on ``valid``, which may be withdrawn and decides only whether steps
        follow: what comes beside it is kept whenever ``ready``.
    tokens : In(core_tokens)
        Who sees the part, neighbouring tokens of this core, at least one; taken with it.
    hold : In(1)
        VALUE: no step in this cycle. KEY: not looked at.
    en, step : Out(1), Out(step_layout(config))
        A step, in order: row, K/V head, part, token, member.
    data, key_scale, value_scale : Out
        Of the part; zeros behind the elements of the last part of a head.
    unseen : Out(core_tokens)
        Tokens that have seen no row of this pass.
    busy : Out(1)
        Steps remain.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        part = part_layout(config)
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "value": In(1),
                "begin": In(1),
                "part": In(stream.Signature(part)),
                "tokens": In(config.core_tokens),
                "hold": In(1),
                "en": Out(1),
                "step": Out(step_layout(config)),
                "data": Out(part["data"].shape),
                "key_scale": Out(part["key_scale"].shape),
                "value_scale": Out(part["value_scale"].shape),
                "unseen": Out(config.core_tokens),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, geometry, step = self.config, self.geometry, self.step

        held = Signal()
        one_member = geometry.group == 1
        part = Signal(part_layout(config), reset_less=True)
        tokens = Signal(config.core_tokens)
        slot = Signal(range(config.core_tokens))
        member = Signal(range(config.max_group))
        # A query head is `head` + member, its word `word` + offset.
        head = Signal(range(config.max_heads))
        word = Signal.like(step.address)
        offset = Signal.like(word)
        index = Signal(range(config.core_tokens * config.max_group))
        # What decides whether the step is the last one, and may be taken, is known a cycle before.
        last_member, last_slot = Signal(), Signal()
        again = Signal()
        first_slot = Signal.like(slot)
        for t in reversed(range(config.core_tokens)):
            with m.If(self.tokens[t]):
                m.d.comb += first_slot.eq(t)
        m.d.comb += [
            step.at.slot.eq(slot),
            step.at.head.eq(head + member),
            step.address.eq(word + offset),
            step.index.eq(index),
            step.first.eq(part.first),
            step.last.eq(part.last),
            step.ends.eq(last_member & last_slot),
            step.fresh.eq(self.unseen.bit_select(slot, 1)),
            self.data.eq(part.data),
            self.key_scale.eq(part.key_scale),
            self.value_scale.eq(part.value_scale),
        ]

        m.d.comb += [
            self.en.eq(held & ~(self.value & self.hold) & ~again),
            self.busy.eq(held),
            # From registers and `hold` alone, not `en`: one look-up table.
            self.part.ready.eq(
                ~held | (last_member & last_slot & ~(self.value & self.hold) & ~again),
            ),
        ]
        m.d.sync += again.eq(0)
        with m.If(self.en):
            m.d.sync += [
                index.eq(index + 1),
                member.eq(member + 1),
                last_member.eq(member + 2 == geometry.group),
                offset.eq(offset + geometry.parts),
            ]
            with m.If(last_member):
                m.d.sync += [
                    slot.eq(slot + 1),
                    last_slot.eq(~(tokens >> slot)[2:].any()),
                    member.eq(0),
                    last_member.eq(one_member),
                    offset.eq(0),
                ]
            with m.If(step.ends):
                m.d.sync += [
                    index.eq(0),
                    word.eq(word + 1),
                ]
                with m.If(part.last):
                    m.d.sync += [
                        word.eq(Mux(part.row_last, 0, step.address + 1)),
                        head.eq(Mux(part.row_last, 0, step.at.head + 1)),
                    ]
                with m.If(part.row_last):
                    m.d.sync += self.unseen.eq(self.unseen & ~tokens)
        with m.If(self.begin):
            m.d.sync += self.unseen.eq(~0)
        with m.If(self.part.ready):
            m.d.sync += [
                held.eq(self.part.valid),
                part.eq(self.part.payload),
                tokens.eq(self.tokens),
                slot.eq(first_slot),
                last_member.eq(one_member),
                last_slot.eq(~(self.tokens >> first_slot)[1:].any()),
            ]
            # Two steps with one address, one after the other: of rows of one head and one part.
            new = self.part.payload
            alone = one_member & part.row_last & new.row_last & new.first
            m.d.sync += again.eq(self.value & held & alone & (slot == first_slot))
            # Behind the elements of the last part of a head lies something else, which counts as zeros.
            unit = 8 * unit_bytes(config)
            for i in range(len(part.data) // unit):
                with m.If(self.part.payload.last & (i >= geometry.last)):
                    m.d.sync += part.data.word_select(i, unit).eq(0)
        return m
