"""The multipliers of an attention core and its sums of weighted values."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .dsp48 import sum_block
from .exp2 import PROBABILITY_BITS
from .machine import MachineConfig
from .part_steps import step_layout
from .shared import primitives
from .step_products import StepProducts
from .value_sum import KEY_BITS, ValueSum, in_blocks, key_layout, sum_bits, sum_words

__all__ = ["StepSums"]


class StepSums(wiring.Component):
    """A step a cycle. KEY: products of queries and K. VALUE: sum[token][head][e] += weight * v[e].

    Either `StepProducts` and `ValueSum`; or, where ``in_blocks(config)``, a DSP block for each element, which
    multiplies and adds in two stages of the same cycles: in the second it adds the sum read from a memory of
    look-up tables, which is written behind it. Two steps with one address must not follow each other at once
    in VALUE (`PartSteps` sees to it).

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    LATENCY : int
        ``products`` belong to the operands of this many cycles earlier; sums are written in the cycle after.

    Members
    -------
    value : In(1)
        Half.
    data : In(8 * attention_bytes)
        K or V, int8.
    query : In(16 * attention_bytes)
        int16.
    weight : In(24)
        u0.24.
    step_en, step : In(1), In(step_layout(config))
        VALUE: there is a step, beside its operands. Where it is ``fresh``, the sums begin at 0.
    products : Out(key_layout(config))
        KEY: products.
    busy : Out(1)
        A sum is written at this clock edge.
    en, slot, address, sums : In(1), In, In, Out(attention_bytes * sum_bits(config))
        Read the sums of a token at word ``address`` (head * parts + part), one cycle after ``en``; they stay
        until the next. Only while there are no steps.
    """

    LATENCY = StepProducts.LATENCY

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        size = config.attention_bytes
        super().__init__(
            {
                "value": In(1),
                "data": In(8 * size),
                "query": In(16 * size),
                "weight": In(PROBABILITY_BITS),
                "step_en": In(1),
                "step": In(step_layout(config)),
                "products": Out(key_layout(config)),
                "busy": Out(1),
                "en": In(1),
                "slot": In(range(config.core_tokens)),
                "address": In(range(config.max_query // size)),
                "sums": Out(size * sum_bits(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if in_blocks(self.config):
            self._in_blocks(m, primitives(platform))
        else:
            self._apart(m)
        return m

    def _apart(self, m: Module) -> None:
        m.submodules.products = products = StepProducts(self.config)
        m.submodules.sums = sums = ValueSum(self.config)
        m.d.comb += [
            products.value.eq(self.value),
            products.data.eq(self.data),
            products.query.eq(self.query),
            products.weight.eq(self.weight),
            sums.step_en.eq(delay(m, self.step_en, 1)),
            sums.step.eq(delay(m, self.step.as_value(), 1)),
            sums.products.eq(products.products),
            self.busy.eq(sums.busy),
            sums.en.eq(self.en),
            sums.slot.eq(self.slot),
            sums.address.eq(self.address),
            self.sums.eq(sums.sums),
        ]
        for i in range(self.config.attention_bytes):
            m.d.comb += self.products[i].eq(products.products[i])

    def _in_blocks(self, m: Module, cells: bool) -> None:
        config, size, bits = self.config, self.config.attention_bytes, sum_bits(self.config)
        m.submodules.sums = sums = memory.Memory(
            shape=size * bits, depth=sum_words(config), init=[],
            attrs={"ram_style": "distributed"},  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        read = sums.read_port(domain="comb")
        write = sums.write_port()
        place = Signal(len(read.addr), reset_less=True)
        with m.If(self.step_en | self.en):
            m.d.sync += place.eq(
                Mux(
                    self.step_en,
                    Cat(self.step.address, self.step.at.slot),
                    Cat(self.address, self.slot),
                )
            )
        results = []
        for i in range(size):
            block = sum_block(
                m,
                f"block_{i}",
                (self.query.word_select(i, 16).as_signed(), Cat(self.weight, 0).as_signed()),
                self.value,
                self.data.word_select(i, 8).as_signed(),
                read.data.word_select(i, bits),
                self.step.fresh,
                1 << KEY_BITS - 1,
                cells,
            )
            results.append(block[:bits])
            m.d.comb += self.products[i].eq(block)
        m.d.comb += [
            read.addr.eq(place),
            self.sums.eq(read.data),
            self.busy.eq(delay(m, self.step_en, self.LATENCY)),
            write.en.eq(self.busy),
            write.addr.eq(delay(m, place, 1)),
            write.data.eq(Cat(results)),
        ]
