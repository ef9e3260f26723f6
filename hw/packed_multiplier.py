"""Several exact products from one DSP block."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .packing import Packing
from .shared import SharedComponent

__all__ = ["PackedMultiplier"]


def _packed(bits: int, numbers: list[Value], offsets: tuple[int, ...]) -> Value:
    """The sum of signed numbers at these offsets, in so many bits."""
    total: Value = Const(0, signed(bits))
    for number, offset in zip(numbers, offsets, strict=True):
        total = total + (number << offset)
    return total[:bits].as_signed()


def _low_product(a: Value, b: Value, bits: int) -> Value:
    """The low bits of ``a * b``, signed, from adders: a multiplication sign would take a DSP block."""
    total: Value = Const(0, bits)
    for i in range(min(bits, len(b))):
        part = Mux(b[i], a, 0) << i
        # The sign counts negatively. Below 2^bits only where bits lie above it.
        negative = i == len(b) - 1 and bits > len(b)
        total = (total - part if negative else total + part)[:bits]
    return total


class PackedMultiplier(SharedComponent):
    """All products of the weights and activations of a `Packing`, exact, from one multiplication.

    Method: the fields are taken from the lowest to the highest. A field that ends below the next one is there
    as it is; its sign, which it lends from all above it, is given back to them. Where its upper v bits lie
    upon the next field, what they are added to there is known modulo 2^v from the low bits of the operands
    above; this is computed beside the block and subtracted (J. Sommer et al., FPL 2022, section on
    overpacking, made exact).

    Registers follow the packed operands, the result of the block and the correction.

    Parameters
    ----------
    packing : Packing
        Operands and offsets.

    Attributes
    ----------
    LATENCY : int
        ``products`` belong to operands of this many enabled cycles earlier.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    weights : In(ArrayLayout(signed(weight_bits), ...))
        One weight for each of the packing's offsets.
    activations : In(ArrayLayout(signed(activation_bits), ...))
        One activation for each.
    products : Out(ArrayLayout(signed(product_bits), ...))
        Products in the order of `Packing.fields`.
    """

    LATENCY = 3

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        super().__init__({
            "en": In(1),
            "weights": In(data.ArrayLayout(signed(packing.weight_bits), len(packing.weight_offsets))),
            "activations": In(
                data.ArrayLayout(signed(packing.activation_bits), len(packing.activation_offsets))
            ),
            "products": Out(data.ArrayLayout(signed(packing.product_bits), packing.products)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packing, dsp = self.packing, self.packing.dsp
        fields, overlaps, bits = packing.fields, packing.overlaps, packing.product_bits

        # The packed operands, and what the corrections need of the operands.
        weights = Signal(signed(dsp.weight_bits), reset_less=True)
        activations = Signal(signed(dsp.activation_bits), reset_less=True)
        plain_weights = Signal.like(self.weights, reset_less=True)
        plain_activations = Signal.like(self.activations, reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                weights.eq(_packed(dsp.weight_bits, list(self.weights), packing.weight_offsets)),
                activations.eq(
                    _packed(dsp.activation_bits, list(self.activations), packing.activation_offsets)
                ),
                plain_weights.eq(self.weights),
                plain_activations.eq(self.activations),
            ]

        # The block, and beside it the low bits of all above each field that overlaps.
        result = Signal(signed(dsp.result_bits), reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(weights * activations)
        lows: list[Value] = []
        for i, overlap in enumerate(overlaps):
            if not overlap:
                lows.append(Const(0, 0))
                continue
            low = Signal(overlap, name=f"low{i}", reset_less=True)
            total: Value = Const(0, overlap)
            for field in fields[i + 1 :]:
                shift = field.offset - fields[i + 1].offset
                if shift < overlap:
                    weight, activation = plain_weights[field.weight], plain_activations[field.activation]
                    product = _low_product(activation, weight, overlap - shift)
                    total = (total + (product << shift))[:overlap]
            with m.If(self.en):
                m.d.sync += low.eq(total)
            lows.append(low)

        # Field by field: `rest` is the sum of this field and all above, from its lowest bit on.
        rest: Value = result
        for i, product in enumerate(self.products):
            if i == len(overlaps):
                whole = rest
            else:
                below = fields[i + 1].offset - fields[i].offset
                overlap = overlaps[i]
                above = rest[below:].as_signed()
                whole, borrow = rest[:below], Const(0)
                if overlap:
                    recovered = Signal(overlap + 1, name=f"recovered{i}")
                    m.d.comb += recovered.eq(above[:overlap] - lows[i])
                    whole, borrow = Cat(whole, recovered[:-1]), recovered[-1]
                # What this field took from those above as its sign, less the borrow: -1, 0 or 1.
                carry = Cat(whole[-1] ^ borrow, borrow & ~whole[-1]).as_signed()
                rest_above = Signal(signed(len(above) - overlap), name=f"above{i}")
                m.d.comb += rest_above.eq((above >> overlap) + carry)
                rest = Cat(lows[i], rest_above).as_signed()
            taken = Signal(signed(bits), name=f"product{i}", reset_less=True)
            with m.If(self.en):
                m.d.sync += taken.eq(whole[:bits].as_signed())
            m.d.comb += product.eq(taken)
        return m
