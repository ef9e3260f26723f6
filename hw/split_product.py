"""A product as two smaller ones, each of a size that one multiplier block of UltraScale+ takes."""

from amaranth.hdl import Value

__all__ = ["SPLIT", "split_product"]

#: Bits of the second factor in the lower product (27 x 18 bits signed; AMD UG579).
SPLIT = 17


def split_product(a: Value, b: Value, bits: int = 32) -> tuple[Value, Value]:
    """``a * b == low + (high << SPLIT)`` in the lowest `bits` bits; ``a`` of 26 bits at most, unsigned.

    Registers belong behind both, and the sum in the next cycle: a block and an adder in one are too long.
    """
    return (a * b[:SPLIT])[:bits], (a * b[SPLIT:])[: bits - SPLIT]
