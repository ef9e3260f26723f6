"""An adder that can subtract."""

from amaranth.hdl import Cat, Const, Value

__all__ = ["add_sub"]


def add_sub(a: Value, b: Value, subtract: Value) -> Value:
    """``a + b``, or ``a - b``, modulo 2**len(a); ``b`` has its sign extended.

    One chain of carries, with a place more for the carry in: Yosys makes two adders and a multiplexer of a
    choice between sum and difference.
    """
    wide = Cat(b, b[-1].replicate(len(a) - len(b))) if len(b) < len(a) else b[: len(a)]
    total = Cat(Const(1, 1), a) + Cat(subtract, wide ^ subtract.replicate(len(a)))
    return total[1 : len(a) + 1]
