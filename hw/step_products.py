"""The multipliers of an attention core."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .exp2 import PROBABILITY_BITS
from .machine import MachineConfig

__all__ = ["PRODUCT_BITS", "StepProducts"]

#: An unsigned weight and an int8.
PRODUCT_BITS = PROBABILITY_BITS + 8


class StepProducts(wiring.Component):
    """``attention_bytes`` products of a step a cycle: query times K, or in VALUE the weight times V.

    The passes share the multipliers, of 25 by 8 bits signed. The stages are operands and products.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Attributes
    ----------
    LATENCY : int
        ``products`` belong to the inputs of this many cycles earlier.

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
    products : Out(ArrayLayout(signed(32), attention_bytes))
        Products.
    """

    LATENCY = 2

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        size = config.attention_bytes
        super().__init__(
            {
                "value": In(1),
                "data": In(8 * size),
                "query": In(16 * size),
                "weight": In(PROBABILITY_BITS),
                "products": Out(data.ArrayLayout(signed(PRODUCT_BITS), size)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        elements = delay(m, self.data, 1)
        for i in range(self.config.attention_bytes):
            factor = Signal(signed(PROBABILITY_BITS + 1), reset_less=True, name=f"factor_{i}")
            product = Signal(signed(PRODUCT_BITS), reset_less=True, name=f"product_{i}")
            query = self.query.word_select(i, 16).as_signed()
            m.d.sync += [
                factor.eq(Mux(self.value, Cat(self.weight, 0).as_signed(), query)),
                product.eq(factor * elements.word_select(i, 8).as_signed()),
            ]
            m.d.comb += self.products[i].eq(product)
        return m
