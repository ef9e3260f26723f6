"""Random operands: ordinary numbers, and now and then the corners of binary32."""

import numpy as np

from hw.integer_shape import IntegerShape

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

    def integer_rows(self, shape: IntegerShape) -> np.ndarray:
        """uint8: what LINEAR or HEAD takes: codes and fillers of all values, all the same end in some."""
        rng = self.rng
        out = np.empty((shape.pairs, shape.pair_bytes), np.uint8)
        for pair in out:
            kind, at = rng.random(), 0
            for start in range(0, shape.units * shape.unit_bytes, shape.group_bytes):
                size = min(shape.group_bytes, shape.units * shape.unit_bytes - start)
                codes = self.codes(size).view(np.uint8) if kind < 0.5 and shape.bits == 8 else rng.bytes(size)
                if kind > 0.9:
                    ends = {8: (0x80, 0x7F), 4: (0x88, 0x77)}[shape.bits]
                    codes = np.full(size, rng.choice(ends), np.uint8)
                pair[at : at + size] = np.frombuffer(codes, np.uint8)
                at += size
                pair[at : at + shape.tail_bytes] = self.group_scales(shape.tail_bytes // 2).view(np.uint8)
                at += shape.tail_bytes
        out[:, -8:] = self.floats(2 * shape.pairs, -12, 4).view(np.uint8).reshape(-1, 8)
        return out.reshape(-1)

    def group_scales(self, n: int) -> np.ndarray:
        """int16 [n]: small ones, those of twelve bits, and the ends of the range."""
        rng = self.rng
        kinds = (
            rng.integers(-3, 4, n),
            rng.integers(0, 4096, n),
            rng.integers(-(1 << 15), 1 << 15, n),
            rng.choice(np.array([-32768, -32767, 0, 1, 32767]), n),
        )
        return np.choose(rng.choice(4, n, p=(0.2, 0.5, 0.15, 0.15)), kinds).astype(np.int16)

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
