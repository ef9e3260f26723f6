"""How ternary weights lie in bytes, in numbers: needs no Amaranth, so that planning does not load it."""

__all__ = ["BYTE_ENTRIES", "THREE_ENTRIES", "TRITS_PER_BYTE", "TWO_ENTRIES", "WALK"]

#: Weights in one byte of the tape: the first three address one table, the last two another.
TRITS_PER_BYTE = 5
THREE_ENTRIES = 3**3
TWO_ENTRIES = 3**2
#: Codes of five trits.
BYTE_ENTRIES = THREE_ENTRIES * TWO_ENTRIES
#: Cycles of a walk (`hw.byte_walk`): five steps to the first entry, all trits -1, and one for each entry.
WALK = TRITS_PER_BYTE + BYTE_ENTRIES
