"""Tokens of a vector instruction, counted where their words pass."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["count_tokens"]


def count_tokens(m: Module, tokens: int, start: Value, passed: Value, name: str) -> Signal:
    """The token that is due: 0 in the cycle after ``start``, the next one in the cycle after each ``passed``.

    Parameters
    ----------
    m : Module
        Where the register goes; not inside a condition.
    tokens : int
        Tokens of a tile. A tile of one needs no register: the result has no bits.
    start, passed : Value
        An instruction begins; the last word of a token passes: in one cycle only where an instruction begins
        as the one before it ends, and then 0 is due.
    name : str
        Name of the register.
    """
    token = Signal(range(tokens), name=name)
    if tokens > 1:
        with m.If(passed):
            m.d.sync += token.eq(token + 1)
        with m.If(start):
            m.d.sync += token.eq(0)
    return token
