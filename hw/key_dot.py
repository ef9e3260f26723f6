"""Dot products of queries and keys."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .delay_line import delay
from .machine import MachineConfig
from .part_steps import head_index_layout, step_layout
from .shared import shared
from .three_operand_tree import ThreeOperandTree
from .value_sum import KEY_BITS, in_blocks, key_layout

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

    Dot products come in the order of the steps of last parts: row, K/V head, token, member. Products that
    have a constant added (`key_layout`) are added by three-operand adders, as many levels as an `AdderTree`
    has registers; their last sums are added in the cycle in which the parts before are.

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
    en, step, products : In(1), In(step_layout(config)), In(key_layout(config))
        Steps with their products, query times K.
    dot_en, dot : Out(1), Out(dot_layout(config))
        Dot products; always accepted.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        size = config.attention_bytes
        plain = AdderTree(size, KEY_BITS, 0)
        self._tree = ThreeOperandTree(size, KEY_BITS, plain.latency) if in_blocks(config) else plain
        self.latency = self._tree.latency + 1
        super().__init__(
            {
                "en": In(1),
                "step": In(step_layout(config)),
                "products": In(key_layout(config)),
                "dot_en": Out(1),
                "dot": Out(dot_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tree = self._tree
        m.submodules.tree = shared(tree, platform)
        step = Signal(step_layout(self.config))
        adding = delay(m, self.en, tree.latency)
        m.d.comb += [
            tree.en.eq(1),
            tree.i.eq(self.products.as_value()),
            step.eq(delay(m, self.step.as_value(), tree.latency)),
        ]

        # What the parts of a head have made so far, for each of its steps.
        m.submodules.partial = partial = memory.Memory(
            shape=signed(DOT_BITS), depth=max(2, self.config.core_tokens * self.config.max_group), init=[]
        )
        write = partial.write_port()
        read = partial.read_port(domain="comb")
        before = Signal(signed(DOT_BITS))
        m.d.comb += before.eq(Mux(step.first, 0, read.data))
        terms: list[Value] = [before]
        if isinstance(tree, ThreeOperandTree):
            # Less the constants, a multiple of a high power of two.
            constant = self.config.attention_bytes << KEY_BITS - 1
            low = (constant & -constant).bit_length() - 1
            terms = [Cat(before[:low], before[low:] - (constant >> low))[:DOT_BITS].as_signed(), *tree.sums]
        else:
            terms.append(tree.sum)
        m.d.comb += [
            read.addr.eq(step.index),
            write.en.eq(adding),
            write.addr.eq(step.index),
            write.data.eq(sum(terms)),
        ]
        m.d.sync += [
            self.dot_en.eq(adding & step.last),
            self.dot.dot.eq(write.data),
            self.dot.at.eq(step.at),
            self.dot.fresh.eq(step.fresh),
            self.dot.ends.eq(step.ends),
        ]
        return m
