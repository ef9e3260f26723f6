"""An entry of the token table."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One token of a chunk, as CSRs ENTRY_* of `hw/isa.py` describe it.

    Members
    -------
    token: its id. position: older tokens of its sequence.
    base: row of the KV memory where the sequence begins.
    continues: it belongs to the sequence of the entry before, whose position is one less.
    """

    token: int
    position: int
    base: int = 0
    continues: bool = False
