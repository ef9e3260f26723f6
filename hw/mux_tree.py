"""One of several words, by a tree of two-way multiplexers."""

from collections.abc import Sequence

from amaranth.hdl import Mux, Value

__all__ = ["mux_tree"]


def mux_tree(select: Value, words: Sequence[Value]) -> Value:
    """Word ``select``, all of one width; beyond the last, any of them. Bit 0 chooses first, at the leaves.

    Synthesis makes a choice by comparisons (`amaranth.hdl.Array`) of eight words four times as large.
    """
    row = list(words)
    for bit in select:
        row += row[-1:] * (len(row) % 2)
        row = [Mux(bit, upper, lower) for lower, upper in zip(row[::2], row[1::2], strict=True)]
    return row[0]
