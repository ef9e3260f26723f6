"""Dot products of queries and keys."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .delay_line import delay
from .head_geometry import head_geometry_layout
from .kv_row import pair_layout, part_layout
from .machine import MachineConfig

__all__ = ["DOT_BITS", "KeyDot", "dot_layout"]

#: 16-bit by 8-bit products, fewer than 2**10 of them (a 10-bit head size).
DOT_BITS = 33


def dot_layout(config: MachineConfig) -> data.StructLayout:
    """One dot product, s_k, the query head; ``fresh``: with the first row of the pass."""
    return data.StructLayout(
        {"dot": signed(DOT_BITS), "key_scale": 32, "head": range(config.max_heads), "fresh": 1}
    )


class KeyDot(wiring.Component):
    """Multiplies K parts with the queries of all members of the group; sends the dot products one by one.

    A part a cycle, unless the dot products of the K head before are not sent yet (``group`` cycles). The
    first dot product of a head appears 4 cycles and those of the adder tree after the transfer of its last
    part; they come in program order: row, K/V head, member.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    pair_en, pair : In(1), In(pair_layout(config))
        Scales; those of a row come before its parts.
    part : In(stream of part_layout)
        K parts. ``ready`` does not depend on ``valid``, which may be withdrawn.
    fresh : In(1)
        The part belongs to the first row of the pass.
    query_en, query_addresses, query_words : Out, Out, In
        Read port of `QueryMemory`.
    dot_en, dot : Out(1), Out(dot_layout(config))
        Dot products; always accepted.
    busy : Out(1)
        Dot products remain to be sent.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "geometry": In(head_geometry_layout(config)),
            "pair_en": In(1),
            "pair": In(pair_layout(config)),
            "part": In(stream.Signature(part_layout(config))),
            "fresh": In(1),
            "query_en": Out(1),
            "query_addresses": Out(data.ArrayLayout(
                (config.max_query // config.attention_bytes - 1).bit_length(), config.max_group)),
            "query_words": In(data.ArrayLayout(16 * config.attention_bytes, config.max_group)),
            "dot_en": Out(1),
            "dot": Out(dot_layout(config)),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, group = self.config.attention_bytes, self.config.max_group
        part = self.part.payload

        # s_k of a row is overwritten while its dot products are under way: it travels with them.
        m.submodules.key_scales = key_scales = memory.Memory(shape=32, depth=self.config.max_heads, init=[])
        write = key_scales.write_port()
        read = key_scales.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.pair_en),
            write.addr.eq(self.pair.kv_head),
            write.data.eq(self.pair.key_scale),
            read.addr.eq(part.kv_head),
        ]

        # Member g reads `parts` words after member g - 1; the next K/V head lies behind the last member.
        advance = Signal()
        taken = Signal()
        address = Signal(self.query_addresses[0].shape())
        offsets = data.ArrayLayout(len(address), group)
        offset = Signal(offsets)
        m.d.comb += [
            self.part.ready.eq(advance),
            taken.eq(self.part.valid & advance),
            self.query_en.eq(taken),
        ]
        for member in range(group):
            m.d.comb += [
                offset[member].eq(member * self.geometry.parts),
                self.query_addresses[member].eq(address + offset[member]),
            ]
        last_member = Signal(range(group))
        m.d.comb += last_member.eq(self.geometry.group - 1)
        with m.If(taken):
            m.d.sync += address.eq(address + 1 + Mux(part.last, offset[last_member], 0))
            with m.If(part.row_last):
                m.d.sync += address.eq(0)

        # Stages: words and part; products; the adder tree; accumulator.
        trees = [AdderTree(size, 24, 2) for _ in range(group)]
        summed = 2 + trees[0].latency
        keys = delay(m, part.data, 1, advance)
        key_scale = delay(m, read.data, summed + 1, advance)
        stages: list[Value] = [Cat(taken, part.first, part.last, part.row_last, self.fresh)]
        for _ in range(summed + 1):
            stages.append(delay(m, stages[-1], 1, advance))
        totals = []
        for member, tree in enumerate(trees):
            m.submodules[f"tree_{member}"] = tree
            m.d.comb += [
                tree.en.eq(advance),
                tree.tag.eq(stages[2]),
            ]
            adding, starting = tree.tag_out
            for i in range(size):
                product = Signal(signed(24), reset_less=True, name=f"product_{member}_{i}")
                query = self.query_words[member].word_select(i, 16).as_signed()
                with m.If(advance):
                    m.d.sync += product.eq(query * keys.word_select(i, 8).as_signed())
                m.d.comb += tree.i[i].eq(product)
            total = Signal(signed(DOT_BITS), reset_less=True, name=f"total_{member}")
            with m.If(advance & adding):
                m.d.sync += total.eq(Mux(starting, 0, total) + tree.sum)
            totals.append(total)

        # Complete dot products leave in a row; the pipeline halts while those before have not left.
        valid, _, last, row_last, fresh = stages[-1]
        complete = valid & last
        waiting = Signal(data.ArrayLayout(signed(DOT_BITS), group))
        left = Signal(range(group + 1))
        ends_row = Signal()
        m.d.comb += [
            advance.eq(~complete | (left <= 1)),
            self.dot_en.eq(left != 0),
            self.dot.dot.eq(waiting[0]),
            self.busy.eq(self.dot_en | Cat(stage[0] for stage in stages[1:]).any()),
        ]
        with m.If(self.dot_en):
            m.d.sync += [
                left.eq(left - 1),
                waiting.eq(waiting.as_value() >> DOT_BITS),
                self.dot.head.eq(Mux(ends_row & (left == 1), 0, self.dot.head + 1)),
            ]
        with m.If(complete & advance):
            m.d.sync += [
                left.eq(self.geometry.group),
                waiting.eq(Cat(totals)),
                self.dot.key_scale.eq(key_scale),
                self.dot.fresh.eq(fresh),
                ends_row.eq(row_last),
            ]
        return m
