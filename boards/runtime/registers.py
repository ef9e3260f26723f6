"""Where the host finds registers: byte offsets from the word indices of `hw.isa`."""

from hw.isa import CSR_ADDRESS_BITS

__all__ = ["BANK_REGISTERS", "byte_offset"]

#: First byte behind the overlay's registers: the address of each bank of memory, 8 bytes (`boards.vendor`).
BANK_REGISTERS = 4 << CSR_ADDRESS_BITS


def byte_offset(index: int) -> int:
    """Byte offset of a register from its word index."""
    return 4 * index
