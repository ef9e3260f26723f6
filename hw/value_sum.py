"""Sums of weighted values."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .dsp48 import BLOCK_BITS
from .machine import MachineConfig
from .part_steps import step_layout
from .step_products import PRODUCT_BITS

__all__ = ["KEY_BITS", "ValueSum", "in_blocks", "key_layout", "sum_bits", "sum_words"]

#: Memories up to this depth are better made of look-up tables than of block RAM, a word being wide.
SHALLOW = 256
#: Bits of a product of an int16 and an int8.
KEY_BITS = 24


def sum_bits(config: MachineConfig) -> int:
    """Bits of a sum: a product of a weight below 2**24 and an int8 lies in +-2**31, so the sum over at most
    ``max_context`` rows lies in +-2**31 * max_context, which takes a sign beside."""
    return PRODUCT_BITS + (config.max_context - 1).bit_length()


def sum_words(config: MachineConfig) -> int:
    """Words of the memory of sums."""
    return max(2, config.max_query // config.attention_bytes * config.core_tokens)


def in_blocks(config: MachineConfig) -> bool:
    """Whether DSP blocks add the sums to products (`hw.step_sums`): with a memory that is read at once."""
    return config.family == "xcup" and sum_words(config) <= SHALLOW and sum_bits(config) <= BLOCK_BITS


def key_layout(config: MachineConfig) -> data.ArrayLayout:
    """Products of a query and K; of ``in_blocks`` each with 2**(KEY_BITS - 1) added, so none is negative."""
    shape = unsigned(KEY_BITS) if in_blocks(config) else signed(KEY_BITS)
    return data.ArrayLayout(shape, config.attention_bytes)


class ValueSum(wiring.Component):
    """Adds the products of a step to the sums of its head: sum[token][head][e] += weight * v[e].

    A step a cycle. A word of the memory has the sums of a part. It is read in the cycle before it is written,
    so two steps with one address must not follow each other at once (`PartSteps` sees to it).

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    step_en, step : In(1), In(step_layout(config))
        Steps, a cycle ahead of their products. Where it is ``fresh``, the sums begin at 0.
    products : In(ArrayLayout(signed(32), attention_bytes))
        Products, weight times V.
    busy : Out(1)
        A sum is written at this clock edge.
    en, slot, address, sums : In(1), In, In, Out(attention_bytes * sum_bits(config))
        Read the sums of a token at word ``address`` (head * parts + part), one cycle after ``en``; they stay
        until the next. Only while there are no steps.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        size = config.attention_bytes
        super().__init__(
            {
                "step_en": In(1),
                "step": In(step_layout(config)),
                "products": In(data.ArrayLayout(signed(PRODUCT_BITS), size)),
                "busy": Out(1),
                "en": In(1),
                "slot": In(range(config.core_tokens)),
                "address": In(range(config.max_query // size)),
                "sums": Out(size * sum_bits(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, size, bits = self.config, self.config.attention_bytes, sum_bits(self.config)

        m.submodules.sums = sums = memory.Memory(shape=size * bits, depth=sum_words(config), init=[])
        read = sums.read_port()
        write = sums.write_port()
        place = Mux(
            self.step_en,
            Cat(self.step.address, self.step.at.slot),
            Cat(self.address, self.slot),
        )
        m.d.comb += [
            read.en.eq(self.step_en | self.en),
            read.addr.eq(place),
            self.sums.eq(read.data),
            self.busy.eq(delay(m, self.step_en, 1)),
            write.en.eq(self.busy),
            write.addr.eq(delay(m, place, 1)),
        ]
        fresh = delay(m, self.step.fresh, 1)
        totals = []
        for i in range(size):
            total = Signal(signed(bits), name=f"total_{i}")
            before = read.data.word_select(i, bits).as_signed()
            m.d.comb += total.eq(self.products[i] + Mux(fresh, 0, before))
            totals.append(total)
        m.d.comb += write.data.eq(Cat(totals))
        return m
