"""What the ternary engine asks of its look-up tables, however they are made."""

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TableSet", "row_layout"]

#: A sum of five activations, which are within +-127, at most, and its bits.
LARGEST_OF_FIVE = 5 * 127
SUM_OF_FIVE_BITS = 11


def row_layout(tokens: int) -> data.StructLayout:
    """What goes along with the look-ups of a row: is there one, its partial sum, its place in the MATMUL.

    ``more``: live tokens beside the first. ``first`` is 1 in the first chunk, ``last`` in the last one;
    ``done`` is 1 in the last row of the last chunk.
    """
    return data.StructLayout(
        {"valid": 1, "row": 16, "more": range(max(2, tokens)), "first": 1, "last": 1, "done": 1}
    )


class TableSet(wiring.Signature):
    """Two banks of tables, one built while the other is read (seen from the engine).

    Members
    -------
    start, q, k : Out(1), Out(16), Out(16)
        Build the tables of another vector: its first activation and the number of them. Only when all tables
        of the one before have been built.
    live : Out(tokens)
        Tokens whose tables are built; constant from the cycle after ``start`` until all have been built.
    free : Out(1)
        The bank after the one built last may be overwritten; once 1, it stays so until ``built``.
    built : In(1)
        The last entry of a bank is being written.
    bytes, last, twice : In(0..tables), In(1), In(1)
        With ``built``: groups of that chunk; whether it is the last of its vector; whether two tables share
        the entries of each group.
    row : Out(row_layout(tokens))
        A row whose bytes are there in this cycle, if ``valid``.
    bank : Out(1)
        Bank that it reads: 0 for the first chunk, then in turn.
    shares : Out(1)
        What ``twice`` was of the bank that is read.
    used : Out(0..tables)
        How many of the bytes are the row's; the others count as 0, whatever they are.
    data : Out(8 * tables)
        The bytes.
    sums, sum_row : In(ArrayLayout(signed(sum_bits), tokens)), In(row_layout(tokens))
        The sums of a row, and the row, a fixed number of cycles later. Sums of tokens that are not live mean
        nothing, and so do those without a row.
    next_row : In(row_layout(tokens))
        ``sum_row`` of the next cycle.
    """

    def __init__(self, tables: int, tokens: int) -> None:
        sum_bits = 1 + (LARGEST_OF_FIVE * tables).bit_length()
        super().__init__({
            "start": Out(1),
            "q": Out(16),
            "k": Out(16),
            "live": Out(tokens, init=-1),  # pyright: ignore[reportCallIssue]
            "free": Out(1),
            "built": In(1),
            "bytes": In(range(tables + 1)),
            "last": In(1),
            "twice": In(1),
            "row": Out(row_layout(tokens)),
            "bank": Out(1),
            "shares": Out(1),
            "used": Out(range(tables + 1)),
            "data": Out(8 * tables),
            "sums": In(data.ArrayLayout(signed(sum_bits), tokens)),
            "sum_row": In(row_layout(tokens)),
            "next_row": In(row_layout(tokens)),
        })  # fmt: skip
