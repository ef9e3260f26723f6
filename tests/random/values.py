"""Random operands: ordinary numbers, and now and then the corners of binary32."""

import numpy as np

#: Bit patterns with a rule of their own: zeros, subnormals, the ends of the normal range, the least absmax
#: that still quantises and its neighbour, infinities, NaNs (quiet, negative with a payload, signalling), one.
CORNERS = np.array(
    [
        0x00000000,
        0x80000000,
        0x00000001,
        0x807FFFFF,
        0x00800000,
        0x80800001,
        0x7F7FFFFF,
        0xFF7FFFFF,
        0x0D800000,
        0x0D7FFFFF,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC12345,
        0x7F800001,
        0x3F800000,
    ],
    np.uint32,
)
#: A trit byte is below 3**5.
TRIT_BYTES = 243


class Values:
    """Operand bytes of one program, by one generator.

    Parameters
    ----------
    rng : np.random.Generator
    corners : float
        Share of binary32 numbers that are drawn from `CORNERS`.
    """

    def __init__(self, rng: np.random.Generator, corners: float):
        self.rng, self.corners = rng, corners

    def floats(self, n: int, low: int = -6, high: int = 4, *, tame: bool = False) -> np.ndarray:
        """binary32 [n] of magnitude about 2**low to 2**high; `tame` ones have no corners among them."""
        rng = self.rng
        x = (rng.standard_normal(n) * 2.0 ** rng.integers(low, high, n)).astype(np.float32)
        if not tame and self.corners:
            where = rng.random(n) < self.corners
            x.view(np.uint32)[where] = rng.choice(CORNERS, int(where.sum()))
        return x

    def float_bytes(self, size: int) -> np.ndarray:
        """uint8 [size]: ordinary numbers and corners."""
        return self.floats(-(-size // 4)).view(np.uint8)[:size]

    def scales(self, n: int) -> np.ndarray:
        """binary32 [n], scales as the machine stores them: positive and normal, or +0; seldom infinite."""
        x = np.abs(self.floats(n, -8, 6, tame=True)) + np.float32(2.0**-20)
        if self.corners:
            where = self.rng.random(n) < self.corners
            x[where] = self.rng.choice(np.array([0, 2.0**-100, 3e38, np.inf], np.float32), int(where.sum()))
        return x

    def codes(self, n: int) -> np.ndarray:
        """int8 [n] within +-127, the ends often."""
        q = np.clip(np.rint(self.rng.standard_normal(n) * 80), -127, 127)
        return q.astype(np.int8)

    def trits(self, n: int) -> np.ndarray:
        """uint8 [n] below 243."""
        return self.rng.integers(0, TRIT_BYTES, n, dtype=np.uint8)

    def head_rows(self, rows: int, k: int) -> np.ndarray:
        """uint8: what HEAD takes, per row k codes and a binary32 scale."""
        out = np.empty((rows, k + 4), np.uint8)
        out[:, :k] = self.codes(rows * k).view(np.uint8).reshape(rows, k)
        out[:, k:] = self.floats(rows).view(np.uint8).reshape(rows, 4)
        return out.reshape(-1)

    def kv_rows(
        self, tokens: int, kv_heads: int, head_size: int, bus_bytes: int, *, keys: bool
    ) -> np.ndarray:
        """uint8: rows of the KV memory, padded to the bus with random bytes."""
        scales, row = 8 * kv_heads if keys else 0, kv_heads * head_size
        padded = -(-(scales + row) // bus_bytes) * bus_bytes
        out = self.rng.integers(0, 256, (tokens, padded), dtype=np.uint8)
        if keys:
            out[:, :scales] = self.scales(tokens * kv_heads * 2).view(np.uint8).reshape(tokens, scales)
        out[:, scales : scales + row] = self.codes(tokens * row).view(np.uint8).reshape(tokens, row)
        return out.reshape(-1)
