"""Dot products of queries and keys."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .machine import MachineConfig
from .part_steps import head_index_layout, step_layout
from .step_products import PRODUCT_BITS

__all__ = ["DOT_BITS", "KeyDot", "dot_layout"]

#: 16-bit by 8-bit products, fewer than 2**10 of them (a 10-bit head size).
DOT_BITS = 33


def dot_layout(config: MachineConfig) -> data.StructLayout:
    """One dot product and whose it is. ``fresh``: with the first row that the token sees in the pass;
    ``ends``: the last one of its row and K/V head."""
    return data.StructLayout(
        {"dot": signed(DOT_BITS), "at": head_index_layout(config), "fresh": 1, "ends": 1}
    )


class KeyDot(wiring.Component):
    """Adds the products of a step, and these to those of the parts before; a step a cycle.

    Dot products come in the order of the steps of last parts: row, K/V head, token, member.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    latency : int
        ``dot_en`` belongs to the step of this many cycles earlier.

    Members
    -------
    en, step, products : In(1), In(step_layout(config)), In(ArrayLayout(signed(32), attention_bytes))
        Steps with their products, query times K.
    dot_en, dot : Out(1), Out(dot_layout(config))
        Dot products; always accepted.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        size = config.attention_bytes
        self._tree = AdderTree(size, 24, 1 + step_layout(config).size)
        self.latency = self._tree.latency + 1
        super().__init__(
            {
                "en": In(1),
                "step": In(step_layout(config)),
                "products": In(data.ArrayLayout(signed(PRODUCT_BITS), size)),
                "dot_en": Out(1),
                "dot": Out(dot_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = tree = self._tree
        step = Signal(step_layout(self.config))
        m.d.comb += [
            tree.en.eq(1),
            tree.tag.eq(self.step.as_value() << 1 | self.en),
            step.eq(tree.tag_out[1:]),
        ]
        for i in range(self.config.attention_bytes):
            m.d.comb += tree.i[i].eq(self.products[i])

        # What the parts of a head have made so far, for each of its steps.
        m.submodules.partial = partial = memory.Memory(
            shape=signed(DOT_BITS), depth=max(2, self.config.core_tokens * self.config.max_group), init=[]
        )
        write = partial.write_port()
        read = partial.read_port(domain="comb")
        adding = tree.tag_out[0]
        m.d.comb += [
            read.addr.eq(step.index),
            write.en.eq(adding),
            write.addr.eq(step.index),
            write.data.eq(tree.sum + Mux(step.first, 0, read.data)),
        ]
        m.d.sync += [
            self.dot_en.eq(adding & step.last),
            self.dot.dot.eq(write.data),
            self.dot.at.eq(step.at),
            self.dot.fresh.eq(step.fresh),
            self.dot.ends.eq(step.ends),
        ]
        return m
