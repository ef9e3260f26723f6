"""The host's side of the small design: a ternary matrix times a vector, through the link's CSR commands."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from .ternary_unit import ACTIVATIONS, CODES, CONFIG, IDENTITY, START, SUMS, VALUE

__all__ = ["CsrOperation", "matrix_vector", "program"]

#: Word address, and the value to write or None to read.
CsrOperation = tuple[int, int | None]
_TRITS = 5
#: Seconds after which the device counts as dead; a product takes milliseconds.
PATIENCE = 10.0


def program(codes: np.ndarray, activations: np.ndarray) -> list[CsrOperation]:
    """Writes that load and start a product. codes: uint8 [rows, ceil(k / 5)], a byte of 5 trits as
    `models.numerics.pack_trits` makes it; activations: int8 [k]. ValueError where it does not fit."""
    (rows, groups), k = codes.shape, len(activations)
    chunks = -(-groups // CONFIG.tables)
    if groups != -(-k // _TRITS):
        raise ValueError(f"codes: wanted {-(-k // _TRITS)} bytes a row for {k} activations, found {groups}")
    if not 1 <= k <= CONFIG.quantised_words or not 1 <= rows <= CONFIG.accumulator_rows:
        raise ValueError(f"wanted 1 to 512 activations and rows, found {k} and {rows}; cut the matrix")
    if rows * chunks > SUMS - CODES:
        raise ValueError(f"wanted at most 1024 rows x chunks of 20, found {rows * chunks}; cut the matrix")
    padded = np.zeros((rows, chunks * CONFIG.tables), np.uint8)
    padded[:, :groups] = codes
    words = padded.reshape(rows, chunks, CONFIG.tables).transpose(1, 0, 2).copy().view("<u4").ravel()
    values = np.zeros(-(-k // 4) * 4, np.int8)
    values[:k] = activations
    out: list[CsrOperation] = [(CODES + i, int(word)) for i, word in enumerate(words)]
    out += [(ACTIVATIONS + i, int(word)) for i, word in enumerate(values.view("<u4"))]
    return [*out, (START, k | rows << 16)]


def matrix_vector(
    csr: Callable[[Sequence[CsrOperation]], Sequence[int]], codes: np.ndarray, activations: np.ndarray,
    patience: float = PATIENCE,
) -> np.ndarray:  # fmt: skip
    """int32 [rows]: the sums that the device finds.

    csr: performs operations in order and returns what was read. RuntimeError where the device is another one,
    or is not done after `patience` seconds.
    """
    if (found := csr([(IDENTITY, None)])[0]) != VALUE:
        raise RuntimeError(f"wanted the ternary unit ({VALUE:#x}), found {found:#x}; load its bitstream")
    csr(program(codes, activations))
    end = time.monotonic() + patience
    while csr([(START, None)])[0]:
        if time.monotonic() > end:
            raise RuntimeError(
                f"wanted the product within {patience:g} s, found the ternary unit still at work; reset the "
                "board and load its bitstream again"
            )
    words = csr([(SUMS + i, None) for i in range(len(codes))])
    return np.array(words, np.uint32).view(np.int32)
